"""The interface of rows that every rule computes on, on the host or on a device."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]


class RowStore(Protocol):
    """Rows (n, d), or weighted sums of stored rows, with the arithmetic that rules need.

    `HostRows` reads rows in host memory; `DeviceRows` holds them on an accelerator. Both give the
    same answers, up to rounding.
    """

    n: int
    d: int
    dtype: torch.dtype
    mix: Numbers | None
    """(n, stored rows) weights of the sums; None where the rows themselves are meant."""

    def mixed(self, weights: Numbers) -> "RowStore":
        """Returns sums of these rows by weights (m, n)."""
        ...

    def unmixed(self) -> "RowStore":
        """Returns the stored rows behind the sums."""
        ...

    def only(self, indices: Sequence[int]) -> "RowStore":
        """Returns the rows with these indices, in this order."""
        ...

    def written(self) -> Tensor:
        """Returns a copy of all rows, (n, d)."""
        ...

    def extremes(self) -> tuple[Floats, Floats]:
        """Returns each row's smallest and largest coordinate, NaN where a row holds NaN."""
        ...

    def within(self, limit: float) -> bool:
        """Whether every stored row is surely finite and no longer than the limit.

        It is computed in the rows' own precision, so False says nothing of rows near the limit.
        """
        ...

    def gram(self) -> Numbers:
        """Returns the (n, n) scalar products of rows, computed in float64."""
        ...

    def gram_around(self, origin: int) -> Numbers:
        """Returns the (n, n) scalar products of differences to one stored row.

        For sums, the products are right only where each row of `mix` sums to one.
        """
        ...

    def apart(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Returns the squared distance of each pair, from differences in float64."""
        ...

    def distances_once(self, measure: Callable[[], Numbers]) -> Numbers:
        """Returns the distances (n, n) that `measure` computes, cached where a store can."""
        ...

    def distances_to(self, center: Tensor) -> Numbers:
        """Returns the (n,) squared distances to a point (d,)."""
        ...

    def squared_norms(self) -> Numbers:
        """Returns the (n,) squared norms."""
        ...

    def combine(self, weights: Numbers) -> Tensor:
        """Returns the (d,) sum of weights (n,) x rows; a single weight of one copies its row."""
        ...

    def combine_widely(self, weights: Numbers) -> Tensor:
        """Returns the sum of weights (n,) x rows with every product and sum in float64."""
        ...

    def median(self) -> Tensor:
        """Returns the (d,) medians, midway between the two middle values where n is even."""
        ...

    def middle_mean(self, size: int) -> Tensor:
        """Returns the (d,) means of the `size` middle values, never outside their range."""
        ...

    def nearest_mean(self, size: int) -> Tensor:
        """Returns the (d,) means of the `size` values nearest to the median.

        Of two values equally far from the median, the smaller counts as nearer.
        """
        ...
