"""What rules compute from rows on a CPU: some columns at a time, so that a block stays in the cache.

Rows are read in place. A block has about 3 MB; beside the result nothing grows with the number of columns.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defenses.kernels.networks import middle, pruned

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]

_BLOCK_BYTES = 3 * 2**20
_WIDEST = (
    2**15
)  # columns whose float32 products are added up before float64 takes over: norms right to 1e-8
_FAINT = 1e-20  # below, squares of float32 may have vanished
_MOST_WIRES = 40  # above, sorting along the rows is faster than a network of them


class _Table:
    """Rows as they lie, or some of them; what is known of them is kept for all who read them.

    Args:
        rows: (n, d), float32 or float64.
        picked: which rows, in their order; None for all.
    """

    def __init__(self, rows: Floats, picked: NDArray[np.intp] | None = None) -> None:
        self.rows, self.picked = rows, picked
        self.n = len(rows) if picked is None else len(picked)
        self.width = min(
            _WIDEST, max(64, _BLOCK_BYTES // (2 * max(self.n, 1) * rows.itemsize) // 64 * 64)
        )
        self.gram: Numbers | None = None
        self.norms: Numbers | None = None
        self.distances: Numbers | None = None

    def block(self, start: int) -> Floats:
        """The rows from one column on, (n, at most width); in place, or a block's copy where rows are picked."""
        at = slice(start, start + self.width)
        found: Floats = self.rows[:, at] if self.picked is None else self.rows[self.picked, at]
        return found

    def products(self, origin: int | None = None) -> Numbers:
        """(n, n) scalar products, or those of the differences to one row; products and sums in float64."""
        total, d = np.zeros((self.n, self.n)), self.rows.shape[1]
        room = np.empty((self.n, min(self.width, d)))
        for start in range(0, d, self.width):
            block = self.block(start)
            wide = room[:, : block.shape[1]]
            np.copyto(wide, block)
            if origin is not None:
                wide -= wide[origin]
            total += wide @ wide.T
        return total

    def pick(self, chosen: NDArray[np.intp]) -> "_Table":
        """Some of these rows, with what is known of them."""
        some = _Table(self.rows, chosen if self.picked is None else self.picked[chosen])
        some.gram = None if self.gram is None else self.gram[np.ix_(chosen, chosen)]
        return some


