"""Sorting networks: they sort, and the order statistics that are read survive the pruning."""

import itertools

import numpy as np
import pytest

from defenses.kernels.networks import comparators, middle, pruned


def run(wires: list[int], steps: list[tuple[int, int]]) -> list[int]:
    """Returns the wires after all exchanges; they are exchanged in place."""
    for low, high in steps:
        if wires[low] > wires[high]:
            wires[low], wires[high] = wires[high], wires[low]
    return wires


@pytest.mark.parametrize("n", range(13))
def test_every_sequence_of_zeros_and_ones_is_sorted_and_so_everything(n: int) -> None:
    """By Knuth, theorem 5.3.4 Z, a network that sorts zeros and ones sorts everything."""
    steps = list(comparators(n))
    assert all(0 <= low < high < n for low, high in steps)
    for wires in itertools.product((0, 1), repeat=n):
        assert run(list(wires), steps) == sorted(wires)


@pytest.mark.parametrize("n", [16, 17, 20, 31, 40])
def test_longer_networks_sort_random_sequences(n: int) -> None:
    draw = np.random.default_rng(n)
    steps = list(comparators(n))
    for _ in range(200):
        wires = draw.integers(0, n, n).tolist()
        assert run(list(wires), steps) == sorted(wires)


def test_the_number_of_exchanges_is_knuths() -> None:
    published = {2: 1, 3: 3, 4: 5, 5: 9, 6: 12, 7: 16, 8: 19, 16: 63}
    assert {n: len(list(comparators(n))) for n in published} == published


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("together", [True, False])
def test_the_middle_wires_are_right_and_no_further_comparator_could_be_cut(
    n: int, together: bool
) -> None:
    inputs = [list(wires) for wires in itertools.product((0, 1), repeat=n)]
    for size in range(2 - n % 2, n + 1, 2):
        inner = slice((n - size) // 2, (n + size) // 2)
        steps = pruned(middle(n, size, together=together))
        exchanges = [(step.low, step.high) for step in steps]

        def is_right(wires: list[int], exchanges: list[tuple[int, int]], inner: slice) -> bool:
            middle_wires = run(list(wires), exchanges)[inner]
            # Wires that are read together, as by a sum, may come in any order.
            if together:
                middle_wires.sort()
            return middle_wires == sorted(wires)[inner]

        assert all(is_right(wires, exchanges, inner) for wires in inputs)
        if exchanges:
            assert not all(is_right(wires, exchanges[:-1], inner) for wires in inputs)


def test_a_result_that_nobody_reads_is_not_computed() -> None:
    last = pruned((None, "middle", None))[-1]
    assert last.keep_low != last.keep_high
    assert len(pruned(("sum",) * 8)) == 0
    assert len(pruned((None,) * 8)) == 0
    median = pruned(middle(20, 2, together=False))
    mean = pruned(middle(20, 12, together=True))
    assert len(median) == 81
    assert sum(step.keep_low + step.keep_high for step in median) == 144
    assert len(mean) < len(list(comparators(20))) == 97
