"""The schema of a table: TOML -> what every column means, declared before any record is read.

    label = { column = "num", classes = [["0"], ["1", "2", "3", "4"]] }
    site = "hospital"
    sites = ["cleveland", "hungarian"]
    columns = [
      { name = "age", range = [20, 90], missing = { constant = 55 } },
      { name = "sex", binary = true, missing = "drop" },
      { name = "cp", levels = ["1", "2", "3", "4"], other = true, missing = "indicator" },
    ]

Instead of a label, a regression has targets = [{ column = "days", range = [0, 40] }], one or
several, and may have loss = "huber". Columns become features in this order. A privacy claim rests
on the constants here: ranges, levels, classes and sites must be public, never read from the
records.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from securefl.data.own.spelling import declared
from securefl.data.task import Task

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
MIN_CLASSES = 2
BINARY_LEVELS = {
    **{"0": 0, "false": 0, "False": 0, "FALSE": 0},
    **{"1": 1, "true": 1, "True": 1, "TRUE": 1},
}


class Section(BaseModel):
    """A table of the schema; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{value!r} is there twice")
    return values


def _listed_classes(value: object) -> object:
    """Returns a table of classes; those of a list are named by their numbers."""
    if isinstance(value, list | dict) and len(value) < MIN_CLASSES:
        raise ValueError("a label needs two classes or more")
    if isinstance(value, list):
        return {str(number): values for number, values in enumerate(value)}
    return value


def _missing(value: object) -> object:
    """Returns "drop", "indicator", or the constant of { constant = x }."""
    if value in ("drop", "indicator"):
        return value
    if isinstance(value, dict) and set(value) == {"constant"}:
        return Constant(constant=declared(value["constant"]))
    raise ValueError('input should be "drop", "indicator" or { constant = x }')


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"a range goes from low to high, as in [{high:g}, {low:g}]")
    return limits


Value = Annotated[str, BeforeValidator(declared)]
Values = Annotated[tuple[Value, ...], Field(min_length=1), AfterValidator(_distinct)]
Limit = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Range = Annotated[tuple[Limit, Limit], AfterValidator(_rising)]
Splits = Annotated[tuple[SplitName, ...], AfterValidator(_distinct)]


class Constant(Section):
    """A value that stands for a missing one, in the column's own units."""

    constant: Value


class Label(Section):
    """The column to be predicted.

    classes says which of its values make each class: a list of lists, or a table of named lists.
    """

    column: str
    classes: Annotated[dict[str, Values], BeforeValidator(_listed_classes)]

    @model_validator(mode="after")
    def _classes_are_disjoint(self) -> "Label":
        values = [value for members in self.classes.values() for value in members]
        _distinct(tuple(values))
        return self

    @property
    def codes(self) -> Mapping[str, int]:
        """The class of each value."""
        return {
            value: number for number, values in enumerate(self.classes.values()) for value in values
        }


class Target(Section):
    """A column of real numbers to be predicted.

    range is public: its ends become -1 and 1, and values outside are clamped. A record without a
    value is refused, or, where a run claims privacy, left out.
    """

    column: str
    range: Range


class Column(Section):
    """A column that becomes features; exactly one of range, binary and levels says how.

    range is public: its ends become -1 and 1, and values outside are clamped. binary is for 0 and
    1, or false and true. levels become one feature each, which is 1 where the record has the level;
    with `other`, one more feature is 1 where it has a value that is no level.

    missing says what becomes of a missing value. "drop" leaves the record out. { constant = x } is
    a value in its place. "indicator" adds a feature that is 1 where the value is missing, and makes
    the other features of the column 0. Without it a missing value is refused, or, where a run
    claims privacy, the record is left out.
    """

    name: str
    range: Range | None = None
    binary: Literal[True] | None = None
    levels: Values | None = None
    other: Literal[True] | None = None
    missing: Annotated[
        Literal["drop", "indicator"] | Constant | None, BeforeValidator(_missing)
    ] = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Column":
        kinds = [self.range, self.binary, self.levels]
        if kinds.count(None) != 2:
            raise ValueError(f"{self.name!r} needs one of range, binary = true, and levels")
        if self.other and self.levels is None:
            raise ValueError(f"{self.name!r} has no levels, so it takes no other")
        if isinstance(self.missing, Constant):
            self._check_constant(self.missing.constant)
        return self

    def _check_constant(self, constant: str) -> None:
        """Raises ValueError where a record could not hold the constant."""
        if self.range is not None:
            low, high = self.range
            try:
                is_possible = low <= float(constant) <= high
            except ValueError:
                is_possible = False
        else:
            is_possible = constant in (self.levels or BINARY_LEVELS)
        if not is_possible:
            raise ValueError(f"{self.name!r} cannot hold its constant {constant!r}")

    @property
    def value_features(self) -> int:
        """Number of features without the indicator's."""
        if self.levels is None:
            return 1
        return len(self.levels) + bool(self.other)

    @property
    def features(self) -> int:
        """Number of features in all."""
        return self.value_features + (self.missing == "indicator")


class Schema(Section):
    """What a table's columns mean.

    label is the class to be predicted, or targets are the real numbers. loss is that of targets.

    site is the column with a record's site, and sites are their names, in the order of the clients.
    Where each site has a file of its own, its name is the file's, and sites may be left out.

    split is a column that says "train", "validation" or "test" for each record; splits are those of
    the three words that it uses. group is a column whose records belong together, such as the
    patient.
    """

    label: Label | None = None
    targets: tuple[Target, ...] = ()
    loss: Literal["mse", "huber"] | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    site: str | None = None
    sites: Values | None = None
    group: str | None = None
    split: str | None = None
    splits: Splits = SPLITS

    @model_validator(mode="after")
    def _columns_have_one_part_each(self) -> "Schema":
        if (self.label is None) is not bool(self.targets):
            raise ValueError("give a label with classes, or targets with ranges, and not both")
        if self.loss is not None and not self.targets:
            raise ValueError("loss has no effect without targets; remove it")
        if self.site is not None and self.sites is None:
            raise ValueError(f"site column {self.site!r} needs its values: sites = [...]")
        if "train" not in self.splits:
            raise ValueError('splits need "train"')
        for name, count in Counter(self.names).items():
            if count > 1:
                raise ValueError(f"column {name!r} has two parts in the schema; a column has one")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that a file must have; names of features come first."""
        label = None if self.label is None else self.label.column
        others = [label, self.site, self.group, self.split]
        return (
            *(column.name for column in self.columns),
            *(target.column for target in self.targets),
            *(name for name in others if name is not None),
        )

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """The columns that hold numbers with a range."""
        features = [column.name for column in self.columns if column.range is not None]
        return (*features, *(target.column for target in self.targets))

    @property
    def task(self) -> Task:
        """The task, which follows from declared constants alone."""
        features = sum(column.features for column in self.columns)
        if self.label is not None:
            return Task(features=features, classes=len(self.label.classes))
        ranges = tuple(target.range for target in self.targets)
        return Task(features=features, targets=ranges, huber=self.loss == "huber")
