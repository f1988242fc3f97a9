"""Attacks that go as far as the distances among honest rows allow."""

from typing import NamedTuple

import torch
from torch import Tensor

from attacks.poisoning.checks import (
    check_count,
    check_rows,
    deviations,
    repeated,
    squared_distances,
)


def min_max(rows: Tensor, f: int) -> Tensor:
    """Moves the mean until its largest distance to a row is the largest among the rows.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary sees.
        f: rows to send, >= 1.

    Returns:
        (f, d), all equal to mean - gamma std, gamma as large as the distance allows. A single row
        is sent as it is.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Shejwalkar and Houmansadr, NDSS 2021, section IV (Min-Max), perturbation "inverse
        standard deviation". Convention: gamma in closed form, where the source bisects.
    """
    start = _start("min_max", rows, f)
    limit = squared_distances(rows).max()
    gamma = _largest_steps(start, limit).min()
    return repeated(start.mean + gamma * start.direction, f, rows)


def min_sum(rows: Tensor, f: int) -> Tensor:
    """Moves the mean until its sum of squared distances is the largest of any row.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary sees.
        f: rows to send, >= 1.

    Returns:
        (f, d), all equal to mean - gamma std, gamma as large as the sum allows. A single row is
        sent as it is.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Shejwalkar and Houmansadr, NDSS 2021, section IV (Min-Sum), perturbation "inverse
        standard deviation". Convention: gamma in closed form, where the source bisects.
    """
    start = _start("min_sum", rows, f)
    limit = squared_distances(rows).sum(dim=1).max()
    # The sum is h gamma^2 |direction|^2 + sum |offset|^2: offsets sum to zero, so that the cross
    # terms vanish.
    room = (limit - start.offsets.square().sum()) / len(rows)
    length = start.direction.square().sum()
    # Without deviations there is no direction, and the step is zero.
    gamma = length
    if length > 0:
        gamma = torch.sqrt(room.clamp_min(0.0) / length)
    return repeated(start.mean + gamma * start.direction, f, rows)


class _Start(NamedTuple):
    """Where an attack starts, in float64."""

    mean: Tensor  # (d,)
    direction: Tensor  # (d,) minus the deviations
    offsets: Tensor  # (h, d) the mean minus every row


def _start(attack: str, rows: Tensor, f: int) -> _Start:
    check_rows(rows)
    check_count(attack, f)
    exact = rows.double()
    mean = exact.mean(dim=0)
    return _Start(mean, -deviations(exact), mean - exact)


def _largest_steps(start: _Start, limit: Tensor) -> Tensor:
    """Returns per row the largest gamma (h,) with |offset + gamma direction|^2 <= limit."""
    length = start.direction.square().sum()
    if length == 0:
        return start.offsets.new_zeros(len(start.offsets))
    # The positive root of a quadratic equation in gamma.
    slope = start.offsets @ start.direction
    slack = limit - start.offsets.square().sum(dim=1)
    discriminant = (slope.square() + length * slack).clamp_min(0.0)
    return (torch.sqrt(discriminant) - slope) / length
