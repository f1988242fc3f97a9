"""Krum and the rules built on it: rows are chosen by the distances to their neighbours.

Each has a form `..._weights`, or is no weighted sum of rows (`bulyan`).
"""

from torch import Tensor

from defenses.kernels.geometry import squared_distances
from defenses.needs import Need, check_whole
from defenses.rows import Choice, Rows, admit_with_f
from defenses.rules import weights as choose

# A row's n - f - 2 nearest neighbours then number more than f: some of them are honest.
KRUM_NEED = Need(2, 3)
# The n - 2 f rows that Krum chooses then number more than 2 f: most of them are honest.
BULYAN_NEED = Need(4, 3)


def krum_minimum_rows(f: int) -> int:
    """Returns the fewest rows `krum` and `multi_krum` can work on, 2 f + 3.

    Args:
        f: corrupt rows tolerated, >= 0.

    Raises:
        ValueError: f < 0.
    """
    return KRUM_NEED.minimum_rows("krum", f)


def krum(rows: Rows, *, f: int) -> Tensor:
    """Returns the row closest to its n - f - 2 nearest neighbours.

    The first row wins if several are equally close.

    Args:
        rows: (n, d), one row a client or group; a row that `screen` marks is set aside and counts
            against f.
        f: corrupt rows tolerated; needs n >= 2 f + 3.

    Returns:
        (d,), a copy of one row.

    Raises:
        ValueError: n < 2 f + 3, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d, and a copy.
    Withstands: f rows far from the others.
    Fails against: rows closer together than honest ones (a little is enough); clients that differ:
        most are never heard. Its answer is one client's row as it is: anybody who sees the model
        move can invert it (docs/leakage.md).

    Source: Blanchard et al., NeurIPS 2017, section 4. A row is no neighbour of itself; another row
    equal to it is one.
    """
    return _krum(rows, f).estimate()


def krum_weights(rows: Rows, *, f: int) -> Tensor:
    """Returns the weights (n,) of `krum`: one for the row it returns.

    Arguments and errors are those of `krum`.
    """
    return _krum(rows, f).per_row()


def _krum(rows: Rows, f: int) -> Choice:
    admitted = admit_with_f("krum", rows, f, need=KRUM_NEED, distances=True)
    squared = squared_distances(admitted.store)
    return Choice(admitted, choose.krum(squared, admitted.f))


def multi_krum(rows: Rows, *, f: int, m: int | None = None) -> Tensor:
    """Returns the mean of the m rows closest to their n - f - 2 nearest neighbours.

    Of rows that are equally close, the first ones are taken.

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

    Source: Blanchard et al., NeurIPS 2017, section 5 (their m is free; n - f is the most that can
    be honest).
    """
    return _multi_krum(rows, f, m).estimate()


def multi_krum_weights(rows: Rows, *, f: int, m: int | None = None) -> Tensor:
    """Returns the weights (n,) of `multi_krum`; arguments and errors are the same."""
    return _multi_krum(rows, f, m).per_row()


def _multi_krum(rows: Rows, f: int, m: int | None) -> Choice:
    admitted = admit_with_f("multi_krum", rows, f, need=KRUM_NEED, distances=True)
    m = averaged_by_multi_krum(m, n=admitted.n, f=admitted.f)
    squared = squared_distances(admitted.store)
    return Choice(admitted, choose.multi_krum(squared, admitted.f, m))


def averaged_by_multi_krum(m: int | None, *, n: int, f: int) -> int:
    """Returns how many of n rows `multi_krum` averages. Raises ValueError for an m out of range."""
    largest = n - f
    if m is None:
        m = largest
    check_whole("multi_krum", "m", m)
    if not 1 <= m <= largest:
        raise ValueError(f"multi_krum needs an m of 1 to n - f = {largest}, got {m}")
    return m


def bulyan_minimum_rows(f: int) -> int:
    """Returns the fewest rows `bulyan` can work on, 4 f + 3.

    Args:
        f: corrupt rows tolerated, >= 0.

    Raises:
        ValueError: f < 0.
    """
    return BULYAN_NEED.minimum_rows("bulyan", f)


def bulyan(rows: Rows, *, f: int) -> Tensor:
    """Chooses n - 2 f rows by Krum, then averages the n - 4 f values nearest to their median.

    Krum chooses the rows one after another; each coordinate has a median and a mean of its own.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 4 f + 3.

    Returns:
        (d,).

    Raises:
        ValueError: n < 4 f + 3, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d, n - 2 f times n^2 log n, and a sort a coordinate.
    Withstands: f rows, also those that differ from honest ones in few coordinates.
    Fails against: a quarter of the rows or more; it keeps n - 4 f values. With n = 4 f + 3 and
        f <= 2 its last choices are between two rows that are each other's nearest: the first is
        taken, and the order of the rows shows.

    Source: El Mhamdi, Guerraoui and Rouault, ICML 2018, section 4: each choice is a Krum among the
    r remaining rows, with r - f - 2 neighbours, and with one where that is none.
    """
    admitted = admit_with_f("bulyan", rows, f, need=BULYAN_NEED, distances=True)
    chosen = choose.bulyan(squared_distances(admitted.store), admitted.f)
    # In the order of the rows, so that sums are rounded alike whatever order Krum chose in.
    chosen_rows = admitted.store.only(sorted(chosen))
    return chosen_rows.nearest_mean(len(chosen) - 2 * admitted.f)
