"""Rules that go by distances alone: squared distances between rows in, the rows' weights out.

Whoever knows how far rows lie apart, and not the rows, chooses among them like the rule does:

    weights = dnc_choice(squared, f=4)  # (n,), equal for the rows that stay
    chosen = np.flatnonzero(weights)
"""

import numpy as np
from numpy.typing import NDArray

from defenses.needs import MAJORITY, Need, check_f
from defenses.rules import weights as choose
from defenses.rules.krum import KRUM_NEED, averaged_by_multi_krum
from defenses.rules.selection import removed_by_dnc

# Sums of so many squared distances as there are pairs of rows stay finite.
MAX_SQUARED_DISTANCE = 1e300


def multi_krum_choice(
    squared: NDArray[np.float64], *, f: int, m: int | None = None
) -> NDArray[np.float64]:
    """Returns the weights (n,) of `multi_krum` from squared distances between rows.

    Args:
        squared: (n, n) float64, symmetric, zero on its diagonal.
        f: corrupt rows tolerated; needs n >= 2 f + 3.
        m: rows to average, 1 to n - f; n - f by default.

    Raises:
        ValueError: n < 2 f + 3, f < 0, m out of range, or squared is no table of distances.
    """
    _check("multi_krum", squared, f, KRUM_NEED)
    m = averaged_by_multi_krum(m, n=len(squared), f=f)
    return choose.multi_krum(squared, f, m)


def mda_choice(squared: NDArray[np.float64], *, f: int) -> NDArray[np.float64]:
    """Returns the weights (n,) of `mda` from squared distances between rows.

    Args:
        squared: (n, n) float64, symmetric, zero on its diagonal.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Raises:
        ValueError: n < 2 f + 1, f < 0, the search takes too long, or squared is no table of
            distances.
    """
    _check("mda", squared, f, MAJORITY)
    return choose.minimum_diameter(squared, f)


def dnc_choice(
    squared: NDArray[np.float64], *, f: int, filter: float = 1.0, at_once: bool | None = None
) -> NDArray[np.float64]:
    """Returns the weights (n,) of `dnc` from squared distances between rows.

    Scalar products around the mean of some rows are -1/2 J D J, where D holds the squared distances
    between these rows and J subtracts a mean.

    Args:
        squared: (n, n) float64, symmetric, zero on its diagonal.
        f: corrupt rows tolerated; needs n >= 2 f + 1.
        filter: rows removed over f, >= 1; at least one row has to stay.
        at_once: whether all rows go along the widest direction of all rows; None for no.

    Raises:
        ValueError: n < 2 f + 1, f < 0, filter out of range, or squared is no table of distances.

    Source: Torgerson, Psychometrika 1952 (scalar products from distances).
    """
    _check("dnc", squared, f, MAJORITY)
    removed = removed_by_dnc(filter, n=len(squared), f=f)
    # `spectral` applies J, to the rows that remain each time: a long row that went costs no digits.
    return choose.spectral(-0.5 * squared, removed, at_once=bool(at_once))


def _check(rule: str, squared: NDArray[np.float64], f: int, need: Need) -> None:
    """Refuses what holds no distances between enough rows. Raises ValueError."""
    check_f(rule, f)
    if not isinstance(squared, np.ndarray) or squared.dtype != np.float64:
        kind = squared.dtype if isinstance(squared, np.ndarray) else type(squared).__name__
        raise ValueError(f"squared distances must be a numpy array of float64, got {kind}")
    n = len(squared) if squared.ndim else 0
    if squared.shape != (n, n) or n == 0:
        raise ValueError(f"squared distances must be square, (n, n), got shape {squared.shape}")
    # NaN fails both comparisons.
    if not ((squared >= 0) & (squared <= MAX_SQUARED_DISTANCE)).all():
        raise ValueError(
            f"squared distances must be finite, 0 or more and at most {MAX_SQUARED_DISTANCE:g}"
        )
    if squared.diagonal().any() or (squared != squared.T).any():
        raise ValueError("squared distances must be symmetric, and 0 from each row to itself")
    if n < need.minimum_rows(rule, f):
        raise ValueError(f"{rule} needs {need}, got n={n}, f={f}")
