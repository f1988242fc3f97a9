"""Order statistics of every column: the median, and means of middle or nearest values."""

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defenses.kernels.networks import middle, pruned
from defenses.kernels.protocol import Floats

Mask = NDArray[np.bool_]

# Above this many rows, sorting each column is faster than a network of vector operations.
MAX_NETWORK_ROWS = 40


class OrderStatistic(NamedTuple):
    """The sorted values that a result depends on, and the function that computes it.

    `fates` says for each sorted value who reads it, as `pruned` takes it. `finish` gets the sorted
    values of a block, smallest first, and writes the result of that block into its second argument.
    """

    fates: tuple[Hashable, ...]
    finish: Callable[[list[Floats], Floats], None]


def median(n: int) -> OrderStatistic:
    """Returns the median of n values, midway between the two middle ones where n is even."""

    def halfway(wires: list[Floats], out: Floats) -> None:
        np.add(wires[(n - 1) // 2], wires[n // 2], out=out)
        out *= 0.5

    size = 2 - n % 2
    return OrderStatistic(middle(n, size, together=False), halfway)


def middle_mean(n: int, size: int) -> OrderStatistic:
    """Returns the mean of the `size` middle values of n, never outside their range."""
    cut = (n - size) // 2

    def average(wires: list[Floats], out: Floats) -> None:
        inner = wires[cut : cut + size]
        total = inner[0].astype(np.float64)
        for wire in inner[1:]:
            total += wire
        total /= size
        # Rounded to float32, the mean falls back into the range by itself; float64 must be clipped.
        if out.dtype == np.float64:
            np.clip(
                total,
                np.minimum.reduce(inner),
                np.maximum.reduce(inner),
                out=total,
            )
        out[:] = total

    return OrderStatistic(middle(n, size, together=True), average)


def nearest_mean(n: int, size: int) -> OrderStatistic:
    """Returns the mean of the `size` values of n nearest to their median.

    Of two values equally far from the median, the smaller counts as nearer.
    """
    spare = n - size

    def average(wires: list[Floats], out: Floats) -> None:
        center = (wires[(n - 1) // 2] + wires[n // 2]) * 0.5
        # The nearest values lie side by side: a window that starts at the smallest value, and moves
        # up by one while the value that enters is nearer to the median than the one that leaves.
        moves = [wires[i + size] - center < center - wires[i] for i in range(spare)]
        total = np.zeros(len(center))
        for i, wire in enumerate(wires):
            np.add(total, wire, out=total, where=_in_window(moves, i, size))
        total /= size
        # As in `middle_mean`: only float64 needs the clip.
        if out.dtype == np.float64:
            low, high = _window_ends(wires, moves, size)
            np.clip(total, low, high, out=total)
        out[:] = total

    return OrderStatistic(tuple(range(n)), average)


def _in_window(moves: list[Mask], i: int, size: int) -> Mask | bool:
    """Returns, for each column, whether the window over the sorted values holds value i."""
    inside: Mask | bool = True
    if i < len(moves):
        inside = ~moves[i]
    if i >= size:
        inside = moves[i - size] & inside
    return inside


def _window_ends(
    wires: list[Floats],
    moves: list[Mask],
    size: int,
) -> tuple[Floats, Floats]:
    """Returns, for each column, the smallest and the largest value in the window."""
    low = wires[0]
    high = wires[size - 1]
    for i, move in enumerate(moves):
        low = np.where(move, wires[i + 1], low)
        high = np.where(move, wires[i + size], high)
    return low, high


def fill(
    out: Floats,
    statistic: OrderStatistic,
    blocks: Iterable[tuple[slice, Floats]],
    *,
    width: int,
) -> None:
    """Writes the statistic of every column into `out`, (d,).

    Args:
        out: (d,), in the dtype of the blocks.
        statistic: the statistic of n values.
        blocks: the columns of each block, and its values (n, at most width).
        width: columns of the widest block.
    """
    n = len(statistic.fates)
    if n > MAX_NETWORK_ROWS:
        for columns, block in blocks:
            values = np.ascontiguousarray(block.T)
            values.sort(axis=1)
            statistic.finish(list(values.T), out[columns])
        return
    network = _Network(statistic.fates, width, out.dtype)
    for columns, block in blocks:
        statistic.finish(network.run(block), out[columns])


class _Network:
    """Runs a pruned sorting network on blocks; reads inputs in place, writes n + 1 buffers."""

    def __init__(
        self,
        fates: tuple[Hashable, ...],
        width: int,
        dtype: np.dtype[np.floating],
    ) -> None:
        self._steps = pruned(fates)
        self._buffers = [np.empty(width, dtype) for _ in range(len(fates) + 1)]

    def run(self, block: Floats) -> list[Floats]:
        """Returns the wires after the last comparator; a wire that nobody reads holds anything."""
        wires: list[Floats] = list(block)
        free = [buffer[: block.shape[1]] for buffer in self._buffers]
        # The caller's rows must not be written into, only buffers of ours.
        owned = [False] * len(wires)
        for low, high, keep_low, keep_high in self._steps:
            smaller = wires[low]
            larger = wires[high]
            spare = [wires[wire] for wire in (low, high) if owned[wire]]
            if keep_low:
                # Where the maximum is computed too, both inputs are still to be read.
                buffer = (free if keep_high else spare or free).pop()
                wires[low] = np.minimum(smaller, larger, out=buffer)
            if keep_high:
                buffer = (spare or free).pop()
                wires[high] = np.maximum(smaller, larger, out=buffer)
            owned[low] = True
            owned[high] = True
            free += spare
        return wires
