"""The shape of a record: numbers, a 2-D image or a volume, in the order that models take."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.errors import DataError

# Last axes of these lengths are channels: grey, RGB, and RGB with transparency.
CHANNELS = (1, 3, 4)


class Layout(NamedTuple):
    """How an array holds records.

    Attributes:
        shape: of one record for a model: (features,), or (channels, side, side[, side]).
        channel_axis: of the array, which moves behind the records; None where there is none.
        is_image: whether records are images; their bytes stay bytes.
    """

    shape: tuple[int, ...]
    channel_axis: int | None
    is_image: bool

    @property
    def image(self) -> tuple[int, ...]:
        """The image's shape as `Task` takes it, () for records that are no images."""
        return self.shape if self.is_image else ()

    @property
    def features(self) -> int:
        """Numbers of a record."""
        return math.prod(self.shape)

    def values(self, array: NDArray[Any]) -> Tensor:
        """Returns records as a model takes them: bytes of images as bytes, others as float32.

        The result may share the array's memory.
        """
        if not (self.is_image and array.dtype == np.uint8):
            # A number beyond float32 becomes infinite, and is handled like any infinite number.
            with np.errstate(over="ignore"):
                array = array.astype(np.float32, copy=False)
        if self.channel_axis is not None:
            array = np.moveaxis(array, self.channel_axis, 1)
        array = np.ascontiguousarray(array).reshape(len(array), *self.shape)
        # torch warns of arrays that nobody may write into.
        return torch.from_numpy(array if array.flags.writeable else array.copy())


def numbers(shape: tuple[int, ...], name: str) -> Layout:
    """Returns the layout of an array (n, features).

    Raises:
        DataError: the array has another shape.
    """
    if len(shape) != 2 or shape[1] == 0:
        raise DataError(f"{name} has shape {shape}, not (records, features)")
    return Layout(shape[1:], None, is_image=False)


def images_channels_last(shape: tuple[int, ...], name: str, *, channels: int | None) -> Layout:
    """Returns the layout of images or volumes whose channels, if any, are the last axis.

    (n, h, w) and (n, d, h, w) have one channel. The last of four axes is channels where its length
    is 1, 3 or 4, or `channels`. The last of five axes is always channels.

    Args:
        shape: of the array.
        name: of the array, for a refusal.
        channels: declared by the user; settles what a length of 1, 3 or 4 means.

    Raises:
        DataError: the array is no image, or its channels are not as declared.
    """
    _refuse_no_image(shape, name, "(records, height, width[, channels])")
    is_last = len(shape) == 5
    if len(shape) == 4:
        is_last = shape[-1] in CHANNELS if channels is None else shape[-1] == channels
        # The order of torch reads as a volume of three slices otherwise.
        if channels is None and not is_last and shape[1] in CHANNELS:
            raise DataError(
                f"{name} has shape {shape}: if axis 1 is channels, move it to the end with "
                "numpy.moveaxis(images, 1, -1); if it is the depth of a volume, set "
                "data.channels = 1"
            )
    count = shape[-1] if is_last else 1
    sides = shape[1:-1] if is_last else shape[1:]
    _refuse_other_channels(shape, name, count, channels)
    return Layout((count, *sides), len(shape) - 1 if is_last else None, is_image=True)


def images_channels_first(shape: tuple[int, ...], name: str, *, channels: int | None) -> Layout:
    """Returns the layout of images or volumes in torch's order, (n, channels, sides...).

    (n, h, w) has one channel.

    Raises:
        DataError: the array is no image, or its channels are not as declared.
    """
    _refuse_no_image(shape, name, "(records, channels, height, width)")
    if len(shape) == 3:
        _refuse_other_channels(shape, name, 1, channels)
        return Layout((1, *shape[1:]), None, is_image=True)
    if channels is None and shape[-1] in CHANNELS and shape[1] not in CHANNELS:
        raise DataError(
            f"{name} has shape {shape}: channels come before the sides, as torch has them; move "
            "them with numpy.moveaxis(images, -1, 1), or set data.channels"
        )
    _refuse_other_channels(shape, name, shape[1], channels)
    return Layout(shape[1:], None, is_image=True)


def _refuse_no_image(shape: tuple[int, ...], name: str, expected: str) -> None:
    if not 3 <= len(shape) <= 5 or 0 in shape[1:]:
        raise DataError(f"{name} has shape {shape}, not {expected} or that of volumes")


def _refuse_other_channels(
    shape: tuple[int, ...], name: str, count: int, channels: int | None
) -> None:
    if channels is not None and count != channels:
        raise DataError(f"{name} has shape {shape}, so {count} channels, not {channels}")
