"""MedMNIST: standard images of 18 medical tasks, each with a published split.

Clients share the training records, `test` is the published test set; the validation set is for choosing learning
rates and the like, and takes the test set's place where a scenario says so. Pixels stay bytes until a model reads
them, so that the large sets fit into memory.
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
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import DataError

TEST_ON = {"test": "test", "validation": "val"}
_Arrays = dict[str, NDArray[Any]]


def fetch(source: Source, *, on_bytes: OnBytes = quiet) -> Path:
    """The published file on this disk. Raises DataError as `obtain` does."""
    return obtain(
        source.file, url=source.url, md5=source.md5, most=source.most_bytes, on_bytes=on_bytes
    )


def load_medmnist(source: Source, *, partition: str, test_on: str) -> FederatedData:
    """One site with the published training records, to be dealt to clients.

    Args:
        source: which set, in which size.
        partition: "pooled", the only one of its own.
        test_on: "test" or "validation": the records that judge.

    Raises:
        DataError: there is no file, or it is not what its publisher says.
    """
    path = fetch(source)
    splits = _splits(path, source)
    return FederatedData(
        source.task, (Site(partition, splits["train"], None),), splits[TEST_ON[test_on]]
    )


@lru_cache(maxsize=2)  # the cells of a grid that one process runs share it; nobody writes into it
def _splits(path: Path, source: Source) -> dict[str, Examples]:
    """The three parts of a file."""
    try:
        arrays = _arrays(path, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as reason:
        raise DataError(f"{path} is no MedMNIST file: {reason}") from None
    return {
        split: Examples(
            _images(arrays[f"{split}_images"], source.task),
            _labels(path, arrays, f"{split}_labels", source.task),
        )
        for split in Splits._fields
    }


def _arrays(path: Path, source: Source) -> _Arrays:
    """The arrays of a file; shape and type are looked at before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        for key, shape in source.shapes().items():
            if f"{key}.npy" not in archive.namelist():
                raise DataError(f"{path} has no {key}")
            with archive.open(f"{key}.npy") as member:
                found, dtype = _header(member)
            kinds = "u1" if key.endswith("images") else "u1 u2 u4 u8 i1 i2 i4 i8"
            if found != shape or dtype.str[1:] not in kinds.split():
                raise DataError(
                    f"{path}: {key} has shape {found} and type {dtype}, not {shape} of whole numbers"
                )
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in source.shapes()}


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that an array in a file states."""
    version = np.lib.format.read_magic(member)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member)
    return shape, dtype


def _images(pixels: NDArray[np.uint8], task: Task) -> torch.Tensor:
    """(n, channels, side, ...) uint8."""
    channels_first = pixels[:, None] if task.image[0] == 1 else np.moveaxis(pixels, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(channels_first))


def _labels(path: Path, arrays: _Arrays, key: str, task: Task) -> torch.Tensor:
    """(n,) int64, or (n, classes) where a record may bear several. Raises DataError."""
    labels = arrays[key].astype(np.int64)
    top = 1 if task.multilabel else task.classes - 1
    if labels.min() < 0 or labels.max() > top:
        raise DataError(
            f"{path}: {key} goes from {labels.min()} to {labels.max()}, not from 0 to {top}"
        )
    return torch.from_numpy(labels if task.multilabel else labels[:, 0])
