"""The columns of a table's schema: what each declares, and the words and ranges of its values."""

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

from securefl.data.own.spelling import BINARY_LEVELS, declared
from securefl.data.own.units import Measured

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
MIN_CLASSES = 2


class Section(BaseModel):
    """A table of a schema or a crosswalk; unknown keys are refused."""

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


class SeveralLabel(Section):
    """One of several labels that a record may have: 1 where it has it, and 0 where it has not.

    positive and negative are the words for that; without them, 0 and 1, or false and true.
    """

    column: str
    positive: Values | None = None
    negative: Values | None = None

    @model_validator(mode="after")
    def _words_are_disjoint(self) -> "SeveralLabel":
        if (self.positive is None) is not (self.negative is None):
            raise ValueError("give the words of positive and of negative, or none of them")
        _distinct((*(self.positive or ()), *(self.negative or ())))
        return self

    @property
    def codes(self) -> Mapping[str, int]:
        """0 or 1 for each word."""
        if self.positive is None or self.negative is None:
            return BINARY_LEVELS
        return {**dict.fromkeys(self.negative, 0), **dict.fromkeys(self.positive, 1)}


class Target(Measured):
    """A column of real numbers to be predicted.

    range is public: its ends become -1 and 1, and values outside are clamped. A record without a
    value is refused, or, where a run claims privacy, left out.
    """

    column: str
    range: Range


class Column(Measured):
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
        if self.unit is not None and self.range is None:
            raise ValueError(f"{self.name!r} has no range of numbers, so it takes no unit")
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
