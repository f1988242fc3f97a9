"""Rules that choose whole rows by their distances: Krum and its kin, minimum diameter, nearest to a pivot, spectral.

Each has a form `..._weights` that returns how much every row counts, so that several can share one set of distances.
"""

import math

import numpy as np
from torch import Tensor

from defenses.kernels.blocks import Numbers
from defenses.kernels.geometry import centred_gram, squared_distances
from defenses.rows import Mixture, Opened, Rows, check_f, check_whole, opened
from defenses.rules import weights as choose


def krum_minimum_rows(f: int) -> int:
    """The fewest rows `krum` and `multi_krum` can work on, 2 f + 3.

    Args:
        f: corrupt rows tolerated, >= 0.

    Returns:
        2 f + 3.

    Raises:
        ValueError: f < 0.
    """
    check_f("krum", f)
    return 2 * f + 3


def krum(rows: Rows, *, f: int) -> Tensor:
    """The row closest to its n - f - 2 nearest neighbours; the first one if several are equally close.

    Args:
        rows: (n, d), one row a client or group; a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 3.

    Returns:
        (d,), a copy of one row.

    Raises:
        ValueError: n < 2 f + 3, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d, and a copy.
    Withstands: f rows far from the others.
    Fails against: rows closer together than honest ones (a little is enough); clients that differ: most are
        never heard. Its answer is one client's row as it is: who sees the model move can invert it (docs/leakage.md).

    Source: Blanchard et al., NeurIPS 2017, section 4. A row is no neighbour of itself; another row equal to it is one.
    """
    left, weights = _krum(rows, f)
    return left.columns.combine(weights)


def krum_weights(rows: Rows, *, f: int) -> Tensor:
    """The weights (n,) of `krum`: one for the row it returns. Arguments and errors as there."""
    left, weights = _krum(rows, f)
    return left.spread(weights)


def multi_krum(rows: Rows, *, f: int, m: int | None = None) -> Tensor:
    """The mean of the m rows closest to their n - f - 2 nearest neighbours; the first ones of equals.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 3.
        m: rows to average, 1 to n - f; n - f by default.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 3, f < 0, m out of range, or more than f rows are set aside.

    Cost: scalar products, n^2 d, and one weighted sum.
    Withstands: f rows far from the others.
    Fails against: rows closer together than honest ones, of which it averages some.

    Source: Blanchard et al., NeurIPS 2017, section 5 (their m is free; n - f is the most that can be honest).
    """
    left, weights = _multi_krum(rows, f, m)
    return left.columns.combine(weights)


def multi_krum_weights(rows: Rows, *, f: int, m: int | None = None) -> Tensor:
    """The weights (n,) of `multi_krum`. Arguments and errors as there."""
    left, weights = _multi_krum(rows, f, m)
    return left.spread(weights)


def bulyan_minimum_rows(f: int) -> int:
    """The fewest rows `bulyan` can work on, 4 f + 3.

    Args:
        f: corrupt rows tolerated, >= 0.

    Returns:
        4 f + 3.

    Raises:
        ValueError: f < 0.
    """
    check_f("bulyan", f)
    return 4 * f + 3


def bulyan(rows: Rows, *, f: int) -> Tensor:
    """Krum chooses n - 2 f rows one after another; then the mean of the n - 4 f values nearest to their median.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 4 f + 3.

    Returns:
        (d,).

    Raises:
        ValueError: n < 4 f + 3, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d, n - 2 f times n^2 log n, and a sort a coordinate.
    Withstands: f rows, also those that differ from honest ones in few coordinates.
    Fails against: a quarter of the rows or more; it keeps n - 4 f values. With n = 4 f + 3 and f <= 2 its last choices
        are between two rows that are each other's nearest: the first is taken, and the order of the rows shows.

    Source: El Mhamdi, Guerraoui and Rouault, ICML 2018, section 4: each choice is a Krum among the r rows that
    are left, with r - f - 2 neighbours, and with one where that is none.
    """
    left = opened(
        "bulyan", rows, f, distances=True, minimum=bulyan_minimum_rows, need="n >= 4f + 3"
    )
    chosen = choose.bulyan(squared_distances(left.columns), left.f)
    return left.columns.only(sorted(chosen)).nearest_mean(len(chosen) - 2 * left.f)


def mda_minimum_rows(f: int) -> int:
    """The fewest rows `mda` and `monna` can work on, 2 f + 1.

    Args:
        f: corrupt rows tolerated, >= 0.

    Returns:
        2 f + 1.

    Raises:
        ValueError: f < 0.
    """
    check_f("mda", f)
    return 2 * f + 1


def mda(rows: Rows, *, f: int) -> Tensor:
    """The mean of n - f rows whose largest distance is least; of such sets, one of little total distance.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1. The time grows exponentially with f, not with n.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d, and a search exponential in f.
    Withstands: f rows far from the others.
    Fails against: rows inside the honest diameter; f rows placed each far from one honest row only, for large f: the
        search gives up with an error.

    Source: El Mhamdi et al., PODC 2020 (minimum-diameter averaging, after Rousseeuw 1985), which leaves ties
    open. Here every smallest set of rows that has to go is tried; where fewer than f have to, the rest go one after
    another, each the furthest from the others in all; the set of the least total distance counts.
    """
    left, weights = _mda(rows, f)
    return left.columns.combine(weights)


