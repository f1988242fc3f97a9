"""MedMNIST: standard images of 18 medical tasks, each with a published split.

Clients share the training records, and `test` is the published test set. The validation set is for
choosing learning rates and the like; it takes the test set's place where a scenario says so. Pixels
stay bytes until a model reads them, so that the large sets fit into memory.
"""

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.data.download import OnBytes, obtain, quiet
from securefl.data.medmnist_info import Source, Splits
from securefl.data.npz import read_header
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import DataError

TEST_ON = {"test": "test", "validation": "val"}
PIXEL_TYPES = ("u1",)
LABEL_TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")
_Arrays = dict[str, NDArray[Any]]


def fetch(source: Source, *, on_bytes: OnBytes = quiet) -> Path:
    """Returns the path of the published file, downloaded where it is not on this disk.

    Raises:
        DataError: as `obtain` does.
    """
    return obtain(
        source.file,
        url=source.url,
        md5=source.md5,
        max_bytes=source.max_bytes,
        on_bytes=on_bytes,
    )


def load_medmnist(source: Source, *, partition: str, test_on: str) -> FederatedData:
    """Returns one site with the published training records, to be dealt to clients.

    Args:
        source: which set, in which size.
        partition: "pooled", the only one of its own.
        test_on: "test" or "validation": the records that judge.

    Raises:
        DataError: there is no file, or it is not what its publisher says.
    """
    splits = _splits(fetch(source), source)
    site = Site(partition, splits["train"], None)
    return FederatedData(source.task, (site,), splits[TEST_ON[test_on]])


# The cells of a grid that one process runs share the records; nobody writes into them.
@lru_cache(maxsize=2)
def _splits(path: Path, source: Source) -> dict[str, Examples]:
    """Returns the three parts of a file."""
    try:
        arrays = _arrays(path, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as reason:
        raise DataError(f"{path} is no MedMNIST file: {reason}") from None
    splits = {}
    for split in Splits._fields:
        images = _images(arrays[f"{split}_images"], source.task)
        labels = _labels(path, arrays, f"{split}_labels", source.task)
        splits[split] = Examples(images, labels)
    return splits


def _arrays(path: Path, source: Source) -> _Arrays:
    """Returns the arrays of a file.

    Shapes and types are checked before anything is unpacked: a small file can state a huge array.
    """
    with zipfile.ZipFile(path) as archive:
        for key, shape in source.shapes().items():
            _check_member(path, archive, key, shape)
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in source.shapes()}


def _check_member(path: Path, archive: zipfile.ZipFile, key: str, shape: tuple[int, ...]) -> None:
    """Checks the type and the shape that an array in the file states."""
    if f"{key}.npy" not in archive.namelist():
        raise DataError(f"{path} has no {key}")
    with archive.open(f"{key}.npy") as member:
        stated_shape, dtype = read_header(member)
    allowed = PIXEL_TYPES if key.endswith("images") else LABEL_TYPES
    # Without the byte order, which comes first.
    kind = dtype.str[1:]
    if stated_shape != shape or kind not in allowed:
        raise DataError(
            f"{path}: {key} has shape {stated_shape} and type {dtype}, not {shape} of whole numbers"
        )


def _images(pixels: NDArray[np.uint8], task: Task) -> torch.Tensor:
    """Returns images as (n, channels, side, ...) uint8; the file has colours last, or none."""
    is_grey = task.image[0] == 1
    channels_first = pixels[:, None] if is_grey else np.moveaxis(pixels, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(channels_first))


def _labels(path: Path, arrays: _Arrays, key: str, task: Task) -> torch.Tensor:
    """Returns labels as (n,) int64, or (n, classes) where a record may have several.

    Raises:
        DataError: a label is outside the classes.
    """
    labels = arrays[key].astype(np.int64)
    top = 1 if task.multilabel else task.classes - 1
    if labels.min() < 0 or labels.max() > top:
        raise DataError(
            f"{path}: {key} goes from {labels.min()} to {labels.max()}, not from 0 to {top}"
        )
    return torch.from_numpy(labels if task.multilabel else labels[:, 0])
