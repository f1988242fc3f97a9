"""Study: TOML -> a base scenario, axes, exclusions, overrides and baselines, each checked."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from securefl.errors import ScenarioError
from securefl.runs.results import COLUMNS
from securefl.scenario import overrides as setting
from securefl.scenario.messages import sentences
from securefl.scenario.tables import Section, Seed
from securefl.studies.layout import Compare, Layout
from securefl.studies.levels import distinct, label_of, read_axis, read_zip, zip_name

Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "auc",
    "majority",
    "attack_success",
    "epsilon",
    "records",
    "rounds",
    "bytes_up",
]
MOST_SEEDS = 1000
_FIVE = (0, 1, 2, 3, 4)
_SCENARIO = {
    "data",
    "model",
    "training",
    "privacy",
    "channel",
    "defense",
    "attack",
    "server",
    "rounds",
    "seed",
}
Choice = Mapping[str, tuple[str, ...]]  # axis -> labels of levels


class Level(Section):
    """A value on an axis: how tables call it, and the scenario keys it sets."""

    label: str
    keys: dict[str, Any]


class Override(Section):
    """Keys that are set in every cell on the levels named in `when`.

    by_seed has lists, one value for each seed of the study in their order, such as a learning rate that was chosen for
    each split.
    """

    when: dict[str, Any]
    set: dict[str, Any] = Field(default={})
    by_seed: dict[str, list[Any]] = Field(default={})

    @model_validator(mode="after")
    def _sets_something(self) -> "Override":
        if not self.set and not self.by_seed:
            raise ValueError("sets nothing: give set or by_seed")
        return self


def _all_levels(value: object) -> object:
    """A list of axes as each with all its levels, which None stands for."""
    if isinstance(value, list | tuple) and all(isinstance(axis, str) for axis in value):
        return dict.fromkeys(value)
    return value


class Baseline(Section):
    """A row beside the grid.

    label: its name. set: keys it sets. cross: the axes it is crossed with, or a table of axes with some levels each.
    average: one key and its values; the row is the mean over them, weighted by test records.
    """

    label: Annotated[str, Field(min_length=1)]
    set: dict[str, Any] = Field(default={})
    cross: Annotated[dict[str, Any], BeforeValidator(_all_levels)] = Field(default={})
    average: dict[str, list[Any]] = Field(default={})

    @field_validator("average")
    @classmethod
    def _one_key_and_some_values(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if len(value) > 1 or any(not values for values in value.values()):
            raise ValueError("takes one key with at least one value")
        for values in value.values():
            distinct("average", [label_of(one) for one in values])
        return value


def _seeds(value: object) -> object:
    """A count as the seeds 0, 1, ... below it."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"takes a count from 1 to {MOST_SEEDS}, or a list of seeds")
    return tuple(range(value))


