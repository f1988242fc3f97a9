"""Attacks made for one rule: local model poisoning against Krum and the trimmed mean.

Source: Fang, Cao, Jia and Gong, USENIX Security 2020. Conventions: these act on updates, where the
source acts on models. The direction to fight is the sign of the mean of the rows given.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attacks.poisoning.checks import (
    check_count,
    check_rows,
    deviations,
    repeated,
    squared_distances,
)

_LEAST_STRENGTH = 1e-5  # below it the search gives up


def fang_krum(rows: Tensor, f: int, *, krum: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns the longest step against the honest direction that Krum still chooses.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        krum: the rule: rows (h + f, d) -> (d,). It may raise ValueError if there are too few rows.

    Returns:
        (f, d), all equal to -strength sign(mean). The strength is halved from the source's upper
        bound until Krum returns the row. If it never does, the strength is 1e-5.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the attack on Krum with full knowledge, and its bound on the strength. Convention: the f
        rows are equal, where the source scatters f - 1 of them closely around the first.
    """
    check_rows(rows)
    check_count("fang_krum", f)
    exact = rows.double()
    against = -torch.sign(exact.mean(dim=0))
    strength = _upper_bound(exact, f)
    while strength >= _LEAST_STRENGTH:
        sent = repeated(strength * against, f, rows)
        if _is_chosen(krum, rows, sent):
            return sent
        strength /= 2
    return repeated(_LEAST_STRENGTH * against, f, rows)


def fang_trimmed_mean(rows: Tensor, f: int, *, generator: torch.Generator) -> Tensor:
    """Sends values just beyond the honest ones, opposite to the honest direction.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary sees; a single row is
            sent as it is.
        f: rows to send, >= 1.
        generator: draws the values, on the device of rows.

    Returns:
        (f, d). Coordinates are uniform between three and four sample deviations below a positive
        mean, above a negative mean; a mean of 0 is sent as it is.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the attack on the trimmed mean with partial knowledge, which needs no honest extremes.
    """
    check_rows(rows)
    check_count("fang_trimmed_mean", f)
    exact = rows.double()
    mean = exact.mean(dim=0)
    uniform = torch.rand(
        f, rows.shape[1], generator=generator, dtype=torch.float64, device=rows.device
    )
    distance = (3 + uniform) * deviations(exact)
    return (mean - torch.sign(mean) * distance).to(rows.dtype)


def _upper_bound(rows: Tensor, f: int) -> float:
    """Returns the source's bound on the strength, from distances and lengths of honest rows."""
    h, d = rows.shape
    neighbours = max(1, h - 2)  # Krum's n - f - 2, and h = n - f honest rows
    ascending = squared_distances(rows).sort(dim=1).values
    # The first of every row is its distance to itself.
    sums = ascending[:, 1 : neighbours + 1].sum(dim=1)
    least = float(sums.min())
    longest = float(rows.norm(dim=1).max())
    room = least / (max(1, h - f - 1) * d)
    return math.sqrt(room) + longest / math.sqrt(d)


def _is_chosen(krum: Callable[[Tensor], Tensor], rows: Tensor, sent: Tensor) -> bool:
    """Returns whether Krum, given all rows, chooses a sent one."""
    try:
        answer = krum(torch.cat([rows, sent]))
    except ValueError:  # Krum needs more rows than these
        return False
    return torch.equal(answer, sent[0])
