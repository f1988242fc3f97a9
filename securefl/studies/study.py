"""Study: TOML -> a base scenario, axes, exclusions, overrides and baselines, checked as a whole."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.messages import sentences
from securefl.runs.results import COLUMNS
from securefl.runs.table import IN_UNITS_OF_TARGETS
from securefl.scenario import overrides as setting
from securefl.scenario.tables import Section, Seed
from securefl.studies.layout import Compare, Layout, Metric
from securefl.studies.levels import Keys, check_distinct, label_of, read_axis, read_zip, zip_name
from securefl.studies.sections import Baseline, Choice, Level, Override

MAX_SEEDS = 1000
DEFAULT_SEEDS = (0, 1, 2, 3, 4)
TABLES_OF_A_SCENARIO = {
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


def _seeds(value: object) -> object:
    """Reads a count as the seeds 0, 1, ... below it."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MAX_SEEDS:
        raise ValueError(f"takes a count from 1 to {MAX_SEEDS}, or a list of seeds")
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
        tuple[Seed, ...], Field(min_length=1, max_length=MAX_SEEDS), BeforeValidator(_seeds)
    ] = DEFAULT_SEEDS
    seed_keys: Annotated[tuple[str, ...], Field(min_length=1)] = ("seed", "data.split_seed")
    cell_limit: Annotated[float, Field(gt=0, le=1e7)] = 3600.0
    base: Keys = Field(default={})
    axes: dict[str, tuple[Level, ...]] = Field(default={})
    exclude: tuple[Keys, ...] = ()
    override: tuple[Override, ...] = ()
    baseline: tuple[Baseline, ...] = ()
    compare: Compare | None = None
    table: Layout = Layout()

    @model_validator(mode="before")
    @classmethod
    def _read_axes(cls, values: Any) -> Any:
        """Reads the written forms of `axes` and `zip` as levels."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        written = values.pop("axes", {})
        zipped = values.pop("zip", [])
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
        self._check_axes()
        check_distinct("seeds", self.seeds)
        for baseline in self.baseline:
            self.crossed(baseline)
        for chosen in self.exclude:
            self.choice(chosen, "exclude")
        for override in self.override:
            self._check_override(override)
        self._check_compare()
        self._check_layout()
        return self

    def _check_axes(self) -> None:
        """Levels of an axis differ, and its name is free for a column of results.csv."""
        # SQLite compares the names of columns without regard to case.
        taken = [name.lower() for name in COLUMNS]
        for name, levels in self.axes.items():
            check_distinct(f"axes.{name}", [level.label for level in levels])
        for name in self.axes:
            if name.lower() in taken:
                raise ValueError(
                    f"axes.{name}: results.csv has a column of this name already; "
                    "name the axis otherwise"
                )
            taken.append(name.lower())

    def _check_override(self, override: Override) -> None:
        self.choice(override.when, "override.when")
        for key, values in override.by_seed.items():
            if len(values) != len(self.seeds):
                raise ValueError(
                    f"override.by_seed: {key} has {len(values)} values for {len(self.seeds)} seeds"
                )

    def _check_compare(self) -> None:
        """The tables compare levels, baselines and axes that exist."""
        if self.compare is None:
            return
        self.choice(self.compare.reference, "compare.reference")
        baselines = {baseline.label for baseline in self.baseline}
        if self.compare.baseline is not None and self.compare.baseline not in baselines:
            raise ValueError(f"compare.baseline: there is no baseline {self.compare.baseline!r}")
        for axis in self.compare.question or ():
            self.labels(axis, "compare.question")

    def _check_layout(self) -> None:
        """Sections and columns are two axes that exist."""
        for axis in filter(None, (self.table.sections, self.table.columns)):
            self.labels(axis, "table")
        if self.table.sections is not None and self.table.sections == self.table.columns:
            raise ValueError(f"table: sections and columns cannot both be {self.table.columns!r}")
        if self.table.published and not {"accuracy", "auc"} & {*self.metrics}:
            raise ValueError("table.published shows accuracy and auc: add one to metrics")
        if self.table.heat_map and self.metrics[0] in IN_UNITS_OF_TARGETS:
            raise ValueError(
                f"table.heat_map colours shares, and {self.metrics[0]} is in the units of the "
                "targets: list another metric first, such as r2"
            )

    @property
    def question(self) -> tuple[str, ...]:
        """The axes whose levels make a question of their own."""
        if self.compare is not None and self.compare.question is not None:
            return self.compare.question
        return () if self.table.sections is None else (self.table.sections,)

    def crossed(self, baseline: Baseline) -> dict[str, tuple[Level, ...]]:
        """Returns axis -> the levels that a baseline is crossed with."""
        listed = {axis: levels for axis, levels in baseline.cross.items() if levels is not None}
        choice = self.choice(listed, "baseline.cross")
        crossed = {}
        for axis in baseline.cross:
            labels = choice.get(axis, self.labels(axis, "baseline.cross"))
            crossed[axis] = tuple(level for level in self.axes[axis] if level.label in labels)
        return crossed

    def labels(self, axis: str, place: str) -> list[str]:
        """Returns the labels of an axis. Raises ValueError where there is no such axis."""
        if axis not in self.axes:
            axes = ", ".join(self.axes) or "none"
            raise ValueError(f"{place}: there is no axis {axis!r}; axes: {axes}")
        return [level.label for level in self.axes[axis]]

    def choice(self, chosen: Mapping[str, object], place: str) -> Choice:
        """Reads one value or a list of values an axis as axis -> labels.

        Raises:
            ValueError: an axis or a level does not exist; `place` is where it was written.
        """
        if not chosen and place == "exclude":
            raise ValueError("exclude: an empty table would leave no cell")
        choice = {}
        for axis, values in chosen.items():
            existing = self.labels(axis, place)
            labels = [
                label_of(value) for value in (values if isinstance(values, list) else [values])
            ]
            for label in labels:
                if label not in existing:
                    raise ValueError(
                        f"{place}: axis {axis!r} has no level {label!r}; "
                        f"levels: {', '.join(existing)}"
                    )
            choice[axis] = tuple(labels)
        return choice


def load_study(path: Path, *, overrides: tuple[str, ...] = ()) -> tuple[Study, str]:
    """Returns the study in a TOML file and its text, with the overrides noted below.

    Args:
        path: the file.
        overrides: `key.path=value` for its base.

    Raises:
        ScenarioError: the file cannot be read, or is no study.
    """
    text = read_text(path)
    notes = "".join(f"\n# --set {override}" for override in overrides)
    study = parse_study(text, name=path.stem, folder=path.parent, overrides=overrides)
    return study, text + notes


def parse_study(
    text: str, *, name: str, folder: Path = Path(), overrides: tuple[str, ...] = ()
) -> Study:
    """Returns the study in TOML text.

    Args:
        text: its `base` is a scenario's tables, or the path of a scenario file, from folder.
        name: the study's, unless the text gives one.
        folder: where the text lies.
        overrides: `key.path=value` for its base.

    Raises:
        ScenarioError: the text is no study.
    """
    values = parse_toml(text, "the study")
    values["base"] = _base(values.get("base", {}), folder)
    # The likeliest slip: a scenario's tables at the top of a study, where pydantic would only say
    # that the keys are unknown.
    misplaced = sorted({*values} & TABLES_OF_A_SCENARIO)
    if misplaced:
        raise ScenarioError(
            f"{misplaced[0]!r} belongs to a scenario: put it under [base], "
            'or give base = "scenario.toml"'
        )
    for given in overrides:
        setting.override(values["base"], given)
    try:
        study = Study.model_validate({"name": name, **values})
    except ValidationError as reason:
        raise ScenarioError(sentences(reason, Study, "the study")) from None
    _check_effect(study, overrides)
    return study


def _base(written: object, folder: Path) -> Keys:
    """The tables of the base scenario, which may be a file of its own."""
    if isinstance(written, str):
        path = folder / written
        values = parse_toml(read_text(path, f"base: cannot read {path}"), written)
        return _from(path.parent, values)
    if not isinstance(written, dict):
        raise ScenarioError(
            f"base: takes a scenario's tables or the path of its file, got {written!r}"
        )
    return _from(folder, written)


def _from(folder: Path, values: Keys) -> Keys:
    """Returns a base scenario with the folder that its relative paths start from."""
    # Whoever wrote the text must not say that it came from a folder that is trusted.
    if "folder" in values:
        raise ScenarioError("base: folder is filled in: remove it, or pass --set folder=PATH")
    return {"folder": str(folder.absolute()), **values}


def _check_effect(study: Study, overrides: tuple[str, ...]) -> None:
    """Refuses an override of the base where the seeds or an axis set the key in every cell."""
    for path in (override.partition("=")[0].strip() for override in overrides):
        if path in study.seed_keys:
            raise ScenarioError(
                f"--set {path} has no effect: the seeds set it; change seeds in the study"
            )
        # An axis that sets the key on some levels only leaves the override its effect on others.
        for axis, levels in study.axes.items():
            if all(path in level.keys for level in levels):
                raise ScenarioError(
                    f"--set {path} has no effect: axis {axis!r} sets it in every cell"
                )
