"""Sorting networks: they sort, and what was cut off is not needed.

Mutants that died here: minimum and maximum exchanged; a comparator more cut off; labels compared by position only; one
exchange fewer at an end; wires with one fate taken for different ones.
"""

import itertools

import numpy as np
import pytest

from defenses.kernels.networks import comparators, middle, pruned


def run(wires: list[int], steps: list[tuple[int, int]]) -> list[int]:
    for low, high in steps:
        if wires[low] > wires[high]:
            wires[low], wires[high] = wires[high], wires[low]
    return wires


@pytest.mark.parametrize("n", range(13))
def test_every_sequence_of_zeros_and_ones_is_sorted_and_so_everything(n: int) -> None:
    """Knuth, theorem 5.3.4 Z."""
    steps = list(comparators(n))
    assert all(0 <= low < high < n for low, high in steps)
    for wires in itertools.product((0, 1), repeat=n):
        assert run(list(wires), steps) == sorted(wires)


@pytest.mark.parametrize("n", [16, 17, 20, 31, 40])
def test_longer_ones_sort_at_random(n: int) -> None:
    draw, steps = np.random.default_rng(n), list(comparators(n))
    for _ in range(200):
        wires = draw.integers(0, n, n).tolist()
        assert run(list(wires), steps) == sorted(wires)


def test_the_number_of_exchanges_is_knuths() -> None:
    assert [len(list(comparators(n))) for n in (2, 3, 4, 5, 6, 7, 8, 16)] == [
        1,
        3,
        5,
        9,
        12,
        16,
        19,
        63,
    ]


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("together", [True, False])
def test_what_is_wanted_is_there_and_nothing_more_could_be_cut(n: int, together: bool) -> None:
    for kept in range(2 - n % 2, n + 1, 2):
        cut = (n - kept) // 2
        steps = pruned(middle(n, kept, together=together))
        inputs = [list(wires) for wires in itertools.product((0, 1), repeat=n)]

        def inner(
            wires: list[int], steps: list[tuple[int, int]], cut: int = cut, kept: int = kept
        ) -> list[int]:
            found = run(list(wires), steps)[cut : cut + kept]
            return sorted(found) if together else found

        exchanges = [(step.low, step.high) for step in steps]
        assert all(inner(wires, exchanges) == sorted(wires)[cut : cut + kept] for wires in inputs)
        last = exchanges[:-1]
        assert not steps or any(
            inner(wires, last) != sorted(wires)[cut : cut + kept] for wires in inputs
        )


def test_a_result_that_nobody_reads_is_not_computed() -> None:
    assert [tuple(step) for step in pruned((None, "middle", None))][-1][2:] in {
        (True, False),
        (False, True),
    }
    assert len(pruned(("sum",) * 8)) == 0
    assert len(pruned((None,) * 8)) == 0
    median, mean = pruned(middle(20, 2, together=False)), pruned(middle(20, 12, together=True))
    assert len(median) == 81
    assert sum(step.keep_low + step.keep_high for step in median) == 144
    assert len(mean) < len(list(comparators(20))) == 97
