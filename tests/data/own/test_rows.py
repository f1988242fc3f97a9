"""Arrays that grow hold every row, and no row too many."""

import numpy as np
import pytest
import torch

from securefl.data.own.rows import GrowingArray


@pytest.mark.parametrize("sizes", [[], [0, 0], [3], [1, 5000, 1, 0, 20_000]])
def test_rows_come_out_as_they_went_in(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(size, 3)).astype(np.float32) for size in sizes]
    array = GrowingArray(np.float32, 3)
    for block in blocks:
        array.extend(block)
    expected = np.concatenate([np.empty((0, 3), dtype=np.float32), *blocks])
    assert array.tensor().equal(torch.from_numpy(expected))


def test_rows_may_be_single_values() -> None:
    array = GrowingArray(np.int64)
    array.extend(np.array([1, 2]))
    array.extend(np.array([3]))
    assert array.tensor().tolist() == [1, 2, 3]


def test_the_tensor_has_memory_for_its_rows_alone() -> None:
    array = GrowingArray(np.float32, 3)
    array.extend(np.zeros((2000, 3), dtype=np.float32))
    assert array.tensor().untyped_storage().nbytes() == 2000 * 3 * 4
