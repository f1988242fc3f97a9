"""Which axis of an array is channels, and records in the order that models take."""

import numpy as np
import pytest
import torch

from securefl.data.own.layout import (
    Layout,
    images_channels_first,
    images_channels_last,
    numbers,
)
from securefl.errors import DataError


@pytest.mark.parametrize(
    ("shape", "channels", "image"),
    [
        ((9, 28, 20), None, (1, 28, 20)),
        ((9, 28, 3), None, (1, 28, 3)),
        ((9, 28, 20, 1), None, (1, 28, 20)),
        ((9, 28, 20, 3), None, (3, 28, 20)),
        ((9, 28, 20, 4), None, (4, 28, 20)),
        ((9, 28, 20, 2), None, (1, 28, 20, 2)),
        ((9, 28, 20, 2), 2, (2, 28, 20)),
        ((9, 28, 20, 3), 1, (1, 28, 20, 3)),
        ((9, 16, 28, 20), None, (1, 16, 28, 20)),
        ((9, 3, 28, 20), 1, (1, 3, 28, 20)),
        ((9, 16, 28, 20, 2), None, (2, 16, 28, 20)),
        ((9, 16, 28, 20, 3), 3, (3, 16, 28, 20)),
        ((0, 28, 20), None, (1, 28, 20)),
    ],
)
def test_channels_come_last_in_a_file(
    shape: tuple[int, ...], channels: int | None, image: tuple[int, ...]
) -> None:
    layout = images_channels_last(shape, "x", channels=channels)
    assert layout.image == layout.shape == image
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    values = layout.values(array)
    assert values.shape == (shape[0], *image)
    if shape[0]:
        # The last pixel of the first channel.
        place = (8, *(side - 1 for side in image[1:]))
        expected = array[place] if array.ndim == len(place) else array[place][0]
        assert values[(8, 0, *place[1:])] == expected


@pytest.mark.parametrize(
    ("shape", "channels", "image"),
    [
        ((9, 28, 20), None, (1, 28, 20)),
        ((9, 3, 28, 20), None, (3, 28, 20)),
        ((9, 2, 28, 20), None, (2, 28, 20)),
        ((9, 3, 28, 3), None, (3, 28, 3)),
        ((9, 28, 20, 3), 28, (28, 20, 3)),
        ((9, 1, 16, 28, 20), 1, (1, 16, 28, 20)),
    ],
)
def test_channels_come_first_in_torch(
    shape: tuple[int, ...], channels: int | None, image: tuple[int, ...]
) -> None:
    layout = images_channels_first(shape, "x", channels=channels)
    assert layout.image == image
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    assert torch.equal(layout.values(array).flatten(), torch.arange(array.size).float())


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((9, 3, 28, 20), None, r"x has shape \(9, 3, 28, 20\): if axis 1 is channels, move it"),
        ((9, 28, 20), 3, r"x has shape \(9, 28, 20\), so 1 channels, not 3"),
        ((9, 28, 20, 3), 4, "so 1 channels, not 4"),
        ((9, 16, 28, 20, 2), 3, "so 2 channels, not 3"),
        ((9, 28), None, r"x has shape \(9, 28\), not \(records, height, width\[, channels\]\)"),
        ((9, 1, 2, 3, 4, 5), None, "or that of volumes"),
        ((9, 28, 0), None, r"x has shape \(9, 28, 0\), not"),
    ],
)
def test_a_shape_that_is_no_image_or_not_the_declared_one_is_refused(
    shape: tuple[int, ...], channels: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        images_channels_last(shape, "x", channels=channels)


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((9, 28, 20, 3), None, r"channels come before the sides, .*; move them with numpy\.move"),
        ((9, 3, 28, 20), 1, "so 3 channels, not 1"),
        ((9, 28, 20), 3, "so 1 channels, not 3"),
        ((9, 28), None, r"not \(records, channels, height, width\)"),
    ],
)
def test_torchs_order_is_checked_likewise(
    shape: tuple[int, ...], channels: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        images_channels_first(shape, "x", channels=channels)


def test_an_array_that_nobody_may_write_into_is_copied() -> None:
    array = np.zeros((2, 3), np.float32)
    array.flags.writeable = False
    values = numbers((2, 3), "x").values(array)
    values += 1
    assert array.max() == 0


def test_numbers_beyond_float32_become_infinite_without_a_warning() -> None:
    values = Layout((1,), None, is_image=False).values(np.array([[1e39], [-1e39]]))
    assert values.flatten().tolist() == [np.inf, -np.inf]
