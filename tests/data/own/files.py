"""Small files of somebody's own records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ArrayDict = dict[str, NDArray[Any]]


def plain(
    more: Mapping[str, NDArray[Any] | None] | None = None,
    *,
    records: int = 6,
    **changes: NDArray[Any] | None,
) -> ArrayDict:
    """Returns six grey images of 2 x 3 pixels with labels 0, 1, 2, ... and changes; None removes.

    Every pixel of record i is i.
    """
    arrays: dict[str, Any] = {
        "train_images": np.repeat(np.arange(records, dtype=np.uint8), 6).reshape(-1, 2, 3),
        "train_labels": np.arange(records) % 3,
    }
    arrays |= {**(more or {}), **changes}
    return {key: array for key, array in arrays.items() if array is not None}


def saved(folder: Path, arrays: ArrayDict, name: str = "xray.npz") -> Path:
    """Writes arrays to a file."""
    path = folder / name
    given: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, allow_pickle=True, **given)
    return path


def picture(path: Path, *, grey: int = 7, size: tuple[int, int] = (4, 4), mode: str = "L") -> Path:
    """Writes an image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour: Any = grey if mode in ("L", "I;16") else (grey,) * len(mode)
    Image.new(mode, size, colour).save(path)
    return path
