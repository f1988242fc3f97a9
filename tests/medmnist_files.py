"""MedMNIST for tests: the official files if SECUREFL_DATA has them, and small files like them."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from securefl.data.medmnist_info import Source, Splits
from securefl.data.task import Task


def official(name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let securefl find the official file of a set, or skip the test."""
    folder = os.environ.get("SECUREFL_DATA")
    if folder and (Path(folder) / f"{name}.npz").is_file():
        monkeypatch.setenv("SECUREFL_DATA", folder)
        return Path(folder) / f"{name}.npz"
    pytest.skip(
        f"{name}.npz is not here: set SECUREFL_DATA to a folder with the official MedMNIST files"
    )


def source_of(
    *,
    image: tuple[int, ...] = (1, 28, 28),
    classes: int = 2,
    multilabel: bool = False,
    size: int = 28,
) -> Source:
    """A set of twelve records that nobody published; its MD5 is that of no file yet."""
    task = Task(features=int(np.prod(image)), classes=classes, image=image, multilabel=multilabel)
    return Source(
        "tinymnist", size, "http://localhost/none", "0" * 32, task, Splits(6, 2, 4), "CC BY 4.0"
    )


def arrays_of(source: Source) -> dict[str, NDArray[Any]]:
    """Returns arrays in the source's format.

    The first pixel of record i is i; classes take turns.
    """
    made: dict[str, NDArray[Any]] = {}
    for key, shape in source.shapes().items():
        if key.endswith("images"):
            made[key] = np.full(shape, 7, dtype=np.uint8)
            made[key].reshape(shape[0], -1)[:, 0] = np.arange(shape[0])
        elif source.task.multilabel:
            made[key] = (np.arange(shape[0])[:, None] >> np.arange(shape[1]) & 1).astype(np.uint8)
        else:
            made[key] = (np.arange(shape[0])[:, None] % source.task.classes).astype(np.uint8)
    return made


def written(folder: Path, source: Source, arrays: dict[str, NDArray[Any]] | None = None) -> Source:
    """Write the arrays where the source's file belongs; the source, with the MD5 of that file."""
    path = folder / source.file
    made: dict[str, Any] = arrays_of(source) if arrays is None else arrays
    np.savez_compressed(path, allow_pickle=True, **made)
    return replace(source, md5=hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
