"""Shadow models: models of the attacker's own, each trained with some of the records."""

from typing import NamedTuple

import torch
from torch import Tensor


class Spread(NamedTuple):
    """Mean and spread of one number per record, over some of the shadow models."""

    mean: Tensor  # (n,)
    squares: Tensor  # (n,) the sum of squared deviations from the mean
    counts: Tensor  # (n,) int64, shadows per record


def spread(values: Tensor, mask: Tensor) -> Spread:
    """Returns mean and squared deviations per record, over the shadows that `mask` selects.

    Args:
        values: (k, n), one row per shadow.
        mask: (k, n) bool, the entries that count.
    """
    counts = mask.sum(dim=0)
    mean = torch.where(mask, values, 0.0).sum(dim=0) / counts
    deviations = (values - mean).square()
    squares = torch.where(mask, deviations, 0.0).sum(dim=0)
    return Spread(mean, squares, counts)


def check_inside(inside: Tensor, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `inside` is a bool tensor of the given shape."""
    if inside.dtype != torch.bool:
        raise ValueError(f"inside must be bool, got {inside.dtype}")
    if tuple(inside.shape) != shape:
        raise ValueError(
            f"inside must have shape {shape}, one truth value per shadow and record, "
            f"got {tuple(inside.shape)}"
        )


def check_shadows(
    attack: str,
    mask: Tensor,
    *,
    least: int,
    trained: str,
) -> None:
    """Raises ValueError unless every record has enough shadows.

    Args:
        attack: its name, for the message.
        mask: (k, n) bool, the shadows that count for each record.
        least: shadows that every record needs.
        trained: "with" or "without", for the message.
    """
    counts = mask.sum(dim=0)
    short = (counts < least).nonzero()
    if len(short):
        record = int(short[0])
        raise ValueError(
            f"{attack} needs >= {least} shadows that trained {trained} every record, "
            f"got {int(counts[record])} for record {record}"
        )