class Columns:
    """Rows (n, d), or weighted sums of rows that are never written out.

    Args:
        rows: (n, d), float32 or float64; read in place, so that they must not change meanwhile.
    """

    def __init__(self, rows: Floats) -> None:
        self.table = _Table(rows)
        self.mix: Numbers | None = None
        self.n, self.d = rows.shape
        self.dtype = torch.from_numpy(rows[:0]).dtype

    def mixed(self, weights: Numbers) -> "Columns":
        """Sums of these rows by weights (m, n); what is known of the rows is shared."""
        return self._with(self.table, weights if self.mix is None else weights @ self.mix)

    def unmixed(self) -> "Columns":
        """The rows that the sums are of."""
        return self._with(self.table, None)

    def only(self, chosen: Sequence[int]) -> "Columns":
        """Some of the rows, in this order."""
        picked = np.asarray(chosen, dtype=np.intp)
        return (
            self._with(self.table.pick(picked), None)
            if self.mix is None
            else self._with(self.table, self.mix[picked])
        )

    def _with(self, table: _Table, mix: Numbers | None) -> "Columns":
        other = copy(self)
        other.table, other.mix, other.n = table, mix, table.n if mix is None else len(mix)
        return other

    def written(self) -> Tensor:
        """All rows (n, d), written out."""
        out = np.empty((self.n, self.d), self.table.rows.dtype)
        for at, block in self.blocks():
            out[:, at] = block
        return torch.from_numpy(out)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """The columns of a block and their values (n, at most width), which nobody may write into."""
        table, dtype = self.table, self.table.rows.dtype
        mix = None if self.mix is None else self.mix.astype(dtype)
        room = np.empty((self.n, min(table.width, self.d)), dtype) if mix is not None else None
        for start in range(0, self.d, table.width):
            block = table.block(start)
            if mix is not None and room is not None:
                block = np.matmul(mix, block, out=room[:, : block.shape[1]])
            yield slice(start, start + table.width), block

    def extremes(self) -> tuple[Floats, Floats]:
        """The smallest and the largest coordinate of each row, NaN where one is."""
        dtype = self.table.rows.dtype
        low, high = np.full(self.n, np.inf, dtype), np.full(self.n, -np.inf, dtype)
        for _, block in self.blocks():
            np.minimum(low, block.min(axis=1), out=low)
            np.maximum(high, block.max(axis=1), out=high)
        return low, high

    def gram(self) -> Numbers:
        """(n, n) scalar products of rows, every product and sum in float64; computed once."""
        if self.table.gram is None:
            self.table.gram = self.table.products()
        return self.table.gram if self.mix is None else self.mix @ self.table.gram @ self.mix.T

    def gram_around(self, origin: int) -> Numbers:
        """(n, n) scalar products of the differences to one of the rows; of means of rows likewise, to that row."""
        around = self.table.products(origin)
        return around if self.mix is None else self.mix @ around @ self.mix.T

    def apart(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Squared distance of each pair, from differences in float64."""
        total, room = np.zeros(len(pairs)), np.empty(min(self.table.width, self.d))
        for _, block in self.blocks():
            difference = room[: block.shape[1]]
            for place, (i, j) in enumerate(pairs):
                np.subtract(block[i], block[j], out=difference, dtype=np.float64)
                total[place] += np.dot(difference, difference)
        return total.tolist()

    def distances_to(self, center: Tensor) -> Numbers:
        """(n,) squared distances to a point (d,), block sums in float64."""
        return self._lengths(center.numpy())

    def squared_norms(self) -> Numbers:
        """(n,), block sums in float64; computed once for rows that are no sums."""
        if self.mix is not None:
            return self._lengths(None)
        if self.table.norms is None:
            self.table.norms = self._lengths(None)
        return self.table.norms

    def _lengths(self, point: Floats | None) -> Numbers:
        """(n,) squared lengths of differences; those whose squares float32 cannot hold once more in float64."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = self._squares(point, self.table.rows.dtype, range(self.n))
            for_sure = (total > _FAINT) & np.isfinite(total)
            again = np.flatnonzero(~for_sure).tolist()
            if again and self.table.rows.dtype == np.float32:
                total[again] = self._squares(point, np.dtype(np.float64), again)
        return total

    def _squares(
        self, point: Floats | None, dtype: np.dtype[Any], chosen: Sequence[int]
    ) -> Numbers:
        total, room = np.zeros(len(chosen)), np.empty(min(self.table.width, self.d), dtype)
        for at, block in self.blocks():
            for place, i in enumerate(chosen):
                row = block[i]
                if point is not None:
                    row = np.subtract(row, point[at], out=room[: len(row)])
                elif dtype != row.dtype:
                    row = row.astype(dtype)
                total[place] += np.dot(row, row)
        return total

    def combine(self, weights: Numbers) -> Tensor:
        """(d,) sum of weights (n,) x rows; a weight of one and zeros give a row bit for bit."""
        over, table = (weights if self.mix is None else weights @ self.mix), self.table
        (chosen,) = np.nonzero(over)
        if len(chosen) == 1 and over[chosen[0]] == 1.0:
            place = chosen[0] if table.picked is None else table.picked[chosen[0]]
            return torch.from_numpy(table.rows[place].copy())
        narrow = over.astype(table.rows.dtype)
        if table.picked is None:
            return torch.from_numpy(narrow @ table.rows)
        out = np.empty(self.d, table.rows.dtype)
        for start in range(0, self.d, table.width):
            np.matmul(narrow, table.block(start), out=out[start : start + table.width])
        return torch.from_numpy(out)

    def combine_widely(self, weights: Numbers) -> Tensor:
        """`combine` with every product and sum in float64."""
        over, out = (weights if self.mix is None else weights @ self.mix), np.empty(self.d)
        for start in range(0, self.d, self.table.width):
            block = self.table.block(start)
            np.matmul(over, block, out=out[start : start + self.table.width], dtype=np.float64)
        return torch.from_numpy(out)

    def median(self) -> Tensor:
        """(d,), midway between the two middle values where n is even."""
        n = self.n

        def halfway(wires: list[Floats], out: Floats) -> None:
            np.add(wires[(n - 1) // 2], wires[n // 2], out=out)
            out *= 0.5

        return self._ordered(middle(n, 2 - n % 2, together=False), halfway)

    def middle_mean(self, kept: int) -> Tensor:
        """(d,) mean of the `kept` middle values, within their range whatever the rounding."""
        n, cut = self.n, (self.n - kept) // 2

        def average(wires: list[Floats], out: Floats) -> None:
            inner = wires[cut : cut + kept]
            total = inner[0].astype(np.float64)
            for wire in inner[1:]:
                total += wire
            total /= kept
            if out.dtype == np.float64:  # float32 rounds back into the range by itself
                np.clip(total, np.minimum.reduce(inner), np.maximum.reduce(inner), out=total)
            out[:] = total

        return self._ordered(middle(n, kept, together=True), average)

    def nearest_mean(self, kept: int) -> Tensor:
        """(d,) mean of the `kept` values nearest to the median; of two equally far, the smaller."""
        n, spare = self.n, self.n - kept

        def average(wires: list[Floats], out: Floats) -> None:
            """The window of `kept` values starts at the smallest, and moves on while it comes nearer by that."""
            center = (wires[(n - 1) // 2] + wires[n // 2]) * 0.5
            moved = [wires[i + kept] - center < center - wires[i] for i in range(spare)]
            total = np.zeros(len(center))
            for i, wire in enumerate(wires):
                inside = ~moved[i] if i < spare else True
                inside = moved[i - kept] & inside if i >= kept else inside
                np.add(total, wire, out=total, where=inside)
            total /= kept
            if out.dtype == np.float64:  # float32 rounds back into the range by itself
                low, high = wires[0], wires[kept - 1]
                for i, on in enumerate(moved):
                    low, high = np.where(on, wires[i + 1], low), np.where(on, wires[i + kept], high)
                np.clip(total, low, high, out=total)
            out[:] = total

        return self._ordered(tuple(range(n)), average)

    def _ordered(
        self, wanted: tuple[Hashable, ...], finish: Callable[[list[Floats], Floats], None]
    ) -> Tensor:
        """(d,) that `finish` writes from the wanted order statistics of each block, smallest first."""
        out = np.empty(self.d, self.table.rows.dtype)
        if self.n > _MOST_WIRES:
            for at, block in self.blocks():
                columns = np.ascontiguousarray(block.T)
                columns.sort(axis=1)
                finish(list(columns.T), out[at])
        else:
            network = _Network(wanted, min(self.table.width, self.d), out.dtype)
            for at, block in self.blocks():
                finish(network.run(block), out[at])
        return torch.from_numpy(out)


class _Network:
    """Runs a pruned network on blocks; inputs are read in place, n + 1 buffers are written."""

    def __init__(
        self, wanted: tuple[Hashable, ...], width: int, dtype: np.dtype[np.floating]
    ) -> None:
        self._steps = pruned(wanted)
        self._buffers = [np.empty(width, dtype) for _ in range(len(wanted) + 1)]

    def run(self, block: Floats) -> list[Floats]:
        """The wires after the last comparator; those that nobody wants hold anything."""
        wires: list[Floats] = list(block)
        free = [buffer[: block.shape[1]] for buffer in self._buffers]
        owned = [False] * len(wires)
        for low, high, keep_low, keep_high in self._steps:
            a, b = wires[low], wires[high]
            spare = [wire for wire, own in ((a, owned[low]), (b, owned[high])) if own]
            if keep_low and keep_high:
                wires[low] = np.minimum(a, b, out=free.pop())
                wires[high] = np.maximum(a, b, out=spare.pop() if spare else free.pop())
            elif keep_low:
                wires[low] = np.minimum(a, b, out=spare.pop() if spare else free.pop())
            else:
                wires[high] = np.maximum(a, b, out=spare.pop() if spare else free.pop())
            owned[low] = owned[high] = True
            free += spare
        return wires
