"""The schema of arrays: what an .npz file of every site holds, declared before any is read.

    images = [28, 28]
    values = "bytes"
    num_classes = 2
    sites = ["bern", "chur", "sion"]
    splits = ["train", "test"]

Rows of numbers have `features = 13` in the place of images and values. Records that may have
several labels have `labels = 14` in the place of num_classes, and real targets have `ranges`.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from securefl.data.npz import Header
from securefl.data.own.columns import Range, Section, Splits, Values
from securefl.data.own.layout import Layout, images_channels_last, numbers
from securefl.data.task import Task
from securefl.errors import DataError

# The word of an .npz file for each split.
WORDS = {"train": "train", "validation": "val", "test": "test"}
_DECLARES = "and the schema declares"

_Side = Annotated[int, Field(ge=1, le=2**16, strict=True)]
_Classes = Annotated[int, Field(ge=2, le=10_000, strict=True)]


class ArraySchema(Section):
    """What the arrays of every site are.

    images is the shape of one record in the file: [h, w], [h, w, c], [d, h, w] or [d, h, w, c].
    values says whether they are bytes, which are scaled, or decimals, which stay as they are.
    channels settles whether a last axis of 1, 3 or 4 is one. features is for rows of numbers.

    A record has one class of num_classes, or any of so many labels, or real targets with ranges.
    loss is that of targets.

    sites are their names, in the order of the clients. splits are those that every file has, and
    groups says whether records bear some, such as patients.
    """

    images: Annotated[tuple[_Side, ...], Field(min_length=2, max_length=4)] | None = None
    values: Literal["bytes", "decimals"] | None = None
    channels: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    features: Annotated[int, Field(ge=1, strict=True)] | None = None
    num_classes: _Classes | None = None
    labels: _Classes | None = None
    ranges: Annotated[tuple[Range, ...], Field(min_length=1)] | None = None
    loss: Literal["mse", "huber"] | None = None
    sites: Values | None = None
    splits: Splits = ("train",)
    groups: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _fits_together(self) -> "ArraySchema":
        if (self.images is None) is (self.features is None):
            raise ValueError("give images with their values, or features, and not both")
        if (self.images is None) is not (self.values is None):
            raise ValueError('values = "bytes" or "decimals" goes with images')
        if self.channels is not None and self.images is None:
            raise ValueError("channels has no effect without images; remove it")
        if [self.num_classes, self.labels, self.ranges].count(None) != 2:
            raise ValueError("give one of num_classes, labels and ranges")
        if self.loss is not None and self.ranges is None:
            raise ValueError("loss has no effect without ranges; remove it")
        if "train" not in self.splits:
            raise ValueError('splits need "train"')
        try:
            _ = self.layout
        except DataError as reason:
            raise ValueError(str(reason)) from None
        return self

    @property
    def layout(self) -> Layout:
        """How the arrays hold records. Raises DataError: images are in no known order."""
        if self.images is None:
            return numbers((1, self.features or 0), "features")
        return images_channels_last((1, *self.images), "images", channels=self.channels)

    @property
    def task(self) -> Task:
        """The task, which follows from declared constants alone."""
        layout = self.layout
        if self.ranges is not None:
            return Task(
                layout.features,
                image=layout.image,
                targets=self.ranges,
                huber=self.loss == "huber",
            )
        classes = self.labels or self.num_classes or 0
        several = self.labels is not None
        return Task(layout.features, classes, image=layout.image, multilabel=several)

    @property
    def width(self) -> int:
        """Labels of a record."""
        return self.labels or len(self.ranges or (0,))

    def check_headers(self, headers: dict[str, Header], path: str) -> None:
        """Refuses a file of another form; no record is read.

        Args:
            headers: of a file whose arrays fit together.
            path: of the file, for a refusal.

        Raises:
            DataError: the file differs from the schema; the sentence names the array.
        """
        kind = "features" if self.images is None else "images"
        for split, word in WORDS.items():
            key = f"{word}_{kind}"
            if split not in self.splits and key in headers:
                raise DataError(f"{path} has {key}, {_DECLARES} no {split} records")
            if split in self.splits:
                self._check_split(headers, path, word, kind)
        if not self.groups and "train_groups" in headers:
            raise DataError(f"{path} has train_groups, {_DECLARES} no groups")

    def _check_split(self, headers: dict[str, Header], path: str, word: str, kind: str) -> None:
        """Refuses the arrays of a split that are missing, or have another shape or type."""
        for part in (kind, "labels", *(["groups"] if self.groups else [])):
            if f"{word}_{part}" not in headers:
                raise DataError(f"{path} has no {word}_{part}, {_DECLARES} it")
        records = headers[f"{word}_{kind}"]
        shape = self.images or (self.features,)
        if records.shape[1:] != shape:
            raise DataError(
                f"{path}: {word}_{kind} has records {records.shape[1:]}, {_DECLARES} {shape}"
            )
        is_bytes = records.dtype.kind == "u" and records.dtype.itemsize == 1
        if self.images is not None and is_bytes is not (self.values == "bytes"):
            raise DataError(
                f"{path}: {word}_{kind} has type {records.dtype}, {_DECLARES} {self.values}"
            )
        labels = headers[f"{word}_labels"]
        width = labels.shape[1] if len(labels.shape) == 2 else 1
        if width != self.width:
            raise DataError(
                f"{path}: {word}_labels has {width} labels a record, {_DECLARES} {self.width}"
            )
