"""What every attack on records checks and shares."""

from typing import NamedTuple

import torch
from torch import Tensor


class Spread(NamedTuple):
    """What some of the shadow models say of each record."""

    mean: Tensor  # (n,)
    squares: Tensor  # (n,) the sum of squared deviations from the mean
    counts: Tensor  # (n,) int64


def spread(values: Tensor, chosen: Tensor) -> Spread:
    """The mean and squares of values (k, n) over the shadows that chosen (k, n) marks, for every record."""
    counts = chosen.sum(dim=0)
    mean = torch.where(chosen, values, 0.0).sum(dim=0) / counts
    return Spread(mean, torch.where(chosen, (values - mean).square(), 0.0).sum(dim=0), counts)


def check_finite(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless values are finite floats of a shape, in which -1 stands for any length >= 1."""
    wanted = ", ".join("any" if length < 0 else str(length) for length in shape)
    fits = values.ndim == len(shape) and all(
        got == length or (length < 0 and got > 0)
        for got, length in zip(values.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floats, got {values.dtype}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{name} must be finite, got {int((~torch.isfinite(values)).sum())} that are not finite"
        )


def check_probabilities(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless values are probabilities of a shape, as in check_finite."""
    check_finite(name, values, shape)
    if float(values.min()) < 0 or float(values.max()) > 1:
        raise ValueError(
            f"{name} must lie in [0, 1], got {float(values.min()):g} to {float(values.max()):g}"
        )


def check_inside(inside: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless inside is a table of truths of a shape."""
    if inside.dtype != torch.bool:
        raise ValueError(f"inside must be bool, got {inside.dtype}")
    if tuple(inside.shape) != shape:
        raise ValueError(
            f"inside must have shape {shape}, one truth a shadow and record, got {tuple(inside.shape)}"
        )


def check_shadows(attack: str, chosen: Tensor, *, least: int, trained: str) -> None:
    """Raise ValueError unless chosen (k, n) marks at least as many shadows for every record."""
    counts = chosen.sum(dim=0)
    short = (counts < least).nonzero()
    if len(short):
        record = int(short[0])
        raise ValueError(
            f"{attack} needs >= {least} shadows that trained {trained} every record, "
            f"got {int(counts[record])} for record {record}"
        )
