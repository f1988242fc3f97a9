"""Rows on an accelerator, by plain torch: the answers of `HostRows`, up to rounding."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from defenses.kernels.lengths import is_within
from defenses.kernels.protocol import Numbers


class DeviceRows:
    """Rows (n, d) on any device; weighted sums of rows are written out.

    Args:
        rows: (n, d), float32 or float64.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.mix: Numbers | None = None
        self.n, self.d = rows.shape
        self.dtype = rows.dtype

    def mixed(self, weights: Numbers) -> "DeviceRows":
        """Returns sums of these rows by weights (m, n), written out."""
        return DeviceRows(torch.from_numpy(weights).to(self.rows) @ self.rows)

    def unmixed(self) -> "DeviceRows":
        """Returns these rows: sums are written out, so nothing lies behind them."""
        return self

    def only(self, indices: Sequence[int]) -> "DeviceRows":
        """Returns the rows with these indices, in this order."""
        return DeviceRows(self.rows[list(indices)])

    def written(self) -> Tensor:
        """Returns a copy of all rows, (n, d)."""
        return self.rows.clone()

    def extremes(self) -> tuple[Numbers, Numbers]:
        """Returns each row's smallest and largest coordinate, NaN where a row holds NaN."""
        # torch refuses the minimum of nothing, numpy's blocks give the neutral elements.
        if self.d == 0:
            return np.full(self.n, np.inf), np.full(self.n, -np.inf)
        low = self.rows.amin(dim=1)
        high = self.rows.amax(dim=1)
        return _numbers(low.double()), _numbers(high.double())

    def within(self, limit: float) -> bool:
        """Whether every row is surely finite and no longer than the limit."""
        return is_within(self.rows, limit)

    def gram(self) -> Numbers:
        """Returns the (n, n) scalar products of rows, computed in float64."""
        wide = self.rows.double()
        return _numbers(wide @ wide.T)

    def gram_around(self, origin: int) -> Numbers:
        """Returns the (n, n) scalar products of differences to one row."""
        wide = self.rows.double() - self.rows[origin].double()
        return _numbers(wide @ wide.T)

    def apart(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Returns the squared distance of each pair, from differences in float64."""
        return [self._squared_distance(i, j) for i, j in pairs]

    def _squared_distance(self, i: int, j: int) -> float:
        difference = self.rows[i].double() - self.rows[j].double()
        return float(difference.square().sum())

    def distances_once(self, measure: Callable[[], Numbers]) -> Numbers:
        """Returns the distances (n, n) that `measure` computes; nothing is cached."""
        return measure()

    def distances_to(self, center: Tensor) -> Numbers:
        """Returns the (n,) squared distances to a point (d,)."""
        differences = self.rows.double() - center.double()
        return _numbers(differences.square().sum(dim=1))

    def squared_norms(self) -> Numbers:
        """Returns the (n,) squared norms."""
        return _numbers(self.rows.double().square().sum(dim=1))

    def combine(self, weights: Numbers) -> Tensor:
        """Returns the (d,) sum of weights (n,) x rows; a single weight of one copies its row."""
        (nonzero,) = np.nonzero(weights)
        if len(nonzero) == 1 and weights[nonzero[0]] == 1.0:
            return self.rows[nonzero[0]].clone()
        return torch.from_numpy(weights).to(self.rows) @ self.rows

    def combine_widely(self, weights: Numbers) -> Tensor:
        """Returns the sum of weights (n,) x rows in float64."""
        return torch.from_numpy(weights).to(self.rows.device) @ self.rows.double()

    def median(self) -> Tensor:
        """Returns the (d,) medians, midway between the two middle values where n is even."""
        ordered = self.rows.sort(dim=0).values
        return (ordered[(self.n - 1) // 2] + ordered[self.n // 2]) / 2

    def middle_mean(self, size: int) -> Tensor:
        """Returns the (d,) means of the `size` middle values, never outside their range."""
        cut = (self.n - size) // 2
        inner = self.rows.sort(dim=0).values[cut : cut + size]
        return inner.mean(dim=0).clamp(inner[0], inner[-1])

    def nearest_mean(self, size: int) -> Tensor:
        """Returns the (d,) means of the `size` values nearest to the median."""
        ordered = self.rows.sort(dim=0).values
        center = self.median()
        spare = self.n - size
        # As in `order.nearest_mean`: the window moves up while a nearer value enters it.
        moves = ordered[size:] - center < center - ordered[:spare]
        first = moves.sum(dim=0)  # (d,)
        offsets = torch.arange(size, device=self.rows.device)
        inner = ordered.gather(0, first + offsets[:, None])  # (size, d)
        means = inner.double().mean(dim=0).to(self.dtype)
        return means.clamp(inner[0], inner[-1])


def _numbers(values: Tensor) -> Numbers:
    return values.cpu().numpy()
