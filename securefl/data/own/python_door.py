"""What a user's function returned -> records, or one sentence that says what is wrong with it.

The function returns one value a site: a list, or a mapping from names. A site is a pair (features,
labels) of arrays or tensors, or a `torch.utils.data.Dataset`; or a pair (train, test) of these. It
may also return our `FederatedData`. Features are (n, features), or images in torch's order, (n,
channels, sides...).
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from securefl.data.own.clean import Raw, cleaned, count_classes
from securefl.data.own.digest import digest_of
from securefl.data.own.gather import Part
from securefl.data.own.layout import Layout, images_channels_first, numbers
from securefl.data.own.members import Members, members_of
from securefl.data.own.records import Records, Split
from securefl.data.own.targets import declared_regression
from securefl.data.task import Examples, Task, concatenate
from securefl.errors import DataError, ScenarioError

# Of an array, when it is digested.
ROWS_PER_CHUNK = 1024


class Returned:
    """A value that a user's function returned.

    Args:
        value: what it returned; a Dataset in it is read once, in order.
        name: of the function, for refusals.
        num_classes: declared number of classes; a DP claim needs it unless labels are several.
        sites: declared names of the sites, for a list in its order; a DP claim needs them.
        channels: declared channels of an image.
        ranges: declared [low, high] of each real target, for a regression. Our `FederatedData`
            has them in its task, and labels that are scaled already.
        loss: of a regression, "mse" or "huber".

    Raises:
        DataError: the value has the wrong kind or shape.
    """

    grouped = False  # no site has a place for groups

    def __init__(
        self,
        value: object,
        *,
        name: str,
        num_classes: int | None = None,
        sites: Sequence[str] | None = None,
        channels: int | None = None,
        ranges: Sequence[Sequence[float]] | None = None,
        loss: str | None = None,
    ) -> None:
        self._name = name
        self._ranges = ranges
        self._loss = loss
        self._num_classes = num_classes
        self._declared_sites = None if sites is None else tuple(sites)
        self._members: Members = members_of(value, name, self._declared_sites)
        self._channels = channels

    # Not at once: what `require_declared` refuses must be refused before any record is looked at.
    @cached_property
    def _layout(self) -> Layout:
        task = self._members.task
        channels = task.image[0] if task is not None and task.image else self._channels
        return _layout_of(self._members.parts, self._name, channels)

    @cached_property
    def _label_count(self) -> int:
        # The parts have to have records, which the layout says best.
        _ = self._layout
        return _label_count_of(self._members.parts)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, as declared or as returned."""
        return self._declared_sites or tuple(self._members.train)

    @property
    def has_test(self) -> bool:
        """Whether test records were returned."""
        return self._members.test is not None or self._members.common_test is not None

    @cached_property
    def task(self) -> Task:
        """The task, declared or as the records show it."""
        returned = self._members.task
        task = self._regression()
        if task is None:
            task = self._classification(returned)
        if returned is not None and returned != task:
            raise DataError(f"{self._name} returned {returned}, and its records fit {task}")
        return task

    def _regression(self) -> Task | None:
        """The task of real targets, declared by the scenario or returned with the records."""
        returned = self._members.task
        ranges = self._ranges
        loss = self._loss
        if returned is not None and returned.regression:
            ranges = ranges or returned.targets
            loss = loss or ("huber" if returned.huber else None)
        return declared_regression(
            self._layout,
            ranges=ranges,
            loss=loss,
            num_classes=self._num_classes,
            labels=self._label_count,
            name=self._name,
        )

    def _classification(self, returned: Task | None) -> Task:
        """The task of classes, as declared, returned or shown by the records."""
        several = self._label_count > 1
        declared = [self._num_classes, self._label_count if several else None]
        if returned is not None:
            declared.append(returned.classes)
            several = returned.multilabel
        counts = {count for count in declared if count is not None}
        if len(counts) > 1:
            raise DataError(
                f"{self._name} returned records of {max(counts)} classes and of {min(counts)}: "
                "data.num_classes, the labels and the task do not agree"
            )
        classes = counts.pop() if counts else self._shown_classes()
        return Task(self._layout.features, classes, image=self._layout.image, multilabel=several)

    def _shown_classes(self) -> int:
        """The number of classes that the labels show."""
        # A record of a Dataset that is left out would shift the places of the others.
        self._refuse_faults()
        labels = {
            f"{part.name} labels": part.labels
            for part in self._members.parts
            if part.labels is not None
        }
        return count_classes(labels, self._name)

    def read(self, *, claim: bool) -> Records:
        """Returns all records, as `Source` says."""
        if claim:
            self.require_declared()
        else:
            self._refuse_faults()
        members = self._members
        train = self._split(members.train, claim)
        test = self._split(members.test, claim) if members.test is not None else None
        if members.common_test is not None:
            test = Split(self._examples(members.common_test, claim), None, None)
        return Records(self.task, self.sites, train, None, test)

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of the arrays and of the sites' names."""
        return digest_of(key, self._contents())

    def _contents(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        members = self._members
        kinds = {"train": members.train, "test": members.test or {}}
        for kind, parts in kinds.items():
            for site, part in parts.items():
                yield f"{kind} {site}", _bytes_of(part)
        if members.common_test is not None:
            yield "common test", _bytes_of(members.common_test)

    def require_declared(self) -> None:
        """Raises ScenarioError where a claim would rest on what only the records say."""
        claim = "a DP claim rests on declared constants, never on records"
        # One record more could outvote the others, or turn bytes of all images into decimals.
        for part in self._members.parts:
            if part.voted:
                raise ScenarioError(
                    f"{claim}: {part.name} records are a Dataset, where each has a form of its "
                    "own; return arrays (features, labels) of a form that you decide"
                )
        if self._declared_sites is None:
            raise ScenarioError(f"{claim}: declare data.sites, the names of the sites in order")
        known = self._members.task is not None or self._label_count > 1
        if self._num_classes is None and self._ranges is None and not known:
            raise ScenarioError(
                f"{claim}: declare data.num_classes, the number of classes, or data.ranges of real "
                "targets"
            )

    def _refuse_faults(self) -> None:
        """Raises DataError for a bad record of a Dataset, or a site that is not declared."""
        for part in self._members.parts:
            if part.fault is not None:
                raise DataError(part.fault)
        for site in self._members.train:
            if site not in self.sites:
                raise DataError(
                    f"{self._name} returned the site {site!r}, which is not in data.sites"
                )

    def _split(self, parts: dict[str, Part], claim: bool) -> Split:
        """Returns the records of all sites; a site without a part has none."""
        examples = []
        sites = []
        for index, site in enumerate(self.sites):
            part = parts.get(site, Part(self._name, None, None))
            examples.append(self._examples(part, claim))
            sites.append(torch.full((len(examples[-1]),), index))
        return Split(concatenate(examples), torch.cat(sites), None)

    def _examples(self, part: Part, claim: bool) -> Examples:
        task = self.task
        one_label = not (task.multilabel or task.regression)
        if part.features is None or part.labels is None:
            dtype = torch.uint8 if self._members.are_bytes else torch.float32
            features = torch.zeros(0, *self._layout.shape, dtype=dtype)
            width = () if one_label else (self._label_count,)
            labels_dtype = torch.float32 if task.regression else torch.int64
            return Examples(features, torch.zeros(0, *width, dtype=labels_dtype))
        labels = part.labels.reshape(-1) if one_label else part.labels
        scaled = self._members.task is not None
        raw = Raw(self._layout.values(part.features), labels, scaled=scaled)

        def where(kind: str, index: int) -> str:
            return f"{part.name} {kind}[{index}]"

        return cleaned(raw, task=task, sites=(), claim=claim, where=where).examples


def _layout_of(parts: list[Part], name: str, channels: int | None) -> Layout:
    """Returns the layout of all records; raises DataError where parts differ in it."""
    arrays = [(part.name, part.features) for part in parts if part.features is not None]
    if not arrays:
        faults = [part.fault for part in parts if part.fault is not None]
        raise DataError(faults[0] if faults else f"{name} returned no record")
    first_name, first = arrays[0]
    for other_name, other in arrays:
        kinds = [(array.shape[1:], array.dtype == np.uint8) for array in (first, other)]
        if kinds[0] != kinds[1]:
            raise DataError(
                f"{other_name} records have shape {other.shape[1:]} and type {other.dtype}, and "
                f"{first_name} records {first.shape[1:]} and {first.dtype}"
            )
    if first.ndim == 2:
        return numbers(first.shape, f"{first_name} features")
    if first.dtype != np.uint8 and first.dtype.kind != "f":
        raise DataError(f"{first_name} images have type {first.dtype}, not uint8 or float")
    return images_channels_first(first.shape, f"{first_name} features", channels=channels)


def _label_count_of(parts: list[Part]) -> int:
    """Returns the labels of a record; raises DataError where parts differ in it."""
    arrays = [(part.name, part.labels) for part in parts if part.labels is not None]
    counts = [labels.shape[1] if labels.ndim == 2 else 1 for _, labels in arrays]
    for (name, _), count in zip(arrays, counts, strict=True):
        if count != counts[0]:
            raise DataError(
                f"{name} records have {count} labels each, and {arrays[0][0]} records {counts[0]}"
            )
    return counts[0]


def _bytes_of(part: Part) -> Iterator[bytes]:
    """Yields types, shapes and values of a part, the same on every machine."""
    for array in (part.features, part.labels):
        if array is None:
            continue
        little_endian = array.dtype.newbyteorder("<")
        yield f"{array.dtype.name} {array.shape}\n".encode()
        for start in range(0, len(array), ROWS_PER_CHUNK):
            rows = array[start : start + ROWS_PER_CHUNK]
            yield np.ascontiguousarray(rows, dtype=little_endian).tobytes()
