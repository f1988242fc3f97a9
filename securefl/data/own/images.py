"""One image file -> pixels of one declared size and number of channels."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.errors import DataError

FORMATS = ("PNG", "JPEG")
# 2 bytes a pixel become 1: medical images often have 16 bits of grey.
DROPPED_BITS = 8
MAX_16_BIT = 2**16 - 1
# A small file can state a huge image.
MAX_PIXELS = 2**26


def read_image(path: Path, *, size: int, channels: int) -> NDArray[np.uint8]:
    """Returns an image as (channels, size, size) bytes.

    Other sizes are stretched or shrunk to a square. Colours become grey, or grey becomes equal
    colours, as `channels` says; transparency is ignored. 16 bits of grey keep their upper 8. All of
    this depends on the image alone.

    Args:
        path: of a PNG or JPEG file.
        size: pixels of a side.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: the file is no such image, is truncated, or has more than 2^26 pixels.
    """
    # Takes a while to import, which checking a scenario must not cost.
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow's own bound is above ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _refuse_bomb(image.size, path)
                eight_bits = _eight_bits(image)
                mode = "L" if channels == 1 else "RGB"
                pixels = eight_bits.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    except DataError:
        raise
    # Damaged files make Pillow raise errors of many kinds, also ones that it does not document.
    except Exception as reason:
        raise DataError(f"cannot read the image {path}: {reason}") from None
    return np.asarray(pixels, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _refuse_bomb(size: tuple[int, int], path: Path) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"cannot read the image {path}: {width} x {height} pixels, more than {MAX_PIXELS}"
        )


def _eight_bits(image: Any) -> Any:
    """Returns an image of 16 bits of grey with the upper 8; others as they are."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64).clip(0, MAX_16_BIT)
    return Image.fromarray((values >> DROPPED_BITS).astype(np.uint8))
