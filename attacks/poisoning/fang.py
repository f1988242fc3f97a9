"""Attacks made for one rule: local model poisoning against Krum and the trimmed mean.

Source: Fang, Cao, Jia and Gong, USENIX Security 2020. Convention: of updates, where the source has models; the
direction that is fought is the sign of the mean of the known rows.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_rows, deviations, repeated

_LEAST = 1e-5  # of a strength, below which the search gives up


def fang_krum(rows: Tensor, f: int, *, krum: Callable[[Tensor], Tensor]) -> Tensor:
    """The longest step against the honest direction that Krum still chooses.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        krum: the rule: rows (h + f, d) -> (d,); it may raise ValueError where there are too few.

    Returns:
        (f, d), all equal to -strength sign(mean): the strength is halved from the source's upper bound until krum
        returns the row, or, where it never does, until it is below 1e-5.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the attack on Krum with full knowledge, and its bound on the strength. Convention: the f rows are equal,
        where the source strews f - 1 of them closely around the first.
    """
    check_rows(rows)
    check_count("fang_krum", f)
    known = rows.double()
    against = -torch.sign(known.mean(dim=0))
    strength = _upper_bound(known, f)
    while strength >= _LEAST:
        sent = repeated(strength * against, f, rows)
        if _chosen(krum, rows, sent):
            return sent
        strength /= 2
    return repeated(_LEAST * against, f, rows)


def fang_trimmed_mean(rows: Tensor, f: int, *, generator: torch.Generator) -> Tensor:
    """In every coordinate values just beyond the honest ones, on the side the honest direction comes from.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary knows; a single row is sent as it is.
        f: rows to send, >= 1.
        generator: draws the values, on the device of rows.

    Returns:
        (f, d). Where the mean is positive, uniform between three and four sample deviations below it; where it is
        negative, above it; where it is 0, the mean.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the attack on the trimmed mean with partial knowledge, which needs no honest extremes.
    """
    check_rows(rows)
    check_count("fang_trimmed_mean", f)
    known = rows.double()
    mean = known.mean(dim=0)
    drawn = 3 + torch.rand(
        f, rows.shape[1], generator=generator, dtype=torch.float64, device=rows.device
    )
    return (mean - torch.sign(mean) * drawn * deviations(known)).to(rows.dtype)


def _upper_bound(known: Tensor, f: int) -> float:
    """The source's bound on the strength, from the distances (h, h) of the honest rows and from their lengths."""
    h, d = known.shape
    squared = torch.stack([(known - row).square().sum(dim=1) for row in known])
    nearest = max(1, h - 2)  # n - f - 2 neighbours among h = n - f honest rows
    sums = squared.sort(dim=1).values[:, 1 : nearest + 1].sum(dim=1)
    room = float(sums.min()) / (max(1, h - f - 1) * d)
    return math.sqrt(room) + float(known.norm(dim=1).max()) / math.sqrt(d)


def _chosen(krum: Callable[[Tensor], Tensor], rows: Tensor, sent: Tensor) -> bool:
    """Whether krum returns what is sent, of all rows."""
    try:
        return bool(torch.equal(krum(torch.cat([rows, sent])), sent[0]))
    except ValueError:
        return False
