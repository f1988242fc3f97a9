"""Rules that take every coordinate on its own: mean, median, trimmed mean, mean around the median.

Rows (n, d) in, one estimate (d,) of the same dtype out, no input modified. Every rule but `mean` first sets aside the
rows that `screen` marks; with s of them, a rule that takes f runs on n - s rows with f - s, and refuses s > f.
"""

import numpy as np
import torch
from torch import Tensor

from defenses.rows import Rows, check, check_f, opened, unscreened


def mean(rows: Rows, *, weights: Tensor | None = None) -> Tensor:
    """The weighted mean of the finite rows; not robust, one large row moves it at will.

    Args:
        rows: (n, d); a non-finite row is dropped, a finite one stays however large it is.
        weights: (n,), finite and positive for every row that stays, in any unit; None means equal.

    Returns:
        (d,), finite, accumulated in float64.

    Raises:
        ValueError: no row is finite, or weights has another shape or an entry that is not finite and positive.

    Cost: one pass.
    Withstands: nothing.
    Fails against: everything: one row moves it at will.

    Source: McMahan et al., AISTATS 2017, algorithm 1 (weights are the numbers of examples).
    """
    check(rows)
    columns, finite, dtype = unscreened(rows)
    shares = _shares(
        np.ones(len(finite)) if weights is None else weights.detach().double().cpu().numpy(), finite
    )
    largest = torch.finfo(
        dtype
    ).max  # the last rounding must not turn the largest float into infinity
    return columns.combine_widely(shares).div_(shares.sum()).clamp_(-largest, largest).to(dtype)


def median(rows: Rows) -> Tensor:
    """The coordinate-wise median, midway between the two middle values when n is even.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.

    Returns:
        (d,), within the range of the honest rows while fewer than half of the rows are corrupt.

    Raises:
        ValueError: no row is left.

    Cost: a sorting network a coordinate, 5 passes for 20 rows.
    Withstands: fewer than half of the rows, whatever they hold, one coordinate at a time.
    Fails against: rows that keep within the honest range and agree with each other; it is biased where clients
        differ.

    Source: Yin et al., ICML 2018, definition 1.
    """
    return opened("median", rows).columns.median()


def trimmed_mean_minimum_rows(f: int) -> int:
    """The fewest rows `trimmed_mean` and `meamed` can work on, 2 f + 1.

    Args:
        f: corrupt rows tolerated, >= 0.

    Returns:
        2 f + 1.

    Raises:
        ValueError: f < 0.
    """
    check_f("trimmed_mean", f)
    return 2 * f + 1


def trimmed_mean(rows: Rows, *, f: int) -> Tensor:
    """The mean, per coordinate, of what is left without the f largest and the f smallest values.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (d,), within the range of the honest rows while at most f rows are corrupt.

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: a sorting network a coordinate, 6 passes for 20 rows.
    Withstands: f rows, whatever they hold, one coordinate at a time.
    Fails against: f rows within the honest range; f that is too small.

    Source: Yin et al., ICML 2018, definition 2, whose beta n is f.
    """
    left = opened("trimmed_mean", rows, f, minimum=trimmed_mean_minimum_rows, need="n >= 2f + 1")
    return left.columns.middle_mean(left.columns.n - 2 * left.f)


def meamed(rows: Rows, *, f: int) -> Tensor:
    """The mean, per coordinate, of the n - f values nearest to the median; of two equally far, the smaller.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (d,). Unlike the trimmed mean it can leave the range of the honest rows, by no more than their spread.

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: a sort a coordinate, 13 passes for 20 rows.
    Withstands: f rows, whatever they hold.
    Fails against: f rows on one side of the median, just inside the honest range, which pull the mean there.

    Source: Xie, Koyejo and Gupta, 2018 (arXiv 1802.10116), mean around median.
    """
    left = opened("meamed", rows, f, minimum=trimmed_mean_minimum_rows, need="n >= 2f + 1")
    return left.columns.nearest_mean(left.columns.n - left.f)


def _shares(weights: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Weights of the finite rows, scaled so that their sum, and any sum of rows times shares, is finite."""
    if weights.shape != finite.shape:
        raise ValueError(f"weights must have shape {finite.shape}, got {weights.shape}")
    kept = weights[finite]
    bad = kept[~((kept > 0) & np.isfinite(kept))]
    if len(bad) > 0:
        raise ValueError(
            f"weights must be finite and positive for every finite row, got {bad[0]:g}"
        )
    shares: np.ndarray = (
        kept / kept.max() * 2.0 ** -len(kept).bit_length()
    )  # a power of two: equal weights stay exact
    return shares
