"""A table of rows in host memory, read in place, block by block of columns."""

import numpy as np
from numpy.typing import NDArray

from defenses.kernels.protocol import Floats, Numbers

# A block and its working copy fit into the cache of one core.
BLOCK_BYTES = 3 * 2**20
# Widths are multiples of this, so that vector instructions meet no remainder but the last.
COLUMN_STEP = 64
# float32 adds up this many products before float64 takes over: norms are right to 1e-8.
MAX_COLUMNS_PER_BLOCK = 2**15


class RowTable:
    """Rows as they lie, or a selection of them, with caches that all views of them share.

    Args:
        rows: (n, d), float32 or float64; never copied, never written into.
        selection: indices of the selected rows, in their order; None selects all.
    """

    def __init__(self, rows: Floats, selection: NDArray[np.intp] | None = None) -> None:
        self.rows = rows
        self.selection = selection
        self.n = len(rows) if selection is None else len(selection)
        self.width = _block_width(self.n, rows.itemsize)
        self.gram: Numbers | None = None
        self.norms: Numbers | None = None
        self.distances: Numbers | None = None

    def block(self, start: int) -> Floats:
        """Returns the columns from `start` on, (n, at most width).

        The block is a view of the rows, or a copy where rows are selected.
        """
        columns = slice(start, start + self.width)
        if self.selection is None:
            return self.rows[:, columns]
        selected: Floats = self.rows[self.selection, columns]
        return selected

    def row(self, index: int) -> Floats:
        """Returns a view of one selected row, (d,)."""
        place = index if self.selection is None else self.selection[index]
        row: Floats = self.rows[place]
        return row

    def products(self, origin: int | None = None) -> Numbers:
        """Returns the (n, n) scalar products of rows, or of their differences to one row.

        Every product and sum is in float64.
        """
        total = np.zeros((self.n, self.n))
        d = self.rows.shape[1]
        buffer = np.empty((self.n, min(self.width, d)))
        for start in range(0, d, self.width):
            block = self.block(start)
            wide = buffer[:, : block.shape[1]]
            np.copyto(wide, block)
            if origin is not None:
                wide -= wide[origin]
            total += wide @ wide.T
        return total

    def pick(self, indices: NDArray[np.intp]) -> "RowTable":
        """Returns a selection of these rows, with the scalar products where they are known."""
        selection = indices if self.selection is None else self.selection[indices]
        picked = RowTable(self.rows, selection)
        if self.gram is not None:
            picked.gram = self.gram[np.ix_(indices, indices)]
        return picked


def _block_width(n: int, itemsize: int) -> int:
    """Returns the number of columns of a block: as many as the cache holds, within limits."""
    bytes_per_column = 2 * max(n, 1) * itemsize
    steps = BLOCK_BYTES // bytes_per_column // COLUMN_STEP
    return min(MAX_COLUMNS_PER_BLOCK, max(COLUMN_STEP, steps * COLUMN_STEP))
