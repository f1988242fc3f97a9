"""Arrays that grow by blocks of rows and are never copied whole."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class GrowingArray:
    """Rows of one type and width, gathered block by block.

    A list of blocks would need twice the memory when the blocks are put together.

    Args:
        dtype: of the values.
        width: values of a row; None for rows that are single values.
    """

    def __init__(self, dtype: type[np.generic], width: int | None = None) -> None:
        self._tail = () if width is None else (width,)
        self._array: NDArray[np.generic] = np.empty((0, *self._tail), dtype=dtype)
        self._rows = 0

    def extend(self, rows: NDArray[np.generic]) -> None:
        """Appends rows."""
        end = self._rows + len(rows)
        if end > len(self._array):
            # An eighth more is little memory too much, and few calls: the C library moves a large
            # array without a copy.
            self._resize(end + end // 8)
        self._array[self._rows : end] = rows
        self._rows = end

    def tensor(self) -> Tensor:
        """Returns all rows; the array takes no more rows after that."""
        self._resize(self._rows)
        return torch.from_numpy(self._array)

    def _resize(self, rows: int) -> None:
        # Nobody else refers to the array yet.
        self._array.resize((rows, *self._tail), refcheck=False)
