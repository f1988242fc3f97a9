"""Rules that drop whole rows: minimum diameter, nearest to a pivot, divide and conquer.

Each has a form `..._weights` that returns how much every row counts.
"""

import math

import numpy as np
from torch import Tensor

from defenses.kernels.geometry import centred_gram, squared_distances
from defenses.needs import MAJORITY, check_whole
from defenses.rows import Admitted, Choice, Mixture, Rows, admit_with_f
from defenses.rules import weights as choose


def mda_minimum_rows(f: int) -> int:
    """Returns the fewest rows `mda` and `monna` can work on, 2 f + 1.

    Args:
        f: corrupt rows tolerated, >= 0.

    Raises:
        ValueError: f < 0.
    """
    return MAJORITY.minimum_rows("mda", f)


def mda(rows: Rows, *, f: int) -> Tensor:
    """Returns the mean of the n - f rows whose largest distance is least.

    Of several such sets, one of little total distance counts.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1. The time grows exponentially with f, not
            with n.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 1, f < 0, more than f rows are set aside, or the search takes too
            long.

    Cost: scalar products, n^2 d, and a search exponential in f.
    Withstands: f rows far from the others.
    Fails against: rows inside the honest diameter; f rows placed each far from one honest row only,
        for large f: the search gives up with an error.

    Source: El Mhamdi et al., PODC 2020 (minimum-diameter averaging, after Rousseeuw 1985), which
    leaves ties open. Here every smallest set of rows that has to go is tried. Where fewer than f
    have to, the rest go one after another, each the furthest from the others in all. The set of the
    least total distance counts.
    """
    return _mda(rows, f).estimate()


def mda_weights(rows: Rows, *, f: int) -> Tensor:
    """Returns the weights (n,) of `mda`; arguments and errors are the same."""
    return _mda(rows, f).per_row()


def _mda(rows: Rows, f: int) -> Choice:
    admitted = admit_with_f("mda", rows, f, need=MAJORITY, distances=True)
    squared = squared_distances(admitted.store)
    return Choice(admitted, choose.minimum_diameter(squared, admitted.f))


def monna(rows: Rows, *, f: int, pivot: int) -> Tensor:
    """Returns the mean of the n - f rows nearest to a trusted row, that row among them.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.
        pivot: index of the trusted row, 0 to n - 1.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 1, f < 0, more than f rows are set aside, there is no such pivot, it
            is set aside, or a pre-filter set rows aside, so that the others moved up.

    Cost: two passes.
    Withstands: f liars, whose votes a trusted row does not need.
    Fails against: a pivot that is not honest; clients that differ from it.

    Source: Farhadkhani et al., ICML 2023 (MoNNA), where every node trusts itself.
    """
    return _monna(rows, f, pivot).estimate()


def monna_weights(rows: Rows, *, f: int, pivot: int) -> Tensor:
    """Returns the weights (n,) of `monna`; arguments and errors are the same."""
    return _monna(rows, f, pivot).per_row()


def _monna(rows: Rows, f: int, pivot: int) -> Choice:
    check_whole("monna", "pivot", pivot)
    admitted = admit_with_f("monna", rows, f, need=MAJORITY)
    _check_pivot(rows, pivot, admitted)
    # Rows set aside before the pivot moved it up by as many places.
    place = int(admitted.is_fit[:pivot].sum())
    trusted = admitted.store.combine(np.eye(admitted.n)[place])
    order = np.argsort(admitted.store.distances_to(trusted), kind="stable")
    nearest = order[: admitted.n - admitted.f]
    return Choice(admitted, choose.average(nearest, admitted.n))


def _check_pivot(rows: Rows, pivot: int, admitted: Admitted) -> None:
    if isinstance(rows, Mixture) and rows.set_aside:
        raise ValueError(
            "monna cannot tell its pivot behind a pre-filter"
            f" that set {rows.set_aside} row(s) aside"
        )
    n = len(admitted.is_fit)
    if not 0 <= pivot < n:
        raise ValueError(f"monna needs a pivot of 0 to {n - 1}, got {pivot}")
    if not admitted.is_fit[pivot]:
        raise ValueError(f"monna cannot trust row {pivot}, which was set aside")


def dnc(rows: Rows, *, f: int, filter: float = 1.0, at_once: bool | None = None) -> Tensor:
    """Removes ceil(filter x f) rows, each furthest along the widest direction; averages the rest.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.
        filter: rows removed over f, >= 1; at least one row has to stay.
        at_once: whether all rows go along the widest direction of all rows. By default, None,
            each row goes along the widest direction of the rows that remain.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 1, f < 0, filter out of range, or more than f rows are set aside.

    Cost: scalar products, n^2 d, and an eigenvector of n x n for every removed row, or one at once.
    Withstands: f rows that agree on a direction, of whatever lengths.
    Fails against: rows that shift less than honest rows differ; clients in camps, of which it drops
        one; with `at_once`, a liar of moderate length next to a very long one.

    Source: Shejwalkar and Houmansadr, NDSS 2021 (divide and conquer). They draw coordinates at
    random, for speed, and intersect several rounds in which all rows go at once, so that of two
    liars the shorter can hide behind the longer. Here the (n, n) scalar products give the direction
    from all coordinates, and rows go one by one, each around the mean of the remaining rows. With
    `at_once` they go as in one of the paper's rounds, with all coordinates.
    """
    return _dnc(rows, f, filter, at_once).estimate()


def dnc_weights(rows: Rows, *, f: int, filter: float = 1.0, at_once: bool | None = None) -> Tensor:
    """Returns the weights (n,) of `dnc`; arguments and errors are the same."""
    return _dnc(rows, f, filter, at_once).per_row()


def _dnc(rows: Rows, f: int, filter: float, at_once: bool | None) -> Choice:
    admitted = admit_with_f("dnc", rows, f, need=MAJORITY, distances=True)
    removed = removed_by_dnc(filter, n=admitted.n, f=admitted.f)
    gram = centred_gram(admitted.store).gram
    return Choice(admitted, choose.spectral(gram, removed, at_once=bool(at_once)))


def removed_by_dnc(filter: float, *, n: int, f: int) -> int:
    """Returns how many of n rows `dnc` removes. Raises ValueError for a filter out of range."""
    # NaN fails the first comparison, and infinity has no ceiling.
    is_valid = 1 <= filter < math.inf
    if not is_valid or math.ceil(filter * f) >= n:
        raise ValueError(
            f"dnc needs a filter of 1 or more that leaves a row of n={n}, got {filter:g}"
        )
    return math.ceil(filter * f)
