"""Records in one .npz file, in the layout that MedMNIST made usual.

`train_images` and `train_labels`, and optionally `val_*` and `test_*`; or `train_features`
(n, features). `*_sites` name each record's site, `*_groups` its patient. Images are (n, h, w) or
(n, h, w, channels), volumes (n, d, h, w) or (n, d, h, w, channels); `layout` says how the two are
told apart. Labels are (n,) or (n, 1) whole numbers from 0, or (n, classes) of 0 and 1 where a
record may have several; or (n,) or (n, targets) numbers where `ranges` declares real targets.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from securefl.data import npz
from securefl.data.npz import Header
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.clean import Raw, cleaned, count_classes, site_names
from securefl.data.own.digest import digest_of
from securefl.data.own.layout import Layout, images_channels_last, numbers
from securefl.data.own.records import Records, Split
from securefl.data.own.targets import declared_regression
from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError

SPLITS = ("train", "val", "test")
RECORDS = ("images", "features")
COLUMNS = ("sites", "groups")
PARTS = (*RECORDS, "labels", *COLUMNS)
KEYS = tuple(f"{split}_{part}" for split in SPLITS for part in PARTS)
# numpy's letters for bytes, whole numbers, decimals and text.
NUMBERS = "buif"
NAMES = "iuSU"
# A key that is this similar to one of ours is a misspelt one.
NEAR = 0.8

_Arrays = dict[str, NDArray[Any]]


class _Plan(NamedTuple):
    """What the headers of a file say.

    Attributes:
        headers: of the arrays that are used.
        splits: that the file has, "train" first.
        kind: "images" or "features".
        layout: of a record.
        labels: of a record; 1, or the number of classes where a record may have several, or the
            number of real targets.
    """

    headers: dict[str, Header]
    splits: tuple[str, ...]
    kind: str
    layout: Layout
    labels: int


class Arrays:
    """An .npz file of somebody's records.

    Args:
        path: of the file.
        num_classes: declared number of classes; a DP claim needs it unless labels are several.
        sites: declared names of the sites, in order; a DP claim needs them where records bear
            sites. A site with a number has its decimal digits as a name.
        channels: declared channels of an image; settles whether a last axis of 1, 3 or 4 is one.
        ranges: declared [low, high] of each real target, for a regression.
        loss: of a regression, "mse" or "huber".
        schema: what the file has to be; the other keys are its.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_classes: int | None = None,
        sites: Sequence[str] | None = None,
        channels: int | None = None,
        ranges: Sequence[Sequence[float]] | None = None,
        loss: str | None = None,
        schema: ArraySchema | None = None,
    ) -> None:
        self._path = path
        self._num_classes = num_classes
        self._declared_sites = None if sites is None else tuple(sites)
        self._channels = channels
        self._ranges = ranges
        self._loss = loss
        self._schema = schema

    @cached_property
    def task(self) -> Task:
        """The task; where `num_classes` is not declared, the labels of all splits are read."""
        plan = self._plan
        if self._schema is not None:
            return self._schema.task
        regression = declared_regression(
            plan.layout,
            ranges=self._ranges,
            loss=self._loss,
            num_classes=self._num_classes,
            labels=plan.labels,
            name=str(self._path),
        )
        if regression is not None:
            return regression
        several = plan.labels > 1
        if several and self._num_classes not in (None, plan.labels):
            raise ScenarioError(
                f"data.num_classes is {self._num_classes}, and the records of {self._path} have "
                f"{plan.labels} labels each"
            )
        classes = plan.labels if several else self._num_classes
        if classes is None:
            keys = [f"{split}_labels" for split in plan.splits]
            labels = npz.arrays(self._path, keys)
            places = {f"{self._path}: {key}": values for key, values in labels.items()}
            classes = count_classes(places, str(self._path))
        layout = plan.layout
        return Task(layout.features, classes, image=layout.image, multilabel=several)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites; where they are not declared, the names in the file, sorted."""
        keys = [f"{split}_sites" for split in self._plan.splits]
        columns = [key for key in keys if key in self._plan.headers]
        if self._declared_sites is None:
            return site_names(npz.arrays(self._path, columns).values(), str(self._path))
        if not columns:
            key = "data.sites" if self._schema is None else "sites of data.schema"
            raise ScenarioError(f"{key} has no effect: {self._path} has no train_sites; remove it")
        return self._declared_sites

    @property
    def has_test(self) -> bool:
        """Whether the file has test arrays."""
        return "test" in self._plan.splits

    @property
    def grouped(self) -> bool:
        """Whether the file has groups."""
        return "train_groups" in self._plan.headers

    def read(self, *, claim: bool) -> Records:
        """Returns all records of the file, as `Source` says."""
        if claim:
            self.require_declared()
        task = self.task
        sites = self.sites
        arrays = npz.arrays(self._path, self._plan.headers)
        splits = {
            split: self._split(split, arrays, task, sites, claim) for split in self._plan.splits
        }
        return Records(task, sites, splits["train"], splits.get("val"), splits.get("test"))

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of the arrays that are used, however the file packs them."""
        names = sorted(self._plan.headers)
        return digest_of(key, ((name, npz.chunks(self._path, name)) for name in names))

    @cached_property
    def _plan(self) -> _Plan:
        headers = npz.headers(self._path)
        plan = _plan_of(headers, self._path, self._channels)
        if self._schema is not None:
            self._schema.check_headers(headers, str(self._path))
        return plan

    def check_form(self) -> None:
        """Checks the headers of the arrays; reads no record. Raises DataError."""
        _ = self._plan

    def require_declared(self) -> None:
        """Raises ScenarioError where a claim would rest on what only the records say."""
        claim = "a DP claim rests on declared constants, never on records"
        if self._num_classes is None and self._ranges is None and self._plan.labels == 1:
            raise ScenarioError(
                f"{claim}: declare data.num_classes, the number of classes, or data.ranges of real "
                "targets"
            )
        if self._declared_sites is None and "train_sites" in self._plan.headers:
            raise ScenarioError(f"{claim}: declare data.sites, the names of the sites in order")

    def _split(
        self, split: str, arrays: _Arrays, task: Task, sites: tuple[str, ...], claim: bool
    ) -> Split:
        labels = arrays[f"{split}_labels"]
        raw = Raw(
            self._plan.layout.values(arrays.pop(f"{split}_{self._plan.kind}")),
            labels if task.multilabel or task.regression else labels.reshape(-1),
            arrays.get(f"{split}_sites"),
            arrays.get(f"{split}_groups"),
        )

        def where(part: str, index: int) -> str:
            name = self._plan.kind if part == "features" else part
            return f"{self._path}: {split}_{name}[{index}]"

        return cleaned(raw, task=task, sites=sites, claim=claim, where=where)


