"""Attacks that go as far as the distances among honest rows allow."""

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_rows, deviations, repeated


def min_max(rows: Tensor, f: int) -> Tensor:
    """The mean moved against the deviations until its largest distance to a row is the largest among the rows.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary knows.
        f: rows to send, >= 1.

    Returns:
        (f, d), all equal to mean - gamma std, gamma as large as the distance allows; a single row as it is.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Shejwalkar and Houmansadr, NDSS 2021, section IV (Min-Max), perturbation "inverse standard deviation".
        Convention: gamma in closed form, where the source searches by halving.
    """
    mean, along, offsets = _stage("min_max", rows, f)
    most = _squared_distances(rows).max()
    return repeated(mean + _furthest(along, offsets, most).min() * along, f, rows)


def min_sum(rows: Tensor, f: int) -> Tensor:
    """The mean moved against the deviations until the sum of its squared distances is the largest of any row.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary knows.
        f: rows to send, >= 1.

    Returns:
        (f, d), all equal to mean - gamma std, gamma as large as the sum allows; a single row as it is.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Shejwalkar and Houmansadr, NDSS 2021, section IV (Min-Sum), perturbation "inverse standard deviation".
        Convention: gamma in closed form, where the source searches by halving.
    """
    mean, along, offsets = _stage("min_sum", rows, f)
    most = _squared_distances(rows).sum(dim=1).max()
    room = (most - offsets.square().sum()) / len(
        rows
    )  # offsets sum to nothing, so that the cross terms vanish
    length = along.square().sum()
    gamma = torch.sqrt(room.clamp_min(0.0) / length) if length > 0 else length
    return repeated(mean + gamma * along, f, rows)


def _stage(attack: str, rows: Tensor, f: int) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (d,), the direction to move in (d,), and the mean less every row (h, d), in float64."""
    check_rows(rows)
    check_count(attack, f)
    known = rows.double()
    mean = known.mean(dim=0)
    return mean, -deviations(known), mean - known


def _furthest(along: Tensor, offsets: Tensor, most: Tensor) -> Tensor:
    """(h,) the largest gamma at which |offset + gamma along|^2 = most, for every offset."""
    length = along.square().sum()
    if length == 0:
        return offsets.new_zeros(len(offsets))
    slope = offsets @ along
    room = (slope.square() + length * (most - offsets.square().sum(dim=1))).clamp_min(0.0)
    return (torch.sqrt(room) - slope) / length


def _squared_distances(rows: Tensor) -> Tensor:
    """(h, h), from differences: scalar products would lose the digits of rows that lie close together."""
    known = rows.double()
    return torch.stack([(known - row).square().sum(dim=1) for row in known])
