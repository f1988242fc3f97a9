"""Study: TOML -> a base scenario, axes, exclusions, overrides and baselines, each checked."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from securefl import overrides as setting
from securefl.errors import ScenarioError
from securefl.sections import Section, Seed
from securefl.wording import sentence

Keys = Mapping[str, Any]  # key.path -> value, as --set takes them
Choice = Mapping[str, tuple[str, ...]]  # axis -> labels of levels


class Level(Section):
    """A value on an axis: how tables call it, and the scenario keys it sets."""

    label: str
    keys: dict[str, Any]


class Override(Section):
    """Keys that are set in every cell on the levels named in `when`."""

    when: dict[str, Any]
    set: dict[str, Any] = Field(min_length=1)


def _all_levels(value: object) -> object:
    """A list of axes as each with all its levels, which None stands for."""
    return dict.fromkeys(value) if isinstance(value, list | tuple) else value


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
        return value


class Compare(Section):
    """Pairs to compare on equal seeds: the levels that name the reference; the other axes stay as they are."""

    reference: dict[str, str] = Field(default={})
    baseline: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Compare":
        if bool(self.reference) == (self.baseline is not None):
            raise ValueError("takes either reference (levels) or baseline (a label)")
        return self


class Layout(Section):
    """How tables are laid out: an axis with a section a level, and one whose levels stand side by side (one metric)."""

    sections: str | None = None
    columns: str | None = None


def _seeds(value: object) -> object:
    """A count as the seeds 0, 1, ... below it."""
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class Study(Section):
    """Many scenarios: every combination of levels, and the baselines, with every seed.

    Build it with `load_study` or `parse_study`, whose errors are one sentence each.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
    title: str = ""
    notes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy", "balanced_accuracy", "auc")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=1000), BeforeValidator(_seeds)] = (0, 1, 2, 3, 4)
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
        axes = {name: _axis(name, levels) for name, levels in written.items()}
        for number, table in enumerate(zipped):
            axes[_zip_name(number, table)] = _zipped(table)
        return {**values, "axes": axes}

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Study":
        for name, labels in [(name, [level.label for level in levels]) for name, levels in self.axes.items()]:
            _distinct(f"axes.{name}", labels)
        _distinct("seeds", list(self.seeds))
        for baseline in self.baseline:
            self.crossed(baseline)
        for chosen in self.exclude:
            self.choice(chosen, "exclude")
        for override in self.override:
            self.choice(override.when, "override.when")
        if self.compare is not None:
            self.choice(self.compare.reference, "compare.reference")
            if self.compare.baseline not in {None, *(one.label for one in self.baseline)}:
                raise ValueError(f"compare.baseline: there is no baseline {self.compare.baseline!r}")
        for axis_name in filter(None, (self.table.sections, self.table.columns)):
            self.labels(axis_name, "table")
        return self

    def crossed(self, baseline: Baseline) -> dict[str, tuple[Level, ...]]:
        """Axis -> the levels that a baseline is crossed with."""
        some = {axis: levels for axis, levels in baseline.cross.items() if levels is not None}
        chosen = self.choice(some, "baseline.cross")
        every = {axis: tuple(self.labels(axis, "baseline.cross")) for axis in baseline.cross}
        wanted = {**every, **chosen}
        return {
            axis: tuple(level for level in self.axes[axis] if level.label in labels) for axis, labels in wanted.items()
        }

    def labels(self, axis: str, place: str) -> list[str]:
        """The labels of an axis. Raises ValueError where there is none of this name."""
        if axis not in self.axes:
            raise ValueError(f"{place}: there is no axis {axis!r}; axes: {', '.join(self.axes) or 'none'}")
        return [level.label for level in self.axes[axis]]

    def choice(self, chosen: Mapping[str, Any], place: str) -> Choice:
        """Axis -> labels, from one value or a list of them an axis. Raises ValueError for what does not exist."""
        if not chosen and place == "exclude":
            raise ValueError("exclude: an empty table would leave no cell")
        found = {}
        for axis, values in chosen.items():
            known = self.labels(axis, place)
            wanted = [label_of(value) for value in (values if isinstance(values, list) else [values])]
            if strange := [label for label in wanted if label not in known]:
                raise ValueError(f"{place}: axis {axis!r} has no level {strange[0]!r}; levels: {', '.join(known)}")
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
        raise ScenarioError(f"cannot read {path}: {getattr(reason, 'strerror', None) or 'not UTF-8 text'}") from None
    given = "".join(f"\n# --set {override}" for override in overrides)
    return parse_study(text, name=path.stem, folder=path.parent, overrides=overrides), text + given


def parse_study(text: str, *, name: str, folder: Path = Path(), overrides: tuple[str, ...] = ()) -> Study:
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
    if overrides:
        setting.override(values.setdefault("base", {}), overrides)
    try:
        return Study.model_validate({"name": name, **values})
    except ValidationError as reason:
        raise ScenarioError(sentence(reason, Study, "the study")) from None


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise ScenarioError(f"{what} is not valid TOML: {reason}") from None


def label_of(value: object) -> str:
    """How a table calls a value: words and numbers as they are, a name with its parameters, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | dict):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, dict):
        rest = [f"{key}={label_of(inner)}" for key, inner in value.items() if key not in ("name", "kind")]
        first = [str(value[key]) for key in ("name", "kind") if key in value]
        return " ".join([*first, *rest])
    return f"{value:g}"


def _axis(name: str, written: object) -> list[dict[str, Any]]:
    """A list of values of the key that the axis is named after, or a table of labels with the keys each sets."""
    if isinstance(written, list):
        found = [{"label": label_of(value), "keys": {name: value}} for value in written]
    elif isinstance(written, dict):
        for label, keys in written.items():
            if not isinstance(keys, dict):
                raise ValueError(f"axes.{name}.{label}: a level is a table of scenario keys, got {keys!r}")
        found = [{"label": label, "keys": keys} for label, keys in written.items()]
    else:
        raise ValueError(f"axes.{name}: takes a list of values or a table of named levels, got {written!r}")
    if not found:
        raise ValueError(f"axes.{name}: the axis is empty")
    return found


def _zip_name(number: int, table: object) -> str:
    if not isinstance(table, dict) or not table:
        raise ValueError(f"zip.{number}: takes a table of keys, each with a list of values, got {table!r}")
    return " & ".join(table)


def _zipped(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Keys that move together: the first values of all, the second values of all, ..."""
    for key, values in table.items():
        if not isinstance(values, list):
            raise ValueError(f"zip: {key} takes a list of values, got {values!r}")
        if not values:
            raise ValueError(f"zip: {key} is empty")
    sizes = {key: len(values) for key, values in table.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{key} has {size}" for key, size in sizes.items())
        raise ValueError(f"zip: the lists must be of one length; {told}")
    return [
        {"label": " & ".join(map(label_of, values)), "keys": dict(zip(table, values, strict=True))}
        for values in zip(*table.values(), strict=True)
    ]


def _distinct(place: str, values: list[Any]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{place}: {value!r} is there twice")
