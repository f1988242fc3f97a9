"""The 18 MedMNIST sets by the medmnist package's own table: task, channels, labels, split sizes, addresses, MD5.

Source: Yang et al., "MedMNIST v2", Scientific Data 2023, and "MedMNIST+", 2024 (sizes above 28).
"""

import ast
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from securefl.data.task import Task
from securefl.errors import DataError

_SMALLEST = 28  # the size whose file and keys carry no number


class Splits(NamedTuple):
    """How many records each part of a published split has."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Source:
    """One file of MedMNIST as its publisher describes it.

    Args:
        name: as in medmnist.INFO.
        size: pixels of a side.
        url: where it is published.
        md5: of the file, 32 hexadecimal digits.
        task: image shape, classes, and whether a record bears several.
        records: how many each part of the split has.
        license: which licence the images are under.
        ordinal: the classes are grades; MedMNIST trains and judges them as classes, and so do we.
    """

    name: str
    size: int
    url: str
    md5: str
    task: Task
    records: Splits
    license: str
    ordinal: bool = False

    @property
    def file(self) -> str:
        """Its name on disk, the medmnist package's own."""
        return f"{self.name}.npz" if self.size == _SMALLEST else f"{self.name}_{self.size}.npz"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key -> shape of the arrays in the file; colours stand last."""
        channels, *sides = self.task.image
        pixels = (*sides, *([] if channels == 1 else [channels]))
        labels = self.task.classes if self.task.multilabel else 1
        images = {
            f"{split}_images": (count, *pixels) for split, count in self.records._asdict().items()
        }
        return images | {
            f"{split}_labels": (count, labels) for split, count in self.records._asdict().items()
        }

    @property
    def most_bytes(self) -> int:
        """No honest file is larger: its arrays unpacked, with labels of eight bytes, and a mebibyte of headers."""
        numbers = {
            key: math.prod(shape) * (8 if key.endswith("labels") else 1)
            for key, shape in self.shapes().items()
        }
        return sum(numbers.values()) + 2**20


def names() -> tuple[str, ...]:
    """All sets."""
    return tuple(_table())


def sizes(name: str) -> tuple[int, ...]:
    """The sizes in which a set is published, ascending."""
    return tuple(
        sorted(
            int(key.partition("_")[2] or _SMALLEST)
            for key in _table()[name]
            if key.startswith("MD5")
        )
    )


def source(name: str, size: int = _SMALLEST) -> Source:
    """What is published about one set in one size; both must exist."""
    facts, suffix = _table()[name], "" if size == _SMALLEST else f"_{size}"
    image = (int(facts["n_channels"]), *[size] * (3 if name.endswith("3d") else 2))
    features = image[0] * size ** (len(image) - 1)
    several = facts["task"] == "multi-label, binary-class"
    return Source(
        name=name,
        size=size,
        url=facts[f"url{suffix}"],
        md5=facts[f"MD5{suffix}"],
        task=Task(features=features, classes=len(facts["label"]), image=image, multilabel=several),
        records=Splits(**facts["n_samples"]),
        license=facts["license"],
        ordinal=facts["task"] == "ordinal-regression",
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Any]]:
    """medmnist.INFO, read and not executed: importing it takes seconds and makes a folder in the home directory."""
    package = find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise DataError("the package medmnist is not installed: install securefl again")
    text = Path(package.submodule_search_locations[0], "info.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and [
            getattr(target, "id", "") for target in node.targets
        ] == ["INFO"]:
            table: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
            return table
    raise DataError("this version of the package medmnist has no table INFO: install medmnist 3")
