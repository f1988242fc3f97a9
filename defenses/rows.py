"""Rows on their way into a rule: checked, screened, and counted against f."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defenses.kernels.blocks import HostRows
from defenses.kernels.device import DeviceRows
from defenses.kernels.protocol import Numbers, RowStore
from defenses.needs import Need, check_f

# A sum with such weights stays finite for coordinates up to MAX_COORDINATE.
MAX_WEIGHT_SUM = 1e6
# Up to here, sums stay finite in float32, and squared distances in float64.
MAX_COORDINATE = 1e18


class Mixture:
    """Weighted sums of rows, never written out, that a rule takes like rows.

    A pre-filter returns a mixture. The rows are read whenever a rule asks for them: they must not
    change while the mixture is in use.

    Args:
        weights: (m, n); the magnitudes in one row add up to a million at most.
        rows: (n, d), float32 or float64, every one finite and at most 1e18 in magnitude.

    Raises:
        ValueError: the shapes do not fit, or rows holds one that `screen` marks.
    """

    def __init__(self, weights: Tensor, rows: Tensor) -> None:
        check_rows(rows)
        weights = weights.detach().double().cpu()
        if not _fit_weights(weights, len(rows)):
            raise ValueError(
                f"a mixture of n={len(rows)} rows needs weights (m, {len(rows)})"
                f" of at most {MAX_WEIGHT_SUM:g}"
            )
        store = store_of(rows)
        if marked(store).any():
            raise ValueError("a mixture cannot hold a row that screen marks")
        self._store: RowStore = store.mixed(weights.numpy())
        self._set_aside = 0

    @classmethod
    def _of(cls, store: RowStore, set_aside: int) -> "Mixture":
        mixture = cls.__new__(cls)
        mixture._store = store
        mixture._set_aside = set_aside
        return mixture

    def __len__(self) -> int:
        return self._store.n

    def __repr__(self) -> str:
        return (
            f"<mixture of shape {self.shape}, {self._set_aside} row(s) set aside;"
            " tensor() writes it out>"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, d) of the sums."""
        return self._store.n, self._store.d

    @property
    def set_aside(self) -> int:
        """Number of rows that a pre-filter set aside; the rows behind them moved up."""
        return self._set_aside

    def tensor(self) -> Tensor:
        """Returns the sums (m, d), written out."""
        return self._store.written()


Rows = Tensor | Mixture


def _fit_weights(weights: Tensor, n: int) -> bool:
    if weights.ndim != 2 or weights.shape[1] != n:
        return False
    return bool((weights.abs().sum(dim=1) <= MAX_WEIGHT_SUM).all())


class Admitted(NamedTuple):
    """The rows that a rule computes on, after screening.

    Attributes:
        store: the n admitted rows.
        f: how many of them may be corrupt: the caller's f less the rows set aside; 0 for a rule
            without f.
        is_fit: (all rows,) True for each row that was admitted.
        set_aside: number of rows set aside, by this rule or by a pre-filter before it.
    """

    store: RowStore
    f: int
    is_fit: NDArray[np.bool_]
    set_aside: int

    @property
    def n(self) -> int:
        """Number of admitted rows."""
        return self.store.n

    def mixture(self, weights: Numbers) -> Mixture:
        """Returns sums of the admitted rows, by weights (m, n).

        Rows set aside go on counting against f in the rule behind.
        """
        return Mixture._of(self.store.mixed(weights), self.set_aside)


class Choice(NamedTuple):
    """Admitted rows, and how much each of them counts in the estimate."""

    admitted: Admitted
    weights: Numbers  # (n,)

    def estimate(self) -> Tensor:
        """Returns the weighted sum of the admitted rows, (d,)."""
        return self.admitted.store.combine(self.weights)

    def per_row(self) -> Tensor:
        """Returns the weights over all rows, zero for those set aside."""
        is_fit = self.admitted.is_fit
        weights = np.zeros(len(is_fit))
        weights[is_fit] = self.weights
        return torch.from_numpy(weights)


def check_rows(rows: Rows) -> None:
    """Refuses anything but a table of at least one row of floats.

    Every public function starts here.

    Raises:
        ValueError: rows is no tensor or mixture, not 2-D, empty, or neither float32 nor float64.
    """
    if isinstance(rows, Mixture):
        return
    if not isinstance(rows, Tensor):
        raise ValueError(f"rows must be a torch.Tensor or a Mixture, got {type(rows).__name__}")
    if rows.ndim != 2:
        raise ValueError(f"rows must be 2-D, (n, d), got shape {tuple(rows.shape)}")
    if len(rows) == 0:
        raise ValueError(f"rows must have n >= 1, got shape {tuple(rows.shape)}")
    if rows.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rows must be float32 or float64, got {rows.dtype}")


