"""Byzantine attacks: the corrupt clients' own rows (f, d) in, the rows they send (f, d) out, no input modified."""

import math

import torch
from torch import Tensor


def sign_flip(rows: Tensor, *, scale: float) -> Tensor:
    """The corrupt clients' own updates, reversed and scaled.

    Args:
        rows: (f, d), float32 or float64, the rows the corrupt clients would have sent if honest.
        scale: how far to go the other way, finite and > 0; 1 flips the sign only.

    Returns:
        (f, d), -scale * rows.

    Raises:
        ValueError: scale is not finite and positive, or rows is not 2-D, is empty or holds no floats.

    Source: Li et al., AAAI 2019 (RSA), experiments. Convention: each client reverses its own update, so it needs to
    see nothing else; ByzFL reverses the mean of the honest rows instead.
    """
    _check_rows(rows)
    _check_positive("sign_flip", "scale", scale)
    return -scale * rows


def gaussian(rows: Tensor, *, std: float, generator: torch.Generator) -> Tensor:
    """Independent normal noise in place of every row.

    Args:
        rows: (f, d), float32 or float64; only shape, dtype and device are used, never the values.
        std: standard deviation of each coordinate, finite and > 0; the source takes 200.
        generator: where the noise comes from, on the device of rows.

    Returns:
        (f, d), drawn from N(0, std^2), fresh at every call.

    Raises:
        ValueError: std is not finite and positive, or rows is not 2-D, is empty or holds no floats.

    Source: Blanchard et al., NeurIPS 2017, experimental evaluation.
    """
    _check_rows(rows)
    _check_positive("gaussian", "std", std)
    return std * torch.randn(rows.shape, generator=generator, dtype=rows.dtype, device=rows.device)


def _check_positive(attack: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{attack} needs {name} finite and > 0, got {name}={value}")


def _check_rows(rows: Tensor) -> None:
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"rows must be 2-D, (f, d), with f >= 1, got shape {tuple(rows.shape)}")
    if rows.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rows must be float32 or float64, got {rows.dtype}")
