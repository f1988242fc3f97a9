"""Sorting networks, cut down to the order statistics that somebody reads.

A comparator (i, j) puts the smaller of two wires on i and the larger on j. Which wires it compares
does not depend on their values. So a network sorts whole columns at once: each comparator is one
minimum and one maximum of two vectors.

Source: Batcher's odd-even merge exchange, Knuth, The Art of Computer Programming 3, algorithm
5.2.2M.
"""

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import NamedTuple


class Comparator(NamedTuple):
    """Two wires, low < high, and which of the two results anybody reads."""

    low: int
    high: int
    keep_low: bool
    keep_high: bool


def comparators(n: int) -> Iterator[tuple[int, int]]:
    """Yields the exchanges that sort n wires, in their order."""
    if n < 2:
        return
    # Knuth's M1: p runs from the largest power of two below n down to 1.
    top = 1 << ((n - 1).bit_length() - 1)
    p = top
    while p > 0:
        # M2: a pass compares wires at distance `step` whose index has bit p equal to r.
        q = top
        r = 0
        step = p
        while True:
            # M3 and M4: all exchanges of one pass.
            yield from ((i, i + step) for i in range(n - step) if i & p == r)
            if q == p:
                break
            # M5: the next pass of the same merge.
            step = q - p
            q //= 2
            r = p
        # M6: the next merge, of runs half as far apart.
        p //= 2


@lru_cache(maxsize=256)
def pruned(fates: tuple[Hashable, ...]) -> tuple[Comparator, ...]:
    """Returns the comparators that n wires need for some of their order statistics.

    Args:
        fates: for each wire, smallest first, a label of its reader: None if nobody reads it. Wires
            with the same label are read together, by a reader that does not care which is which,
            such as a sum.

    Returns:
        The comparators in their order. A comparator between wires of one fate is left out.
    """
    # From the last comparator back to the first, `labels` holds who reads each wire afterwards.
    labels: list[Hashable] = list(fates)
    steps: list[Comparator] = []
    for low, high in reversed(list(comparators(len(fates)))):
        if labels[low] == labels[high]:
            continue
        step = Comparator(
            low,
            high,
            keep_low=labels[low] is not None,
            keep_high=labels[high] is not None,
        )
        steps.append(step)
        # The comparator itself is now the reader of both wires; it does not care which is which.
        labels[low] = ("read by", len(steps))
        labels[high] = ("read by", len(steps))
    return tuple(reversed(steps))


def middle(n: int, size: int, *, together: bool) -> tuple[Hashable, ...]:
    """Returns the fates for `pruned` that read the `size` middle wires of n.

    Args:
        n: number of wires.
        size: number of middle wires to read.
        together: one reader takes all of them, as a sum does; else each has a reader of its own.
    """
    cut = (n - size) // 2
    fates: list[Hashable] = [None] * n
    for wire in range(cut, cut + size):
        fates[wire] = "sum" if together else wire
    return tuple(fates)
