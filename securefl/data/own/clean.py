"""Bad records: refused with their place, or cleaned one by one under a DP claim.

A refusal tells other parties something about a record. So under a claim a number that is not finite
becomes 0, a very large one is clamped to a public constant, and a record with an impossible label
or an unknown site is dropped. No choice about a record depends on another record. A real target
outside of its declared range counts as the nearer end, with and without a claim.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.data.own.records import Split, selected
from securefl.data.task import Examples, Task
from securefl.errors import DataError

# Under a claim. Beyond it a model's gradients could overflow float32, which others would notice.
MAX_MAGNITUDE = 1e6
# A larger number is an identifier, not a class or a site.
MAX_CLASSES = 10_000
MAX_SITES = 10_000

# Gets "features", "labels" or "sites" and a record's index; returns the words for that place.
Where = Callable[[str, int], str]


class Raw(NamedTuple):
    """The unchecked records of one split.

    Attributes:
        features: (n, ...) float32 or uint8, in the task's shape.
        labels: (n,) or (n, classes) numbers; for a regression (n,) or (n, targets).
        sites: (n,) names or whole numbers; None without.
        groups: (n,) names or whole numbers; None without.
        scaled: whether real targets are scaled to [-1, 1] already, as in our own `Examples`.
    """

    features: Tensor
    labels: NDArray[Any]
    sites: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    scaled: bool = False


class _Labels(NamedTuple):
    """Labels (n, ...) as `Examples` holds them, and (n,) which of them are possible."""

    values: Tensor
    possible: NDArray[np.bool_]


def cleaned(raw: Raw, *, task: Task, sites: Sequence[str], claim: bool, where: Where) -> Split:
    """Returns the records of a split, checked.

    Args:
        raw: n records.
        task: says which labels exist.
        sites: names of the sites, in order.
        claim: cleans or drops a bad record instead of refusing it.
        where: gives the words for the place of a bad value.

    Raises:
        DataError: without a claim, a value is bad.
    """
    features = _features(raw.features, claim=claim, where=where)
    read = _targets if task.regression else _classes
    labels, good = read(raw, task, claim=claim, where=where)
    site_index = None
    if raw.sites is not None:
        index = _site_index(raw.sites, sites, claim=claim, where=where)
        good = good & (index >= 0)
        site_index = torch.from_numpy(index)
    groups = None if raw.groups is None else _group_bytes(raw.groups)
    split = Split(Examples(features, labels), site_index, groups)
    return split if good.all() else selected(split, torch.from_numpy(good))


def count_classes(labels: Mapping[str, NDArray[Any]], name: str) -> int:
    """Returns the number of classes that labels of several splits show, at least 2.

    It is for runs without a claim: a claim needs a declared number.

    Args:
        labels: place -> the labels there, of each split or site.
        name: of the source, for a refusal.

    Raises:
        DataError: a label cannot be a class, or classes are not counted from 0.
    """
    lowest = MAX_CLASSES
    highest = 1
    for place, values in labels.items():
        is_class = _whole(values)
        # A model for the classes of the other labels would be refused for its width first.
        if not is_class.all():
            index = int(np.argwhere(~is_class)[0][0])
            value = values[index].item()
            expected = f"a whole number from 0{_hint(value)}"
            raise DataError(f"{place}[{index}] is {value}, not {expected}")
        if values.size:
            lowest = min(lowest, int(values.min()))
            highest = max(highest, int(values.max()))
    if highest >= MAX_CLASSES:
        raise DataError(
            f"{name} has the label {highest}, and classes are whole numbers from 0 to at most "
            f"{MAX_CLASSES - 1}"
        )
    if 0 < lowest < MAX_CLASSES:
        raise DataError(
            f"{name}: no record has label 0; classes are numbered from 0, and the lowest label is "
            f"{lowest}; renumber them, or declare data.num_classes if class 0 has no record"
        )
    return highest + 1


def _hint(value: float) -> str:
    """Returns what to do about a label that is a number, but no class; "" for others."""
    is_decimal = np.isfinite(value) and value != np.floor(value)
    return "; declare data.ranges of real targets" if is_decimal else ""


def site_names(columns: Iterable[NDArray[Any]], name: str) -> tuple[str, ...]:
    """Returns the names in columns of site names, sorted; whole numbers sort by value.

    It is for runs without a claim: a claim needs declared names.

    Args:
        columns: of each split.
        name: of the source, for a refusal.

    Raises:
        DataError: there are so many names that they cannot be sites.
    """
    values = [value for column in columns for value in np.unique(column)]
    if all(isinstance(value, np.integer) for value in values):
        names = [str(number) for number in sorted({int(value) for value in values})]
    else:
        names = sorted({text_of(value) for value in values})
    if len(names) > MAX_SITES:
        raise DataError(
            f"{name} names {len(names)} sites, more than {MAX_SITES}; patients belong into groups"
        )
    return tuple(names)


def text_of(value: object) -> str:
    """Returns a site's name as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _features(features: Tensor, *, claim: bool, where: Where) -> Tensor:
    if features.dtype == torch.uint8:
        return features
    finite = torch.isfinite(features)
    if not bool(finite.all()):
        if not claim:
            bad = int(torch.nonzero(~finite.flatten(1).all(dim=1))[0])
            raise DataError(f"{where('features', bad)} holds a value that is not a finite number")
        features = torch.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
    if claim:
        features = features.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE)
    return features