class Study(Section):
    """Many scenarios: every combination of levels, and the baselines, with every seed.

    Build it with `load_study` or `parse_study`, whose errors are one sentence each.
    """

    name: str
    title: str = ""
    notes: tuple[str, ...] = ()
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = (
        "accuracy",
        "balanced_accuracy",
        "auc",
    )
    seeds: Annotated[
        tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS), BeforeValidator(_seeds)
    ] = _FIVE
    seed_keys: Annotated[tuple[str, ...], Field(min_length=1)] = ("seed", "data.split_seed")
    cell_limit: Annotated[float, Field(gt=0, le=1e7)] = 3600.0
    base: dict[str, Any] = Field(default={})
    axes: dict[str, tuple[Level, ...]] = Field(default={})
    exclude: tuple[dict[str, Any], ...] = ()
    override: tuple[Override, ...] = ()
    baseline: tuple[Baseline, ...] = ()
    compare: Compare | None = None
    table: Layout = Layout()

    @model_validator(mode="before")
    @classmethod
    def _read_axes(cls, values: Any) -> Any:
        """Axes and zip in their written forms as levels."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        written, zipped = values.pop("axes", {}), values.pop("zip", [])
        if not isinstance(written, dict) or not isinstance(zipped, list):
            raise ValueError("axes is a table, and zip a list of tables")
        axes = {name: read_axis(name, levels) for name, levels in written.items()}
        for number, table in enumerate(zipped):
            axes[zip_name(number, table)] = read_zip(table)
        return {**values, "axes": axes}

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
            raise ValueError(
                "takes up to 64 letters, digits, '.', '_' and '-', since it names the run folder"
            )
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Study":
        for name, levels in self.axes.items():
            distinct(f"axes.{name}", [level.label for level in levels])
        taken = [name.lower() for name in COLUMNS]
        for name in self.axes:
            if taken.count(name.lower()) > 0:
                raise ValueError(
                    f"axes.{name}: results.csv has a column of this name already; name the axis otherwise"
                )
            taken.append(name.lower())
        distinct("seeds", list(self.seeds))
        for baseline in self.baseline:
            self.crossed(baseline)
        for chosen in self.exclude:
            self.choice(chosen, "exclude")
        for override in self.override:
            self.choice(override.when, "override.when")
            for key, values in override.by_seed.items():
                if len(values) != len(self.seeds):
                    raise ValueError(
                        f"override.by_seed: {key} has {len(values)} values for {len(self.seeds)} seeds"
                    )
        self._check_shown()
        return self

    def _check_shown(self) -> None:
        """What tables compare and how they are laid out names axes, labels and baselines that exist."""
        if self.compare is not None:
            self.choice(self.compare.reference, "compare.reference")
            if self.compare.baseline not in {None, *(one.label for one in self.baseline)}:
                raise ValueError(
                    f"compare.baseline: there is no baseline {self.compare.baseline!r}"
                )
            for axis_name in self.compare.question or ():
                self.labels(axis_name, "compare.question")
        for axis_name in filter(None, (self.table.sections, self.table.columns)):
            self.labels(axis_name, "table")
        if self.table.sections is not None and self.table.sections == self.table.columns:
            raise ValueError(f"table: sections and columns cannot both be {self.table.columns!r}")

    @property
    def question(self) -> tuple[str, ...]:
        """The axes whose levels make a question of their own."""
        if self.compare is not None and self.compare.question is not None:
            return self.compare.question
        return () if self.table.sections is None else (self.table.sections,)

    def crossed(self, baseline: Baseline) -> dict[str, tuple[Level, ...]]:
        """Axis -> the levels that a baseline is crossed with."""
        some = {axis: levels for axis, levels in baseline.cross.items() if levels is not None}
        chosen = self.choice(some, "baseline.cross")
        every = {axis: tuple(self.labels(axis, "baseline.cross")) for axis in baseline.cross}
        wanted = {**every, **chosen}
        return {
            axis: tuple(level for level in self.axes[axis] if level.label in labels)
            for axis, labels in wanted.items()
        }

    def labels(self, axis: str, place: str) -> list[str]:
        """The labels of an axis. Raises ValueError where there is none of this name."""
        if axis not in self.axes:
            raise ValueError(
                f"{place}: there is no axis {axis!r}; axes: {', '.join(self.axes) or 'none'}"
            )
        return [level.label for level in self.axes[axis]]

    def choice(self, chosen: Mapping[str, Any], place: str) -> Choice:
        """Axis -> labels, from one value or a list of them an axis. Raises ValueError for what does not exist."""
        if not chosen and place == "exclude":
            raise ValueError("exclude: an empty table would leave no cell")
        found = {}
        for axis, values in chosen.items():
            known = self.labels(axis, place)
            wanted = [
                label_of(value) for value in (values if isinstance(values, list) else [values])
            ]
            if strange := [label for label in wanted if label not in known]:
                raise ValueError(
                    f"{place}: axis {axis!r} has no level {strange[0]!r}; levels: {', '.join(known)}"
                )
            found[axis] = tuple(wanted)
        return found


def load_study(path: Path, *, overrides: tuple[str, ...] = ()) -> tuple[Study, str]:
    """The study in a TOML file, with `key.path=value` overrides of its base, and its text.

    Raises:
        ScenarioError: the file cannot be read, or is no study.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise ScenarioError(
            f"cannot read {path}: {getattr(reason, 'strerror', None) or 'not UTF-8 text'}"
        ) from None
    given = "".join(f"\n# --set {override}" for override in overrides)
    return parse_study(text, name=path.stem, folder=path.parent, overrides=overrides), text + given


def parse_study(
    text: str, *, name: str, folder: Path = Path(), overrides: tuple[str, ...] = ()
) -> Study:
    """The study in TOML text; `name` unless it has one of its own. Raises ScenarioError.

    `base` is a scenario's tables, or the path of a scenario file, from folder.
    """
    values = _toml(text, "the study")
    if isinstance(base := values.get("base"), str):
        try:
            values["base"] = _toml((folder / base).read_text(encoding="utf-8"), base)
        except (OSError, UnicodeDecodeError) as reason:
            told = getattr(reason, "strerror", None) or "not UTF-8 text"
            raise ScenarioError(f"base: cannot read {folder / base}: {told}") from None
    if not isinstance(values.setdefault("base", {}), dict):
        raise ScenarioError(
            f"base: takes a scenario's tables or the path of its file, got {values['base']!r}"
        )
    if strange := sorted({*values} & _SCENARIO):
        raise ScenarioError(
            f'{strange[0]!r} belongs to a scenario: put it under [base], or give base = "scenario.toml"'
        )
    for given in overrides:
        setting.override(values["base"], given)
    try:
        study = Study.model_validate({"name": name, **values})
    except ValidationError as reason:
        raise ScenarioError(sentences(reason, Study, "the study")) from None
    _check_effect(study, overrides)
    return study


def _check_effect(study: Study, overrides: tuple[str, ...]) -> None:
    """Refuse an override of the base that every cell sets anew."""
    for path in (given.partition("=")[0].strip() for given in overrides):
        if path in study.seed_keys:
            raise ScenarioError(
                f"--set {path} has no effect: the seeds set it; change seeds in the study"
            )
        for axis, levels in study.axes.items():
            if all(path in level.keys for level in levels):
                raise ScenarioError(
                    f"--set {path} has no effect: axis {axis!r} sets it in every cell"
                )


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as reason:
        raise ScenarioError(f"{what} is not valid TOML: {reason}") from None
