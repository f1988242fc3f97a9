"""Sorting networks, cut down to the order statistics that are wanted.

A comparator (i, j) puts the smaller of two wires on i and the larger on j. A network of them sorts whatever comes, so
it can run on whole columns at once, one minimum and one maximum of vectors a comparator.

Source: Batcher's odd-even merge exchange, Knuth, The Art of Computer Programming 3, algorithm 5.2.2M.
"""

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import NamedTuple


class Comparator(NamedTuple):
    """The wires low < high, and which of the two results anybody reads."""

    low: int
    high: int
    keep_low: bool
    keep_high: bool


def comparators(n: int) -> Iterator[tuple[int, int]]:
    """The exchanges that sort n wires, in their order."""
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top
    while p > 0 and n > 1:
        q, r, step = top, 0, p
        while True:
            yield from ((i, i + step) for i in range(n - step) if i & p == r)
            if q == p:
                break
            step, q, r = q - p, q // 2, p
        p //= 2


@lru_cache(maxsize=256)
def pruned(wanted: tuple[Hashable, ...]) -> tuple[Comparator, ...]:
    """The comparators that n wires need for some of their order statistics.

    Args:
        wanted: for each wire, smallest first, what becomes of it: None if nobody reads it; wires with the same label
            are read together, by something that does not care which is which, such as a sum.

    Returns:
        The comparators in their order. A comparator between wires of one fate is left out.
    """
    fates: list[Hashable] = list(wanted)
    kept: list[Comparator] = []
    for low, high in reversed(list(comparators(len(wanted)))):
        if fates[low] == fates[high]:
            continue
        kept.append(Comparator(low, high, fates[low] is not None, fates[high] is not None))
        fates[low] = fates[high] = ("read by", len(kept))  # which does not care which is which
    return tuple(reversed(kept))


def middle(n: int, kept: int, *, together: bool) -> tuple[Hashable, ...]:
    """What `pruned` wants for the `kept` middle wires of n, read together or one by one."""
    cut = (n - kept) // 2
    return tuple(
        None if not cut <= wire < cut + kept else ("sum" if together else wire) for wire in range(n)
    )
