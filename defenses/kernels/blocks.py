"""Rows in host memory: rules read some columns at a time, so that a block stays in the cache.

Rows are read in place. A block has about 3 MB. Apart from the result, no buffer grows with d.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defenses.kernels import order
from defenses.kernels.lengths import is_within
from defenses.kernels.protocol import Floats, Numbers
from defenses.kernels.table import RowTable

# Below this sum of squares, some squares may have vanished in float32.
MIN_FLOAT32_SQUARED_NORM = 1e-20


class HostRows:
    """Rows (n, d) in host memory, or weighted sums of such rows that are never written out.

    Args:
        rows: (n, d), float32 or float64; read in place, so they must not change meanwhile.
    """

    def __init__(self, rows: Floats) -> None:
        self.table = RowTable(rows)
        self.mix: Numbers | None = None
        self.n, self.d = rows.shape
        self.dtype = torch.from_numpy(rows[:0]).dtype

    def mixed(self, weights: Numbers) -> "HostRows":
        """Returns sums of these rows by weights (m, n); the table's caches are shared."""
        return self._view(self.table, self._table_weights(weights))

    def unmixed(self) -> "HostRows":
        """Returns the stored rows behind the sums."""
        return self._view(self.table, None)

    def only(self, indices: Sequence[int]) -> "HostRows":
        """Returns the rows with these indices, in this order."""
        places = np.asarray(indices, dtype=np.intp)
        if self.mix is None:
            return self._view(self.table.pick(places), None)
        return self._view(self.table, self.mix[places])

    def _view(self, table: RowTable, mix: Numbers | None) -> "HostRows":
        view = copy(self)
        view.table = table
        view.mix = mix
        view.n = table.n if mix is None else len(mix)
        return view

    def _table_weights(self, weights: Numbers) -> Numbers:
        """Returns the weights of the table's rows that give a sum of these rows."""
        return weights if self.mix is None else weights @ self.mix

    def written(self) -> Tensor:
        """Returns a copy of all rows, (n, d)."""
        out = np.empty((self.n, self.d), self.table.rows.dtype)
        for columns, block in self.blocks():
            out[:, columns] = block
        return torch.from_numpy(out)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yields the columns of each block and its values, (n, at most width).

        Nobody may write into a block. A block of sums is valid until the next one is asked for,
        because all of them share one buffer.
        """
        table = self.table
        if self.mix is None:
            for start in range(0, self.d, table.width):
                yield slice(start, start + table.width), table.block(start)
            return
        dtype = table.rows.dtype
        mix = self.mix.astype(dtype)
        buffer = np.empty((self.n, min(table.width, self.d)), dtype)
        for start in range(0, self.d, table.width):
            block = table.block(start)
            sums = np.matmul(mix, block, out=buffer[:, : block.shape[1]])
            yield slice(start, start + table.width), sums

    def extremes(self) -> tuple[Floats, Floats]:
        """Returns each row's smallest and largest coordinate, NaN where a row holds NaN."""
        dtype = self.table.rows.dtype
        low = np.full(self.n, np.inf, dtype)
        high = np.full(self.n, -np.inf, dtype)
        for _, block in self.blocks():
            np.minimum(low, block.min(axis=1), out=low)
            np.maximum(high, block.max(axis=1), out=high)
        return low, high

    def within(self, limit: float) -> bool:
        """Whether every stored row is surely finite and no longer than the limit."""
        return is_within(torch.from_numpy(self.table.rows), limit)

    def gram(self) -> Numbers:
        """Returns the (n, n) scalar products in float64; the table's are computed once."""
        if self.table.gram is None:
            self.table.gram = self.table.products()
        if self.mix is None:
            return self.table.gram
        return self.mix @ self.table.gram @ self.mix.T

    def gram_around(self, origin: int) -> Numbers:
        """Returns the (n, n) scalar products of differences to one stored row."""
        around = self.table.products(origin)
        if self.mix is None:
            return around
        # A mean of differences is the difference of the mean: right because each row of the mix
        # sums to one, which the caller checks.
        return self.mix @ around @ self.mix.T

    def apart(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Returns the squared distance of each pair, from differences in float64."""
        total = np.zeros(len(pairs))
        buffer = np.empty(min(self.table.width, self.d))
        for _, block in self.blocks():
            difference = buffer[: block.shape[1]]
            for place, (i, j) in enumerate(pairs):
                np.subtract(block[i], block[j], out=difference, dtype=np.float64)
                total[place] += np.dot(difference, difference)
        return total.tolist()

    def distances_once(self, measure: Callable[[], Numbers]) -> Numbers:
        """Returns the table's distances (n, n), measured on the first call only."""
        if self.table.distances is None:
            self.table.distances = measure()
        return self.table.distances

    def distances_to(self, center: Tensor) -> Numbers:
        """Returns the (n,) squared distances to a point (d,); float64 adds up the blocks."""
        return self._squared_lengths(center.numpy())

    def squared_norms(self) -> Numbers:
        """Returns the (n,) squared norms; the table's are computed once."""
        if self.mix is not None:
            return self._squared_lengths(None)
        if self.table.norms is None:
            self.table.norms = self._squared_lengths(None)
        return self.table.norms

    def _squared_lengths(self, point: Floats | None) -> Numbers:
        """Returns the (n,) squared lengths of differences to a point, or of the rows."""
        dtype = self.table.rows.dtype
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = self._squares(point, dtype, range(self.n))
            reliable = (total > MIN_FLOAT32_SQUARED_NORM) & np.isfinite(total)
            doubtful = np.flatnonzero(~reliable).tolist()
            # float32 cannot hold these squares: they are computed a second time, in float64.
            if doubtful and dtype == np.float32:
                total[doubtful] = self._squares(point, np.dtype(np.float64), doubtful)
        return total

    def _squares(
        self,
        point: Floats | None,
        dtype: np.dtype[Any],
        indices: Sequence[int],
    ) -> Numbers:
        total = np.zeros(len(indices))
        buffer = np.empty(min(self.table.width, self.d), dtype)
        for columns, block in self.blocks():
            for place, i in enumerate(indices):
                row = block[i]
                if point is not None:
                    row = np.subtract(row, point[columns], out=buffer[: len(row)])
                elif dtype != row.dtype:
                    row = row.astype(dtype)
                total[place] += np.dot(row, row)
        return total

    def combine(self, weights: Numbers) -> Tensor:
        """Returns the (d,) sum of weights (n,) x rows.

        A single weight of one, all others zero, copies its row bit for bit.
        """
        table = self.table
        shares = self._table_weights(weights)
        (nonzero,) = np.nonzero(shares)
        if len(nonzero) == 1 and shares[nonzero[0]] == 1.0:
            return torch.from_numpy(table.row(nonzero[0]).copy())
        narrow = shares.astype(table.rows.dtype)
        if table.selection is None:
            return torch.from_numpy(narrow @ table.rows)
        # A product with selected rows would copy them all; block by block it copies a block.
        out = np.empty(self.d, table.rows.dtype)
        for start in range(0, self.d, table.width):
            np.matmul(
                narrow,
                table.block(start),
                out=out[start : start + table.width],
            )
        return torch.from_numpy(out)

    def combine_widely(self, weights: Numbers) -> Tensor:
        """Returns the sum of weights (n,) x rows with every product and sum in float64."""
        table = self.table
        shares = self._table_weights(weights)
        out = np.empty(self.d)
        # One buffer: matmul would take new memory for every block that it widens.
        buffer = np.empty((table.n, min(table.width, self.d)))
        for start in range(0, self.d, table.width):
            block = table.block(start)
            wide = buffer[:, : block.shape[1]]
            np.copyto(wide, block)
            np.matmul(shares, wide, out=out[start : start + table.width])
        return torch.from_numpy(out)

    def median(self) -> Tensor:
        """Returns the (d,) medians, midway between the two middle values where n is even."""
        return self._per_column(order.median(self.n))

    def middle_mean(self, size: int) -> Tensor:
        """Returns the (d,) means of the `size` middle values, never outside their range."""
        return self._per_column(order.middle_mean(self.n, size))

    def nearest_mean(self, size: int) -> Tensor:
        """Returns the (d,) means of the `size` values nearest to the median."""
        return self._per_column(order.nearest_mean(self.n, size))

    def _per_column(self, statistic: order.OrderStatistic) -> Tensor:
        out = np.empty(self.d, self.table.rows.dtype)
        width = min(self.table.width, self.d)
        order.fill(out, statistic, self.blocks(), width=width)
        return torch.from_numpy(out)
