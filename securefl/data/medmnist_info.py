"""The 18 MedMNIST sets by the medmnist package's own table: tasks, split sizes, addresses, MD5.

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
    # The keys are MD5, MD5_64, MD5_128, ...
    numbers = [key.partition("_")[2] for key in _table()[name] if key.startswith("MD5")]
    return tuple(sorted(int(number or SMALLEST_SIDE) for number in numbers))


def source(name: str, size: int = SMALLEST_SIDE) -> Source:
    """Returns the published facts about one set in one size; both must exist."""
    facts = _table()[name]
    suffix = "" if size == SMALLEST_SIDE else f"_{size}"
    return Source(
        name=name,
        size=size,
        url=facts[f"url{suffix}"],
        md5=facts[f"MD5{suffix}"],
        task=_task(name, size, facts),
        records=Splits(**facts["n_samples"]),
        license=facts["license"],
        ordinal=facts["task"] == "ordinal-regression",
    )


def _task(name: str, size: int, facts: dict[str, Any]) -> Task:
    channels = int(facts["n_channels"])
    dimensions = 3 if name.endswith("3d") else 2
    return Task(
        features=channels * size**dimensions,
        classes=len(facts["label"]),
        image=(channels, *[size] * dimensions),
        multilabel=facts["task"] == "multi-label, binary-class",
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Any]]:
    """Returns medmnist.INFO, read and not executed.

    Importing medmnist takes seconds and makes a folder in the home directory.
    """
    package = find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise DataError("the package medmnist is not installed: install securefl again")
    text = Path(package.submodule_search_locations[0], "info.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and _is_named(node, "INFO"):
            table: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
            return table
    raise DataError("this version of the package medmnist has no table INFO: install medmnist 3")


def _is_named(assignment: ast.Assign, name: str) -> bool:
    return [getattr(target, "id", "") for target in assignment.targets] == [name]
