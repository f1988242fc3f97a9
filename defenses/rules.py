"""Aggregation rules: rows (n, d) in, one estimate (d,) of the same dtype out, no input modified.

Every rule but `mean` first sets aside the rows that `screen` marks. A rule that takes f counts them as corrupt: with s
rows set aside it runs on n - s rows with f - s, and refuses s > f.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from defenses.screen import _check_rows, screen

_BLOCK = 4096  # columns compared at a time, so that Krum's memory does not grow with n * d


def mean(rows: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """The weighted mean of the finite rows; not robust, one large row moves it at will.

    Args:
        rows: (n, d); a non-finite row is dropped, a finite one stays however large it is.
        weights: (n,), finite and positive for every row that stays, in any unit; None means equal.

    Returns:
        (d,), finite, accumulated in float64.

    Raises:
        ValueError: no row is finite, or weights has another shape or an entry that is not finite and positive.

    Source: McMahan et al., AISTATS 2017, algorithm 1 (weights are the numbers of examples).
    """
    _check_rows(rows)
    finite = rows.isfinite().all(dim=1)  # (n,)
    if not finite.any():
        raise ValueError(f"mean needs a finite row, all n={len(rows)} were set aside")
    weights = torch.ones(len(rows)) if weights is None else weights
    shares = _shares(weights.to(rows.device, torch.float64), finite)
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for row, share in zip(rows[finite], shares.tolist(), strict=True):
        total.add_(row, alpha=share)
    largest = torch.finfo(rows.dtype).max  # the last rounding must not turn the largest float into infinity
    return total.div_(shares.sum()).clamp_(-largest, largest).to(rows.dtype)


def median(rows: Tensor) -> Tensor:
    """The coordinate-wise median, midway between the two middle values when n is even.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.

    Returns:
        (d,), within the range of the honest rows while fewer than half of the rows are corrupt.

    Raises:
        ValueError: no row is left.

    Source: Yin et al., ICML 2018, definition 1.
    """
    kept = rows[~screen(rows)]
    n = len(kept)
    if n == 0:
        raise ValueError(f"median needs a row, all n={len(rows)} were set aside")
    ordered = kept.sort(dim=0).values
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2  # screened values: the sum cannot overflow


def trimmed_mean_minimum_rows(f: int) -> int:
    """The fewest rows `trimmed_mean` can work on, 2 f + 1.

    Args:
        f: corrupt rows tolerated, >= 0.

    Returns:
        2 f + 1.

    Raises:
        ValueError: f < 0.
    """
    _check_f("trimmed_mean", f)
    return 2 * f + 1


def trimmed_mean(rows: Tensor, *, f: int) -> Tensor:
    """The mean, per coordinate, of what is left without the f largest and the f smallest values.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (d,), within the range of the honest rows while at most f rows are corrupt.

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Source: Yin et al., ICML 2018, definition 2, whose beta n is f.
    """
    kept, f = _kept("trimmed_mean", rows, f, minimum=trimmed_mean_minimum_rows, need="n >= 2f + 1")
    middle = kept.sort(dim=0).values[f : len(kept) - f]  # (n - 2f, d)
    average = middle.mean(dim=0, dtype=torch.float64).to(rows.dtype)
    return average.clamp(middle[0], middle[-1])  # (0.1 + 0.1 + 0.1) / 3 > 0.1: rounding must not leave the range either


def krum_minimum_rows(f: int) -> int:
    """The fewest rows `krum` can work on, 2 f + 3.

    Args:
        f: corrupt rows tolerated, >= 0.

    Returns:
        2 f + 3.

    Raises:
        ValueError: f < 0.
    """
    _check_f("krum", f)
    return 2 * f + 3


def krum(rows: Tensor, *, f: int) -> Tensor:
    """The row closest to its n - f - 2 nearest neighbours; the first one if several are equally close.

    Args:
        rows: (n, d), one row a client or group; a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 3.

    Returns:
        (d,), a copy of one row.

    Raises:
        ValueError: n < 2 f + 3, f < 0, or more than f rows are set aside.

    Source: Blanchard et al., NeurIPS 2017, section 4. A row is no neighbour of itself; another row equal to it is one.
    """
    kept, f = _kept("krum", rows, f, minimum=krum_minimum_rows, need="n >= 2f + 3")
    squared = _squared_distances(kept).fill_diagonal_(torch.inf)  # (n, n)
    nearest = squared.sort(dim=1).values[:, : len(kept) - f - 2]  # (n, n - f - 2)
    return kept[nearest.sum(dim=1).argmin()].clone()


class _Kept(NamedTuple):
    """The rows a rule runs on, and how many of them may still be corrupt."""

    rows: Tensor
    f: int


def _kept(rule: str, rows: Tensor, f: int, *, minimum: Callable[[int], int], need: str) -> _Kept:
    """Set rows aside, count them against f, and check the rule's need on what is left."""
    _check_f(rule, f)
    marked = screen(rows)
    s = int(marked.sum())
    if s > f:
        raise ValueError(f"{rule} set aside {s} of n={len(rows)} rows, more than f={f}")
    n, f = len(rows) - s, f - s
    if n < minimum(f):
        aside = f" ({s} set aside)" if s else ""
        raise ValueError(f"{rule} needs {need}, got n={n}, f={f}{aside}")
    return _Kept(rows[~marked], f)


def _check_f(rule: str, f: int) -> None:
    if f < 0:
        raise ValueError(f"{rule} needs f >= 0, got f={f}")


def _shares(weights: Tensor, finite: Tensor) -> Tensor:
    """Weights (float64) of the finite rows, scaled so that their sum, and any sum of rows times shares, is finite."""
    if weights.shape != finite.shape:
        raise ValueError(f"weights must have shape {tuple(finite.shape)}, got {tuple(weights.shape)}")
    kept = weights[finite]
    bad = kept[~((kept > 0) & kept.isfinite())]
    if len(bad) > 0:
        raise ValueError(f"weights must be finite and positive for every finite row, got {bad[0].item():g}")
    return kept / kept.max() * 2.0 ** -len(kept).bit_length()  # a power of two: equal weights stay exact


def _squared_distances(rows: Tensor) -> Tensor:
    """(n, n) in float64, from differences: no cancellation of squared norms, whatever the rows have in common."""
    n = len(rows)
    squared = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    for columns in torch.split(rows, _BLOCK, dim=1):
        block = columns.to(torch.float64)  # (n, at most _BLOCK)
        for i in range(n - 1):
            squared[i, i + 1 :] += (block[i + 1 :] - block[i]).square().sum(dim=1)
    return squared + squared.T