def mda_weights(rows: Rows, *, f: int) -> Tensor:
    """The weights (n,) of `mda`. Arguments and errors as there."""
    left, weights = _mda(rows, f)
    return left.spread(weights)


def monna(rows: Rows, *, f: int, pivot: int) -> Tensor:
    """The mean of the n - f rows nearest to a trusted one, itself among them.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.
        pivot: which row is trusted, 0 to n - 1.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 1, f < 0, more than f rows are set aside, or there is no such pivot, or it is set aside,
            or rows were set aside before, so that the others moved up.

    Cost: two passes.
    Withstands: f liars, whose votes a trusted row does not need.
    Fails against: a pivot that is not honest; clients that differ from it.

    Source: Farhadkhani et al., ICML 2023 (MoNNA), where every node trusts itself.
    """
    left, weights = _monna(rows, f, pivot)
    return left.columns.combine(weights)


def monna_weights(rows: Rows, *, f: int, pivot: int) -> Tensor:
    """The weights (n,) of `monna`. Arguments and errors as there."""
    left, weights = _monna(rows, f, pivot)
    return left.spread(weights)


def dnc(rows: Rows, *, f: int, filter: float = 1.0) -> Tensor:
    """The mean of what stays when, ceil(filter x f) times, the row furthest along the widest direction goes.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.
        filter: rows removed over f, >= 1; at least one row has to stay.

    Returns:
        (d,).

    Raises:
        ValueError: n < 2 f + 1, f < 0, filter out of range, or more than f rows are set aside.

    Cost: scalar products, n^2 d, and an eigenvector of n x n for every row that goes.
    Withstands: f rows that agree on a direction, of whatever lengths.
    Fails against: rows that shift less than honest rows differ; clients in camps, of which it drops one.

    Source: Shejwalkar and Houmansadr, NDSS 2021 (divide and conquer). They draw coordinates at random, for speed, and
    intersect several rounds in which all rows go at once, so that of two liars the shorter can hide behind the longer.
    Here the (n, n) scalar products give the direction from all coordinates, and rows go one by one, each around the
    mean of those that are left.
    """
    left, weights = _dnc(rows, f, filter)
    return left.columns.combine(weights)


def dnc_weights(rows: Rows, *, f: int, filter: float = 1.0) -> Tensor:
    """The weights (n,) of `dnc`. Arguments and errors as there."""
    left, weights = _dnc(rows, f, filter)
    return left.spread(weights)


def _krum(rows: Rows, f: int) -> tuple[Opened, Numbers]:
    left = opened("krum", rows, f, distances=True, minimum=krum_minimum_rows, need="n >= 2f + 3")
    return left, choose.krum(squared_distances(left.columns), left.f)


def _multi_krum(rows: Rows, f: int, m: int | None) -> tuple[Opened, Numbers]:
    left = opened(
        "multi_krum", rows, f, distances=True, minimum=krum_minimum_rows, need="n >= 2f + 3"
    )
    most = left.columns.n - left.f
    check_whole("multi_krum", "m", most if m is None else m)
    if m is not None and not 1 <= m <= most:
        raise ValueError(f"multi_krum needs an m of 1 to n - f = {most}, got {m}")
    return left, choose.multi_krum(
        squared_distances(left.columns), left.f, most if m is None else m
    )


def _mda(rows: Rows, f: int) -> tuple[Opened, Numbers]:
    left = opened("mda", rows, f, distances=True, minimum=mda_minimum_rows, need="n >= 2f + 1")
    return left, choose.minimum_diameter(squared_distances(left.columns), left.f)


def _monna(rows: Rows, f: int, pivot: int) -> tuple[Opened, Numbers]:
    check_whole("monna", "pivot", pivot)
    left = opened("monna", rows, f, minimum=mda_minimum_rows, need="n >= 2f + 1")
    if isinstance(rows, Mixture) and rows.set_aside:
        raise ValueError(
            f"monna cannot tell its pivot behind a pre-filter that set {rows.set_aside} row(s) aside"
        )
    if not 0 <= pivot < len(left.kept):
        raise ValueError(f"monna needs a pivot of 0 to {len(left.kept) - 1}, got {pivot}")
    if not left.kept[pivot]:
        raise ValueError(f"monna cannot trust row {pivot}, which was set aside")
    trusted = left.columns.combine(np.eye(left.columns.n)[int(left.kept[:pivot].sum())])
    nearest = np.argsort(left.columns.distances_to(trusted), kind="stable")[
        : left.columns.n - left.f
    ]
    return left, choose.average(nearest, left.columns.n)


def _dnc(rows: Rows, f: int, filter: float) -> tuple[Opened, Numbers]:
    left = opened("dnc", rows, f, distances=True, minimum=mda_minimum_rows, need="n >= 2f + 1")
    removed = math.ceil(filter * left.f) if 1 <= filter < math.inf else left.columns.n
    if removed >= left.columns.n:
        raise ValueError(
            f"dnc needs a filter of 1 or more that leaves a row of n={left.columns.n}, got {filter:g}"
        )
    return left, choose.spectral(centred_gram(left.columns).gram, removed)
