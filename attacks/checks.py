"""Checks of arguments that several attacks share. Each names the argument and what it got."""

import torch
from torch import Tensor


def check_finite(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `values` are finite floats of the given shape.

    Args:
        name: of the argument, for the message.
        values: the argument.
        shape: expected lengths; -1 allows any length >= 1.
    """
    if not _fits(values, shape):
        lengths = ", ".join("any" if length < 0 else str(length) for length in shape)
        raise ValueError(f"{name} must have shape ({lengths}), got {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floats, got {values.dtype}")
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        raise ValueError(f"{name} must be finite, got {int((~finite).sum())} that are not finite")


def _fits(values: Tensor, shape: tuple[int, ...]) -> bool:
    """Returns whether every length is as expected; -1 stands for any length >= 1."""
    if values.ndim != len(shape):
        return False
    for length, expected in zip(values.shape, shape, strict=True):
        if expected < 0 and length < 1:
            return False
        if expected >= 0 and length != expected:
            return False
    return True


def check_probabilities(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `values` are probabilities of the given shape."""
    check_finite(name, values, shape)
    least = float(values.min())
    largest = float(values.max())
    if least < 0 or largest > 1:
        raise ValueError(f"{name} must lie in [0, 1], got {least:g} to {largest:g}")


def whole_numbers(name: str, values: Tensor, n: int) -> Tensor:
    """Returns `values` as int64; raises ValueError unless they are n whole numbers."""
    inexact = values.is_floating_point() or values.is_complex()
    if inexact or values.dtype == torch.bool or values.shape != (n,):
        raise ValueError(
            f"{name} must be {n} whole numbers, got {values.dtype} of shape {tuple(values.shape)}"
        )
    return values.long()
