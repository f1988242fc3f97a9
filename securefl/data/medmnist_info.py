"""The 18 MedMNIST sets by the medmnist package's own table: tasks, split sizes, addresses, MD5.

Source: Yang et al., "MedMNIST v2", Scientific Data 2023, and "MedMNIST+", 2024 (sizes above 28).
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from securefl.data.task import Task
from securefl.errors import DataError

# The size whose file and keys carry no number.
SMALLEST_SIDE = 28
# Of the largest integers that a file may hold labels as.
LABEL_BYTES = 8
# For the headers of a file's arrays.
MAX_HEADER_BYTES = 2**20


class Splits(NamedTuple):
    """The records in each part of a published split."""

    train: int
    val: int
    test: int


class Entry(NamedTuple):
    """One set in the table of the medmnist package.

    Attributes:
        urls: size -> where it is published.
        md5s: size -> of the file, 32 hexadecimal digits.
        kind: of task, in MedMNIST's words.
        classes: how many labels it names.
        channels: of an image.
        records: in each part of the split.
        license: of the images.
    """

    urls: dict[int, str]
    md5s: dict[int, str]
    kind: str
    classes: int
    channels: int
    records: Splits
    license: str


@dataclass(frozen=True)
class Source:
    """One file of MedMNIST as its publisher describes it.

    Args:
        name: as in medmnist.INFO.
        size: pixels of a side.
        url: where it is published.
        md5: of the file, 32 hexadecimal digits.
        task: image shape, classes, and whether a record may have several.
        records: in each part of the split.
        license: of the images.
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
        """Name on disk, the medmnist package's own."""
        if self.size == SMALLEST_SIDE:
            return f"{self.name}.npz"
        return f"{self.name}_{self.size}.npz"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns key -> shape of the arrays in the file; colours are the last axis."""
        channels, *sides = self.task.image
        pixels = tuple(sides) if channels == 1 else (*sides, channels)
        labels = self.task.classes if self.task.multilabel else 1
        counts = self.records._asdict()
        images = {f"{split}_images": (count, *pixels) for split, count in counts.items()}
        return images | {f"{split}_labels": (count, labels) for split, count in counts.items()}

    @property
    def max_bytes(self) -> int:
        """Largest honest file: its arrays unpacked, with the widest labels, and headers."""
        total = MAX_HEADER_BYTES
        for key, shape in self.shapes().items():
            bytes_each = LABEL_BYTES if key.endswith("labels") else 1
            total += bytes_each * math.prod(shape)
        return total


def names() -> tuple[str, ...]:
    """Returns the names of all sets."""
    return tuple(_table())


def sizes(name: str) -> tuple[int, ...]:
    """Returns the sizes in which a set is published, ascending."""
    entry = _table()[name]
    return tuple(sorted(entry.md5s))


def kind(name: str) -> str:
    """Returns the kind of task that a set has, in MedMNIST's words."""
    return _table()[name].kind


def source(name: str, size: int = SMALLEST_SIDE) -> Source:
    """Returns the published facts about one set in one size; both must exist."""
    entry = _table()[name]
    return Source(
        name=name,
        size=size,
        url=entry.urls[size],
        md5=entry.md5s[size],
        task=_task(name, size, entry),
        records=entry.records,
        license=entry.license,
        ordinal=entry.kind == "ordinal-regression",
    )


def _task(name: str, size: int, entry: Entry) -> Task:
    dimensions = 3 if name.endswith("3d") else 2
    sides = [size] * dimensions
    return Task(
        features=entry.channels * size**dimensions,
        classes=entry.classes,
        image=(entry.channels, *sides),
        multilabel=entry.kind == "multi-label, binary-class",
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, Entry]:
    """Returns the sets of medmnist.INFO by name, read and not executed.

    Importing medmnist takes seconds and makes a folder in the home directory.
    """
    package = find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise DataError("the package medmnist is not installed: install securefl again")
    text = Path(package.submodule_search_locations[0], "info.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and _is_named(node, "INFO"):
            table: dict[str, Mapping[str, Any]] = ast.literal_eval(node.value)
            return {name: _entry(facts) for name, facts in table.items()}
    raise DataError("this version of the package medmnist has no table INFO: install medmnist 3")


def _entry(facts: Mapping[str, Any]) -> Entry:
    return Entry(
        urls=_by_size(facts, "url"),
        md5s=_by_size(facts, "MD5"),
        kind=facts["task"],
        classes=len(facts["label"]),
        channels=int(facts["n_channels"]),
        records=Splits(**facts["n_samples"]),
        license=facts["license"],
    )


def _by_size(facts: Mapping[str, Any], key: str) -> dict[int, str]:
    """Returns size -> value of the keys MD5, MD5_64, MD5_128, ..., or of url in the same way."""
    values = {}
    for name, value in facts.items():
        stem, _, number = name.partition("_")
        if stem == key:
            size = int(number) if number else SMALLEST_SIDE
            values[size] = value
    return values


def _is_named(assignment: ast.Assign, name: str) -> bool:
    return [getattr(target, "id", "") for target in assignment.targets] == [name]
