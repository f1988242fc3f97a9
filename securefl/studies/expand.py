"""From a study to its cells: every combination of levels, and the baselines, with every seed."""

import copy
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from securefl.errors import ScenarioError
from securefl.privacy.remember import Remember
from securefl.scenario.overrides import place
from securefl.studies.levels import label_of, told_value
from securefl.studies.study import Baseline, Choice, Level, Study

MOST_CELLS = 100_000


@dataclass(frozen=True)
class Planned:
    """A cell to run: the row it belongs to, its seed, its part of the row, and the resolved scenario."""

    row: str
    levels: Mapping[str, str]
    seed: int
    part: str
    scenario: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A combination of levels, or a baseline on some of them."""

    levels: Mapping[str, Level]
    baseline: Baseline | None
    study: str

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.named()

    @property
    def labels(self) -> dict[str, str]:
        """Axis -> label of the level."""
        return {axis: level.label for axis, level in self.levels.items()}

    def named(self, *, without: tuple[str | None, ...] = ()) -> str:
        """The label, some axes left out."""
        levels = ", ".join(
            told_value(axis, level.label)
            for axis, level in self.levels.items()
            if axis not in without
        )
        if self.baseline is None:
            return levels or self.study
        return f"{self.baseline.label} ({levels})" if levels else self.baseline.label

    def is_on(self, chosen: Choice) -> bool:
        """Whether it lies on one of the chosen levels of every axis named."""
        return all(
            axis in self.levels and self.levels[axis].label in labels
            for axis, labels in chosen.items()
        )


def expand(study: Study, *, remember: Remember) -> tuple[Planned, ...]:
    """Every cell of the study, rows in the order of the axes, then the baselines; each scenario checked.

    Args:
        study: checked by itself.
        remember: finds the cells of a study that was checked before under the same code.

    Raises:
        ScenarioError: a cell is no valid scenario, an exclusion or override meets no cell, or there are too many.
    """
    _bounded(study)
    _apart(study)
    labels = Counter(row.label for row in rows(study))
    if not labels:
        raise ScenarioError("the study has no cell: everything is excluded")
    label, count = labels.most_common(1)[0]
    if count > 1:
        raise ScenarioError(f"two rows would be called {label!r}; name the levels apart")
    written = json.dumps(study.model_dump(mode="json"))  # the order of axes and keys counts
    found = remember(
        "studies", {"study": written}, lambda: [vars(planned) for planned in _expanded(study)]
    )
    return tuple(Planned(**planned) for planned in found)


def rows(study: Study) -> Iterator[Row]:
    """Every row, exclusions left out. Raises ScenarioError where an exclusion excludes nothing."""
    excluded = [study.choice(chosen, "exclude") for chosen in study.exclude]
    hits = [0] * len(excluded)
    for levels in itertools.product(*study.axes.values()):
        row = Row(dict(zip(study.axes, levels, strict=True)), None, study.name)
        matching = [number for number, chosen in enumerate(excluded) if row.is_on(chosen)]
        for number in matching:
            hits[number] += 1
        if not matching:
            yield row
    if 0 in hits:
        raise ScenarioError(f"exclude: {study.exclude[hits.index(0)]} excludes no cell")
    for baseline in study.baseline:
        crossed = study.crossed(baseline)
        for levels in itertools.product(*crossed.values()):
            yield Row(dict(zip(crossed, levels, strict=True)), baseline, study.name)


def data_tables(study: Study, row: Row) -> list[Mapping[str, Any]]:
    """The data table of each part of a row with the first seed, before defaults are filled in."""
    keys, seeds = _keys(study, row, 0), dict.fromkeys(study.seed_keys, study.seeds[0])
    return [
        _filled(study.base, [*keys, *part.items(), *seeds.items()]).get("data", {})
        for part in _parts(row.baseline)
    ]


def _expanded(study: Study) -> Iterator[Planned]:
    from securefl.scenario.scenario import (
        make_scenario,
    )  # torch: a second that a study seen before need not wait

    _every_override_counts(study)
    for row in rows(study):
        for part, (nth, seed) in itertools.product(_parts(row.baseline), enumerate(study.seeds)):
            keys = _keys(study, row, nth)
            if twice := [key for key in study.seed_keys if key in {*dict(keys), *part}]:
                told = f"row {row.label!r} sets {twice[0]!r}, which the seeds set"
                raise ScenarioError(f"{told}: change one, or seed_keys")
            try:
                seeds = dict.fromkeys(study.seed_keys, seed)
                scenario = make_scenario(
                    _filled(study.base, [*keys, *part.items(), *seeds.items()])
                )
            except ScenarioError as reason:
                raise ScenarioError(f"cell {row.label!r}: {reason}") from None
            yield Planned(row.label, row.labels, seed, _told(part), scenario.resolved())


def _keys(study: Study, row: Row, nth: int) -> list[tuple[str, Any]]:
    """The keys that a row sets with the nth seed of the study, overrides last."""
    keys = [pair for level in row.levels.values() for pair in level.keys.items()]
    keys += [] if row.baseline is None else row.baseline.set.items()
    for override in study.override:
        if row.is_on(study.choice(override.when, "override.when")):
            keys += override.set.items()
            keys += [(key, values[nth]) for key, values in override.by_seed.items()]
    return keys


def _every_override_counts(study: Study) -> None:
    """Refuse an override that meets no row."""
    for override in study.override:
        chosen = study.choice(override.when, "override.when")
        if not any(row.is_on(chosen) for row in rows(study)):
            raise ScenarioError(f"override: when = {override.when} meets no cell")


def _apart(study: Study) -> None:
    """Refuse an axis that sets what an earlier one has set: the labels of the earlier one would lie."""
    set_by = {
        axis: {key for level in levels for key in level.keys} for axis, levels in study.axes.items()
    }
    for earlier, later in itertools.combinations(set_by, 2):
        for key, over in itertools.product(sorted(set_by[earlier]), sorted(set_by[later])):
            if f"{key}.".startswith(f"{over}."):
                raise ScenarioError(f"axis {later!r} sets {over!r}, which axis {earlier!r} has set")


def _bounded(study: Study) -> None:
    """Refuse a study that is larger than any machine would finish, before anything is made of it."""
    grids = [
        study.axes.values(),
        *(study.crossed(baseline).values() for baseline in study.baseline),
    ]
    parts = [1, *(max(1, sum(map(len, baseline.average.values()))) for baseline in study.baseline)]
    count = len(study.seeds) * sum(
        part * math.prod(len(levels) for levels in grid)
        for part, grid in zip(parts, grids, strict=True)
    )
    if count > MOST_CELLS:
        raise ScenarioError(
            f"the study has {count} cells before exclusions, at most {MOST_CELLS} can be run"
        )


def _filled(base: Mapping[str, Any], keys: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The base with the keys set, one after the other."""
    values = copy.deepcopy(dict(base))
    for path, value in keys:
        place(values, path, copy.deepcopy(value), what=path)
    return values


def _parts(baseline: Baseline | None) -> list[dict[str, Any]]:
    """The keys that set apart the cells of one row and seed."""
    if baseline is None or not baseline.average:
        return [{}]
    ((key, values),) = baseline.average.items()
    return [{key: value} for value in values]


def _told(part: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={label_of(value)}" for key, value in part.items())
