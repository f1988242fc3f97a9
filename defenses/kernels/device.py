"""What rules compute from rows on an accelerator, by plain torch; the same answers as `columns`, to rounding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from defenses.kernels.blocks import Numbers


class DeviceColumns:
    """Rows (n, d) on any device, or weighted sums of rows.

    Args:
        rows: (n, d), float32 or float64.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.mix: None = None
        self.n, self.d = rows.shape
        self.dtype = rows.dtype

    def mixed(self, weights: Numbers) -> "DeviceColumns":
        """Sums of these rows by weights (m, n), written out."""
        return DeviceColumns(torch.from_numpy(weights).to(self.rows) @ self.rows)

    def written(self) -> Tensor:
        """All rows (n, d)."""
        return self.rows.clone()

    def only(self, chosen: Sequence[int]) -> "DeviceColumns":
        """Some of the rows, in this order."""
        return DeviceColumns(self.rows[list(chosen)])

    def extremes(self) -> tuple[Numbers, Numbers]:
        """The smallest and the largest coordinate of each row, NaN where one is."""
        if self.d == 0:
            return np.full(self.n, np.inf), np.full(self.n, -np.inf)
        low, high = self.rows.amin(dim=1), self.rows.amax(dim=1)
        return low.double().cpu().numpy(), high.double().cpu().numpy()

    def gram(self) -> Numbers:
        """(n, n) scalar products of rows, in float64."""
        wide = self.rows.double()
        return _numbers(wide @ wide.T)

    def unmixed(self) -> "DeviceColumns":
        """These rows, which are written out."""
        return self

    def gram_around(self, origin: int) -> Numbers:
        """(n, n) scalar products of the differences to one row."""
        wide = self.rows.double() - self.rows[origin].double()
        return _numbers(wide @ wide.T)

    def apart(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Squared distance of each pair, from differences in float64."""
        return [
            float((self.rows[i].double() - self.rows[j].double()).square().sum()) for i, j in pairs
        ]

    def distances_to(self, center: Tensor) -> Numbers:
        """(n,) squared distances to a point (d,)."""
        return _numbers((self.rows.double() - center.double()).square().sum(dim=1))

    def squared_norms(self) -> Numbers:
        """(n,)."""
        return _numbers(self.rows.double().square().sum(dim=1))

    def combine(self, weights: Numbers) -> Tensor:
        """(d,) sum of weights (n,) x rows; a weight of one and zeros give a row bit for bit."""
        (chosen,) = np.nonzero(weights)
        if len(chosen) == 1 and weights[chosen[0]] == 1.0:
            return self.rows[chosen[0]].clone()
        return torch.from_numpy(weights).to(self.rows) @ self.rows

    def combine_widely(self, weights: Numbers) -> Tensor:
        """`combine` in float64."""
        return torch.from_numpy(weights).to(self.rows.device) @ self.rows.double()

    def median(self) -> Tensor:
        """(d,), midway between the two middle values where n is even."""
        ordered = self.rows.sort(dim=0).values
        return (ordered[(self.n - 1) // 2] + ordered[self.n // 2]) / 2

    def middle_mean(self, kept: int) -> Tensor:
        """(d,) mean of the `kept` middle values, within their range whatever the rounding."""
        cut = (self.n - kept) // 2
        inner = self.rows.sort(dim=0).values[cut : cut + kept]
        return inner.mean(dim=0).clamp(inner[0], inner[-1])

    def nearest_mean(self, kept: int) -> Tensor:
        """(d,) mean of the `kept` values nearest to the median; of two equally far, the smaller."""
        ordered, center = self.rows.sort(dim=0).values, self.median()
        spare = self.n - kept
        first = (ordered[kept:] - center < center - ordered[:spare]).sum(
            dim=0
        )  # (d,): moves on while it comes nearer
        places = first + torch.arange(kept, device=self.rows.device)[:, None]  # (kept, d)
        inner = ordered.gather(0, places)
        return inner.double().mean(dim=0).to(self.dtype).clamp(inner[0], inner[-1])


def _numbers(found: Tensor) -> Numbers:
    return found.cpu().numpy()
