"""The tables of a study's file: levels of axes, overrides and baselines, each checked by itself."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from securefl.scenario.tables import Section
from securefl.studies.levels import Keys, check_distinct, label_of

Choice = Mapping[str, tuple[str, ...]]  # axis -> labels of levels


class Level(Section):
    """A value on an axis: its label in tables, and the scenario keys that it sets."""

    label: str
    keys: Keys


class Override(Section):
    """Keys that are set in every cell on the levels named in `when`.

    Attributes:
        when: axis -> a level or a list of levels.
        set: the keys.
        by_seed: key -> one value for each seed of the study, in their order, such as a learning
            rate that was tuned for each split.
        long: whether these cells take hours, so that they run only where that is asked for.
    """

    when: Keys
    set: Keys = Field(default={})
    by_seed: dict[str, list[Any]] = Field(default={})
    long: bool = False

    @model_validator(mode="after")
    def _sets_something(self) -> "Override":
        if not self.set and not self.by_seed and not self.long:
            raise ValueError("sets nothing: give set or by_seed, or long = true")
        return self


def _with_all_levels(value: object) -> object:
    """Reads a list of axes as axes with all their levels, which None means."""
    if isinstance(value, list | tuple) and all(isinstance(axis, str) for axis in value):
        return dict.fromkeys(value)
    return value


class Baseline(Section):
    """A row next to the grid.

    Attributes:
        label: its name.
        set: the keys that it sets.
        cross: the axes that it is crossed with, or a table of axes with some levels each.
        average: one key and its values; the row is the mean over them, weighted by test records.
        long: whether its cells take hours, so that they run only where that is asked for.
    """

    label: Annotated[str, Field(min_length=1)]
    set: Keys = Field(default={})
    cross: Annotated[Keys, BeforeValidator(_with_all_levels)] = Field(default={})
    average: dict[str, list[Any]] = Field(default={})
    long: bool = False

    @field_validator("average")
    @classmethod
    def _one_key_and_some_values(cls, average: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if len(average) > 1 or any(not values for values in average.values()):
            raise ValueError("takes one key with at least one value")
        for values in average.values():
            check_distinct("average", [label_of(value) for value in values])
        return average