def _classes(raw: Raw, task: Task, *, claim: bool, where: Where) -> _Labels:
    is_class = _are_classes(raw.labels, task)
    if not claim:
        _refuse_label(raw.labels, is_class, task, where)
    # A record that is dropped may hold a number that int64 cannot.
    labels = np.where(is_class, raw.labels, 0).astype(np.int64)
    possible = np.logical_and.reduce(is_class, axis=1) if task.multilabel else is_class
    return _Labels(torch.from_numpy(labels), possible)


def _targets(raw: Raw, task: Task, *, claim: bool, where: Where) -> _Labels:
    values = raw.labels.astype(np.float64).reshape(len(raw.labels), task.outputs)
    finite = np.isfinite(values)
    if not (claim or finite.all()):
        record, target = np.argwhere(~finite)[0]
        value = values[record, target]
        raise DataError(f"{where('labels', int(record))} is {value}, not a finite number")
    numbers = torch.from_numpy(np.where(finite, values, 0.0))
    labels = numbers.clamp(-1, 1).float() if raw.scaled else task.labels(numbers)
    return _Labels(labels, np.logical_and.reduce(finite, axis=1))


def _are_classes(labels: NDArray[Any], task: Task) -> NDArray[np.bool_]:
    """Returns whether each label is a whole number in the task's range, in the labels' shape."""
    top = 1 if task.multilabel else task.classes - 1
    return _whole(labels) & (labels <= top)


def _whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns whether each value is a whole number, 0 or more."""
    known: NDArray[np.bool_] = values >= 0
    if values.dtype.kind == "f":
        known &= np.isfinite(values) & (values == np.floor(values))
    return known


def _refuse_label(
    labels: NDArray[Any], is_class: NDArray[np.bool_], task: Task, where: Where
) -> None:
    """Raises DataError with the place of the first label that is no class."""
    if is_class.all():
        return
    place = np.argwhere(~is_class)[0]
    value = labels[tuple(place)]
    expected = f"a whole number from 0 to {task.classes - 1}"
    if task.multilabel:
        expected = "0 or 1"
    else:
        expected += _hint(value)
    raise DataError(f"{where('labels', int(place[0]))} is {value}, not {expected}")


def _site_index(
    column: NDArray[Any], sites: Sequence[str], *, claim: bool, where: Where
) -> NDArray[np.int64]:
    """Returns (n,) the index of each record's site, -1 for an unknown one."""
    index_of = {name: index for index, name in enumerate(sites)}
    values, inverse = np.unique(column, return_inverse=True)
    known = np.array([index_of.get(text_of(value), -1) for value in values], dtype=np.int64)
    index = known[inverse]
    if not claim and (index < 0).any():
        bad = int(np.argmax(index < 0))
        raise DataError(
            f"{where('sites', bad)} is {text_of(column[bad])!r}, which is none of the sites "
            f"{', '.join(map(repr, sites))}"
        )
    return index


def _group_bytes(column: NDArray[Any]) -> tuple[bytes, ...]:
    """Returns each record's group; the same name as text or as bytes is the same group."""
    values, inverse = np.unique(column, return_inverse=True)
    names = [
        value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        for value in values
    ]
    return tuple(names[index] for index in inverse)