def _plan_of(headers: dict[str, Header], path: Path, channels: int | None) -> _Plan:
    """Returns what the headers say, or raises DataError where they do not fit together."""
    _refuse_misspelt(headers, path)
    kinds = [kind for kind in RECORDS if f"train_{kind}" in headers]
    if len(kinds) != 1:
        raise DataError(
            f"{path} needs train_images or train_features, and one of them only; it has "
            f"{', '.join(sorted(headers)) or 'no array'}"
        )
    kind = kinds[0]
    splits = tuple(split for split in SPLITS if any(f"{split}_{part}" in headers for part in PARTS))
    for split in splits:
        _check_split(headers, path, split, kind)
    name = f"{path}: train_{kind}"
    shape = headers[f"train_{kind}"].shape
    if kind == "features":
        layout = numbers(shape, name)
    else:
        layout = images_channels_last(shape, name, channels=channels)
    labels_shape = headers["train_labels"].shape
    labels = labels_shape[1] if len(labels_shape) == 2 else 1
    used = {key: header for key, header in headers.items() if key in KEYS}
    return _Plan(used, splits, kind, layout, labels)


def _refuse_misspelt(headers: dict[str, Header], path: Path) -> None:
    """Raises DataError for a key that looks like one of the layout; other keys are ignored."""
    for key in sorted(headers.keys() - set(KEYS)):
        for near in get_close_matches(key, KEYS, n=1, cutoff=NEAR):
            raise DataError(f"{path}: {key} is no key of this layout; did you mean {near}?")


def _check_split(headers: dict[str, Header], path: Path, split: str, kind: str) -> None:
    """Checks the arrays of one split against each other and against the training records."""
    for part in (kind, "labels"):
        if f"{split}_{part}" not in headers:
            raise DataError(f"{path} has no {split}_{part}")
    for part in COLUMNS:
        if f"{split}_{part}" in headers and f"train_{part}" not in headers:
            raise DataError(f"{path} has {split}_{part} and no train_{part}")
    records = headers[f"{split}_{kind}"]
    train = headers[f"train_{kind}"]
    _check_types(headers, path, split, kind)
    if (records.shape[1:], _is_bytes(records)) != (train.shape[1:], _is_bytes(train)):
        raise DataError(
            f"{path}: {split}_{kind} has records {records.shape[1:]} of {records.dtype}, and "
            f"train_{kind} {train.shape[1:]} of {train.dtype}"
        )
    for part in ("labels", *COLUMNS):
        header = headers.get(f"{split}_{part}")
        if header is not None and header.shape[:1] != records.shape[:1]:
            raise DataError(
                f"{path}: {split}_{part} has shape {header.shape}, and {split}_{kind} has "
                f"{records.shape[0] if records.shape else 'no'} records"
            )
    _check_columns(headers, path, split)


def _check_types(headers: dict[str, Header], path: Path, split: str, kind: str) -> None:
    """Checks that records and labels are numbers, and that columns are names."""
    for part in (kind, "labels", *COLUMNS):
        key = f"{split}_{part}"
        if key not in headers:
            continue
        allowed = NAMES if part in COLUMNS else NUMBERS
        dtype = headers[key].dtype
        is_byte_or_float = dtype.kind == "f" or _is_bytes(headers[key])
        if dtype.kind not in allowed or (part == "images" and not is_byte_or_float):
            expected = {
                "images": "uint8 or float",
                "sites": "text or whole numbers",
                "groups": "text or whole numbers",
            }
            raise DataError(f"{path}: {key} has type {dtype}, not {expected.get(part, 'numbers')}")


def _check_columns(headers: dict[str, Header], path: Path, split: str) -> None:
    """Checks the shapes of labels, sites and groups."""
    shape = headers[f"{split}_labels"].shape
    width = headers["train_labels"].shape[1:]
    if len(shape) > 2 or 0 in shape[1:] or shape[1:] != width:
        raise DataError(
            f"{path}: {split}_labels has shape {shape}, not (records,), or (records, labels) with "
            "as many labels as train_labels"
        )
    for part in COLUMNS:
        header = headers.get(f"{split}_{part}")
        if header is not None and len(header.shape) != 1:
            raise DataError(f"{path}: {split}_{part} has shape {header.shape}, not (records,)")


def _is_bytes(header: Header) -> bool:
    return header.dtype.kind == "u" and header.dtype.itemsize == 1
