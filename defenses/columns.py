"""What rules compute from rows on a CPU: some columns at a time, so that a block stays in the cache.

Rows are read in place. A block has about 3 MB; beside the result nothing grows with the number of columns, but for rows
that were set aside, whose companions are copied.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defenses.networks import middle, pruned

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]

_BLOCK_BYTES = 3 * 2**20
_WIDEST = 2**15  # columns whose float32 products are added up before float64 takes over: norms right to 1e-8
_MOST_WIRES = 40  # above, sorting along the rows is faster than a network of them


class Columns:
    """Rows (n, d), or weighted sums of rows that are never written out.

    Args:
        rows: (n, d), float32 or float64.
    """

    def __init__(self, rows: Floats) -> None:
        self.rows = rows
        self.mix: Numbers | None = None
        self.n, self.d = rows.shape
        self.width = min(_WIDEST, max(64, _BLOCK_BYTES // (2 * self.n * rows.itemsize) // 64 * 64))
        self.dtype = torch.from_numpy(rows[:0]).dtype
        self._gram: Numbers | None = None
        self._norms: Numbers | None = None

    def mixed(self, weights: Numbers) -> "Columns":
        """Sums of these rows by weights (m, n); what is known of the rows is shared."""
        sums = copy(self)
        sums.mix = weights if self.mix is None else weights @ self.mix
        sums.n = len(weights)
        return sums

    def unmixed(self) -> "Columns":
        """The rows that the sums are of."""
        rows = copy(self)
        rows.mix, rows.n = None, len(self.rows)
        return rows

    def only(self, chosen: Sequence[int]) -> "Columns":
        """Some of the rows, in this order; copied, unless they are sums."""
        return Columns(self.rows[list(chosen)]) if self.mix is None else self.mixed(np.eye(self.n)[list(chosen)])

    def written(self) -> Tensor:
        """All rows (n, d), written out."""
        out = np.empty((self.n, self.d), self.rows.dtype)
        for at, block in self.blocks():
            out[:, at] = block
        return torch.from_numpy(out)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """The columns of a block and their values (n, at most width), which nobody may write into."""
        mix = None if self.mix is None else self.mix.astype(self.rows.dtype)
        room = np.empty((self.n, min(self.width, self.d)), self.rows.dtype) if mix is not None else None
        for start in range(0, self.d, self.width):
            at = slice(start, start + self.width)
            block = self.rows[:, at]
            if mix is None or room is None:
                yield at, block
            else:
                yield at, np.matmul(mix, block, out=room[:, : block.shape[1]])

    def extremes(self) -> tuple[Floats, Floats]:
        """The smallest and the largest coordinate of each row, NaN where one is."""
        low, high = np.full(self.n, np.inf, self.rows.dtype), np.full(self.n, -np.inf, self.rows.dtype)
        for _, block in self.blocks():
            np.minimum(low, block.min(axis=1), out=low)
            np.maximum(high, block.max(axis=1), out=high)
        return low, high

    def gram(self) -> Numbers:
        """(n, n) scalar products of rows, every product and sum in float64; computed once."""
        if self._gram is None:
            self._gram = self._products(None)
        return self._gram if self.mix is None else self.mix @ self._gram @ self.mix.T

    def gram_around(self, origin: int) -> Numbers:
        """(n, n) scalar products of the differences to one row, for rows that are no sums."""
        return self._products(origin)

    def _products(self, origin: int | None) -> Numbers:
        rows, total = self.rows, np.zeros((len(self.rows), len(self.rows)))
        room = np.empty((len(rows), min(self.width, self.d)))
        for start in range(0, self.d, self.width):
            block = rows[:, start : start + self.width]
            wide = room[:, : block.shape[1]]
            np.copyto(wide, block)
            if origin is not None:
                wide -= wide[origin]
            total += wide @ wide.T
        return total

    def apart(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Squared distance of each pair, from differences in float64."""
        total, room = np.zeros(len(pairs)), np.empty(min(self.width, self.d))
        for _, block in self.blocks():
            difference = room[: block.shape[1]]
            for place, (i, j) in enumerate(pairs):
                np.subtract(block[i], block[j], out=difference, dtype=np.float64)
                total[place] += np.dot(difference, difference)
        return total.tolist()

    def distances_to(self, center: Tensor) -> Numbers:
        """(n,) squared distances to a point (d,), block sums in float64."""
        point = center.numpy()
        total, room = np.zeros(self.n), np.empty(min(self.width, self.d), self.rows.dtype)
        for at, block in self.blocks():
            for i, row in enumerate(block):
                apart = np.subtract(row, point[at], out=room[: len(row)])
                total[i] += np.dot(apart, apart)
        return total

    def squared_norms(self) -> Numbers:
        """(n,), block sums in float64; computed once for rows that are no sums."""
        if self.mix is None and self._norms is not None:
            return self._norms
        total = np.zeros(self.n)
        for _, block in self.blocks():
            total += [np.dot(row, row) for row in block]
        if self.mix is None:
            self._norms = total
        return total

    def combine(self, weights: Numbers) -> Tensor:
        """(d,) sum of weights (n,) x rows; a weight of one and zeros give a row bit for bit."""
        over = weights if self.mix is None else weights @ self.mix
        (chosen,) = np.nonzero(over)
        if len(chosen) == 1 and over[chosen[0]] == 1.0:
            return torch.from_numpy(self.rows[chosen[0]].copy())
        return torch.from_numpy(over.astype(self.rows.dtype) @ self.rows)

    def combine_widely(self, weights: Numbers) -> Tensor:
        """`combine` with every product and sum in float64."""
        over, out = (weights if self.mix is None else weights @ self.mix), np.empty(self.d)
        for start in range(0, self.d, self.width):
            block = self.rows[:, start : start + self.width]
            np.matmul(over, block, out=out[start : start + self.width], dtype=np.float64)
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
        n = self.n

        def average(wires: list[Floats], out: Floats) -> None:
            center = (wires[(n - 1) // 2] + wires[n // 2]) * 0.5
            best = np.full_like(center, np.inf)
            for first in range(n - kept + 1):
                window = wires[first : first + kept]
                reach = np.maximum(center - window[0], window[-1] - center)
                closer = reach < best
                np.copyto(best, reach, where=closer)
                mean = np.clip(sum(window[1:], window[0]) / kept, window[0], window[-1])
                np.copyto(out, mean, where=closer)

        return self._ordered(tuple(range(n)), average)

    def _ordered(self, wanted: tuple[Hashable, ...], finish: Callable[[list[Floats], Floats], None]) -> Tensor:
        """(d,) that `finish` writes from the wanted order statistics of each block, smallest first."""
        out = np.empty(self.d, self.rows.dtype)
        if self.n > _MOST_WIRES:
            for at, block in self.blocks():
                columns = np.ascontiguousarray(block.T)
                columns.sort(axis=1)
                finish(list(columns.T), out[at])
        else:
            network = _Network(wanted, min(self.width, self.d), self.rows.dtype)
            for at, block in self.blocks():
                finish(network.run(block), out[at])
        return torch.from_numpy(out)


class _Network:
    """Runs a pruned network on blocks; inputs are read in place, n + 1 buffers are written."""

    def __init__(self, wanted: tuple[Hashable, ...], width: int, dtype: np.dtype[np.floating]) -> None:
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
