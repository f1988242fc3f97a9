"""Rows on their way into a rule: checked, screened, counted against f, and read where they lie."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defenses.kernels.blocks import Columns, Numbers
from defenses.kernels.device import DeviceColumns

_HEAVIEST = 1e6  # weights of a sum, so that it stays finite
LIMIT = 1e18  # sums stay finite in float32, and squared distances in float64


class Mixture:
    """Weighted sums of rows that are never written out: what a pre-filter hands to a rule, which takes it like rows.

    The rows are read whenever a rule asks: they must not change while the mixture is in use.

    Args:
        weights: (m, n); no row of them has a sum of magnitudes above a million.
        rows: (n, d), float32 or float64, every one finite and at most 1e18 in magnitude.

    Raises:
        ValueError: the shapes do not fit, or rows holds one that `screen` marks.
    """

    def __init__(self, weights: Tensor, rows: Tensor) -> None:
        check(rows)
        weights = weights.detach().double().cpu()
        if (
            weights.ndim != 2
            or weights.shape[1] != len(rows)
            or not (weights.abs().sum(dim=1) <= _HEAVIEST).all()
        ):
            raise ValueError(
                f"a mixture of n={len(rows)} rows needs weights (m, {len(rows)}) of at most {_HEAVIEST:g}"
            )
        columns = columns_of(rows)
        if marked(columns).any():
            raise ValueError("a mixture cannot hold a row that screen marks")
        self._columns, self._set_aside = columns.mixed(weights.numpy()), 0

    @classmethod
    def _of(cls, columns: "AnyColumns", set_aside: int) -> "Mixture":
        mixture = cls.__new__(cls)
        mixture._columns, mixture._set_aside = columns, set_aside
        return mixture

    def __len__(self) -> int:
        return self._columns.n

    def __repr__(self) -> str:
        return f"<mixture of shape {self.shape}, {self._set_aside} row(s) set aside; tensor() writes it out>"

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d)."""
        return self._columns.n, self._columns.d

    @property
    def set_aside(self) -> int:
        """Rows that were screened on the way; the others moved up."""
        return self._set_aside

    def tensor(self) -> Tensor:
        """The sums (m, d), written out."""
        return self._columns.written()


AnyColumns = Columns | DeviceColumns
Rows = Tensor | Mixture


class Opened(NamedTuple):
    """What a rule runs on: the rows that are left, how many of them may be corrupt, and which of all rows they are."""

    columns: AnyColumns
    f: int
    kept: NDArray[np.bool_]
    set_aside: int

    def spread(self, weights: Numbers) -> Tensor:
        """Weights (n,) over all rows, zero for those set aside."""
        everyone = np.zeros(len(self.kept))
        everyone[self.kept] = weights
        return torch.from_numpy(everyone)

    def mixture(self, weights: Numbers) -> Mixture:
        """Sums of the rows that are left, by weights (m, n); rows set aside go on counting against f."""
        return Mixture._of(self.columns.mixed(weights), self.set_aside)


def check(rows: Rows) -> None:
    """Refuse what is not a table of at least one row of floats; every public function starts here."""
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


def marked(columns: AnyColumns, *, distances: bool = False) -> NDArray[np.bool_]:
    """(n,) True for a row with a coordinate that is NaN, infinite or beyond the limit.

    Where distances will be needed, the norms are those of the scalar products.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squared = columns.gram().diagonal() if distances else columns.squared_norms()
        if (squared <= LIMIT**2).all():  # no coordinate is larger than the norm
            return np.zeros(columns.n, np.bool_)
        low, high = columns.extremes()
    return ~(
        (low >= -LIMIT) & (high <= LIMIT)
    )  # written as "not >=", because every comparison with NaN is False


def opened(
    rule: str,
    rows: Rows,
    f: int | None = None,
    *,
    minimum: Callable[[int], int] = lambda f: 1,
    need: str = "",
    distances: bool = False,
) -> Opened:
    """Set rows aside, count them against f, and check the rule's need on what is left.

    Args:
        rule: its name, for messages.
        rows: (n, d), or a mixture, whose rows were screened before.
        f: corrupt rows tolerated; None for a rule that takes none.
        minimum: fewest rows for an f.
        need: the same in words.
        distances: the rule will ask for scalar products.

    Raises:
        ValueError: rows is no table, f < 0, more than f rows are set aside, or too few are left.
    """
    check(rows)
    if f is not None:
        check_f(rule, f)
    if isinstance(rows, Mixture):
        columns, aside, kept = rows._columns, rows._set_aside, np.ones(len(rows), np.bool_)
    else:
        columns = columns_of(rows)
        kept = ~marked(columns, distances=distances)
        aside = columns.n - int(kept.sum())
    left, many = 0 if f is None else f - aside, int(kept.sum())
    if left < 0:
        raise ValueError(f"{rule} set aside {aside} of n={len(rows)} rows, more than f={f}")
    if many == 0 and f is None:
        raise ValueError(f"{rule} needs a row, all n={len(rows)} were set aside")
    if many < minimum(left):
        note = f" ({aside} set aside)" if aside else ""
        raise ValueError(f"{rule} needs {need}, got n={many}, f={left}{note}")
    return Opened(
        columns if kept.all() else columns.only(np.flatnonzero(kept).tolist()), left, kept, aside
    )


def unscreened(rows: Rows) -> tuple[AnyColumns, NDArray[np.bool_], torch.dtype]:
    """The finite rows however large they are, which they are among all, and their dtype. Raises ValueError for none."""
    if isinstance(rows, Mixture):
        return rows._columns, np.ones(len(rows), np.bool_), rows._columns.dtype
    columns = columns_of(rows)
    finite = np.ones(len(rows), np.bool_)
    if marked(columns).any():
        low, high = columns.extremes()
        finite = np.isfinite(low) & np.isfinite(high)
    if not finite.any():
        raise ValueError(f"mean needs a finite row, all n={len(rows)} were set aside")
    return (
        columns if finite.all() else columns.only(np.flatnonzero(finite).tolist()),
        finite,
        rows.dtype,
    )


def check_f(rule: str, f: int) -> None:
    """Raises ValueError where f is negative, or no whole number."""
    check_whole(rule, "f", f)
    if f < 0:
        raise ValueError(f"{rule} needs f >= 0, got f={f}")


def check_whole(rule: str, name: str, value: int) -> None:
    """Raises ValueError where value is no whole number."""
    if not isinstance(value, int):
        raise ValueError(f"{rule} needs a whole number as {name}, got {value!r}")


def columns_of(rows: Tensor) -> AnyColumns:
    """The rows where they lie."""
    table = rows.detach()
    return Columns(table.numpy()) if table.device.type == "cpu" else DeviceColumns(table)