def store_of(rows: Tensor) -> RowStore:
    """Returns the rows as a store that reads them where they lie."""
    table = rows.detach()
    if table.device.type == "cpu":
        return HostRows(table.numpy())
    return DeviceRows(table)


def marked(store: RowStore, *, distances: bool = False) -> NDArray[np.bool_]:
    """Marks rows with a coordinate that is NaN, infinite, or beyond 1e18 in magnitude.

    Args:
        store: (n, d) rows.
        distances: the rule needs scalar products later; their diagonal then gives the norms.

    Returns:
        (n,), True for each row that has to be set aside.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # No coordinate is larger than the norm: most tables pass without a second look.
        if distances:
            passes = bool((store.gram().diagonal() <= MAX_COORDINATE**2).all())
        else:
            passes = store.within(MAX_COORDINATE)
        if passes:
            return np.zeros(store.n, np.bool_)
        low, high = store.extremes()
    # Not written as `low < -limit`: every comparison with NaN is False, and NaN would pass.
    within = (low >= -MAX_COORDINATE) & (high <= MAX_COORDINATE)
    return ~within


def admit(rule: str, rows: Rows, *, distances: bool = False) -> Admitted:
    """Sets rows aside for a rule that takes no f.

    Args:
        rule: its name, for messages.
        rows: (n, d), or a mixture, whose rows were screened when it was made.
        distances: the rule needs scalar products later.

    Raises:
        ValueError: rows is no table of floats, or no row is left.
    """
    check_rows(rows)
    store, is_fit, set_aside = _screened(rows, distances=distances)
    if not is_fit.any():
        raise ValueError(f"{rule} needs a row, all n={len(rows)} were set aside")
    return Admitted(_fit_only(store, is_fit), 0, is_fit, set_aside)


def admit_with_f(
    rule: str,
    rows: Rows,
    f: int,
    *,
    need: Need,
    distances: bool = False,
) -> Admitted:
    """Sets rows aside, counts them against f, and checks that enough rows are left.

    Args:
        rule: its name, for messages.
        rows: (n, d), or a mixture, whose rows were screened when it was made.
        f: corrupt rows tolerated.
        need: the number of rows that the rule needs for an f.
        distances: the rule needs scalar products later.

    Raises:
        ValueError: rows is no table of floats, f < 0, more than f rows are set aside, or too few
            are left.
    """
    check_rows(rows)
    check_f(rule, f)
    store, is_fit, set_aside = _screened(rows, distances=distances)
    remaining_f = f - set_aside
    if remaining_f < 0:
        raise ValueError(f"{rule} set aside {set_aside} of n={len(rows)} rows, more than f={f}")
    n = int(is_fit.sum())
    # A row set aside is gone as one of the f: the need is that of the remaining rows.
    if n < need.minimum_rows(rule, remaining_f):
        note = f" ({set_aside} set aside)" if set_aside else ""
        raise ValueError(f"{rule} needs {need}, got n={n}, f={remaining_f}{note}")
    return Admitted(_fit_only(store, is_fit), remaining_f, is_fit, set_aside)


def _screened(rows: Rows, *, distances: bool) -> tuple[RowStore, NDArray[np.bool_], int]:
    if isinstance(rows, Mixture):
        return rows._store, np.ones(len(rows), np.bool_), rows.set_aside
    store = store_of(rows)
    is_fit = ~marked(store, distances=distances)
    return store, is_fit, store.n - int(is_fit.sum())


def finite_rows(rows: Rows) -> tuple[RowStore, NDArray[np.bool_]]:
    """Returns the finite rows however large they are, for `mean`, which screens nothing else.

    Returns:
        The finite rows, and a mask over all rows that is True for each of them.

    Raises:
        ValueError: rows is no table of floats, or no row is finite.
    """
    check_rows(rows)
    if isinstance(rows, Mixture):
        return rows._store, np.ones(len(rows), np.bool_)
    store = store_of(rows)
    is_finite = np.ones(len(rows), np.bool_)
    if marked(store).any():
        low, high = store.extremes()
        is_finite = np.isfinite(low) & np.isfinite(high)
    if not is_finite.any():
        raise ValueError(f"mean needs a finite row, all n={len(rows)} were set aside")
    return _fit_only(store, is_finite), is_finite


def _fit_only(store: RowStore, is_fit: NDArray[np.bool_]) -> RowStore:
    # The whole table needs no selection, which would cost a copy of every block.
    return store if is_fit.all() else store.only(np.flatnonzero(is_fit).tolist())
