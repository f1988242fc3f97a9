"""Rules that take every coordinate on its own: mean, median, trimmed mean, mean around the median.

Each takes rows (n, d), returns one estimate (d,) of the same dtype, and writes into no input. Every
rule except `mean` first sets aside the rows that `screen` marks. With s rows set aside, a rule that
takes f runs on n - s rows with f - s, and refuses s > f.
"""

import numpy as np
import torch
from torch import Tensor

from defenses.kernels.protocol import Numbers
from defenses.needs import MAJORITY
from defenses.rows import Rows, admit, admit_with_f, finite_rows


def mean(rows: Rows, *, weights: Tensor | None = None) -> Tensor:
    """Returns the weighted mean of the finite rows; it is not robust.

    Args:
        rows: (n, d); a non-finite row is dropped, a finite one stays however large it is.
        weights: (n,), finite and positive for every row that stays, in any unit; None means equal.

    Returns:
        (d,), finite, accumulated in float64.

    Raises:
        ValueError: no row is finite, or weights has another shape or an entry that is not finite
            and positive.

    Cost: one pass.
    Withstands: nothing.
    Fails against: everything: one row moves it at will.

    Source: McMahan et al., AISTATS 2017, algorithm 1 (weights are the numbers of examples).
    """
    store, is_finite = finite_rows(rows)
    row_weights = np.ones(len(is_finite))
    if weights is not None:
        row_weights = weights.detach().double().cpu().numpy()
    shares = _shares(row_weights, is_finite)
    # The last rounding must not turn the largest float into infinity.
    largest = torch.finfo(store.dtype).max
    average = store.combine_widely(shares).div_(shares.sum())
    return average.clamp_(-largest, largest).to(store.dtype)


def _shares(weights: Numbers, is_finite: np.ndarray) -> Numbers:
    """Returns the finite rows' weights, scaled so that no sum of rows x shares overflows."""
    if weights.shape != is_finite.shape:
        raise ValueError(f"weights must have shape {is_finite.shape}, got {weights.shape}")
    used = weights[is_finite]
    is_valid = (used > 0) & np.isfinite(used)
    if not is_valid.all():
        refused = used[~is_valid][0]
        raise ValueError(
            f"weights must be finite and positive for every finite row, got {refused:g}"
        )
    # A power of two above n: the sum of the shares is below one, and equal weights stay exact.
    shares: Numbers = used / used.max() * 2.0 ** -len(used).bit_length()
    return shares


def median(rows: Rows) -> Tensor:
    """Returns the median of each coordinate, midway between the middle values for even n.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.

    Returns:
        (d,), within the range of the honest rows while fewer than half of the rows are corrupt.

    Raises:
        ValueError: no row is left.

    Cost: a sorting network a coordinate, 5 passes for 20 rows.
    Withstands: fewer than half of the rows, whatever they hold, one coordinate at a time.
    Fails against: rows that keep within the honest range and agree with each other; it is biased
        where clients differ.

    Source: Yin et al., ICML 2018, definition 1.
    """
    return admit("median", rows).store.median()


def trimmed_mean_minimum_rows(f: int) -> int:
    """Returns the fewest rows `trimmed_mean` and `meamed` can work on, 2 f + 1.

    Args:
        f: corrupt rows tolerated, >= 0.

    Raises:
        ValueError: f < 0.
    """
    return MAJORITY.minimum_rows("trimmed_mean", f)


def trimmed_mean(rows: Rows, *, f: int) -> Tensor:
    """Returns each coordinate's mean without its f largest and f smallest values.

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
    admitted = admit_with_f("trimmed_mean", rows, f, need=MAJORITY)
    return admitted.store.middle_mean(admitted.n - 2 * admitted.f)


def meamed(rows: Rows, *, f: int) -> Tensor:
    """Returns each coordinate's mean of the n - f values nearest to its median.

    Of two values equally far from the median, the smaller counts as nearer.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (d,). Unlike the trimmed mean it can leave the range of the honest rows, by no more than
        their spread.

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: a sort a coordinate, 13 passes for 20 rows.
    Withstands: f rows, whatever they hold.
    Fails against: f rows on one side of the median, just inside the honest range, which pull the
        mean there.

    Source: Xie, Koyejo and Gupta, 2018 (arXiv 1802.10116), mean around median.
    """
    admitted = admit_with_f("meamed", rows, f, need=MAJORITY)
    return admitted.store.nearest_mean(admitted.n - admitted.f)
