"""From a study to its cells: every combination of levels, and the baselines, with every seed."""

import copy
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from securefl.data.published import figures_of
from securefl.errors import ScenarioError
from securefl.privacy.remember import Remember
from securefl.scenario.overrides import place
from securefl.studies.levels import Keys, label_in_words, label_of
from securefl.studies.sections import Baseline, Choice, Level
from securefl.studies.study import Study

MAX_CELLS = 100_000


@dataclass(frozen=True)
class Planned:
    """A cell to run.

    Args:
        row: label of the row that it belongs to.
        levels: axis -> label of the level.
        seed: the study's.
        part: which part of the row; empty where the row has one part.
        scenario: what it runs, resolved.
    """

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
        """The row's name in tables."""
        return self.named()

    @property
    def labels(self) -> dict[str, str]:
        """Axis -> label of the level."""
        return {axis: level.label for axis, level in self.levels.items()}

    def named(self, *, without: tuple[str | None, ...] = ()) -> str:
        """Returns the label with some axes left out."""
        words = [
            label_in_words(axis, level.label)
            for axis, level in self.levels.items()
            if axis not in without
        ]
        levels = ", ".join(words)
        if self.baseline is None:
            return levels or self.study
        name = self.baseline.label
        return f"{name} ({levels})" if levels else name

    def is_on(self, choice: Choice) -> bool:
        """Whether the row lies on one of the chosen levels of every axis named."""
        return all(self._has_one_of(axis, labels) for axis, labels in choice.items())

    def _has_one_of(self, axis: str, labels: tuple[str, ...]) -> bool:
        return axis in self.levels and self.levels[axis].label in labels


def expand(study: Study, *, remember: Remember) -> tuple[Planned, ...]:
    """Returns every cell of a study, with its scenario checked.

    The rows of the grid come in the order of the axes, then the baselines.

    Args:
        study: checked by itself.
        remember: caches the cells of a study that was checked before under the same code.

    Raises:
        ScenarioError: a cell is no valid scenario, an exclusion or override meets no cell, or there
            are too many cells.
    """
    _check_size(study)
    _check_axes_are_apart(study)
    _check_labels(study)
    _check_published(study)
    written = json.dumps(study.model_dump(mode="json"))  # the order of axes and keys counts

    fresh: list[dict[str, Any]] = []

    def computed() -> list[dict[str, Any]]:
        fresh.extend(vars(planned) for planned in _expanded(study))
        return fresh

    cells = remember("studies", {"study": written}, computed)
    # A user's own files and packages are no part of the study's text: they may have changed.
    if not fresh and any(_is_of_others(cell["scenario"]) for cell in cells):
        cells = computed()
    return tuple(Planned(**cell) for cell in cells)


def _is_of_others(scenario: Mapping[str, Any]) -> bool:
    """Whether a resolved scenario rests on records, weights or code of its user's."""
    return scenario.get("folder") is not None or scenario.get("code") is not None


def rows(study: Study) -> Iterator[Row]:
    """Yields every row, without the excluded ones.

    Raises:
        ScenarioError: an exclusion excludes nothing.
    """
    exclusions = [study.choice(chosen, "exclude") for chosen in study.exclude]
    used: set[int] = set()
    for levels in itertools.product(*study.axes.values()):
        by_axis = dict(zip(study.axes, levels, strict=True))
        row = Row(by_axis, None, study.name)
        matching = {number for number, choice in enumerate(exclusions) if row.is_on(choice)}
        used |= matching
        if not matching:
            yield row
    for number, chosen in enumerate(study.exclude):
        if number not in used:
            raise ScenarioError(f"exclude: {chosen} excludes no cell")
    for baseline in study.baseline:
        crossed = study.crossed(baseline)
        for levels in itertools.product(*crossed.values()):
            by_axis = dict(zip(crossed, levels, strict=True))
            yield Row(by_axis, baseline, study.name)


def long_rows(study: Study) -> frozenset[str]:
    """Returns the labels of the rows whose cells run only where that is asked for."""
    choices = [
        study.choice(override.when, "override.when") for override in study.override if override.long
    ]
    return frozenset(
        row.label
        for row in rows(study)
        if (row.baseline is not None and row.baseline.long)
        or any(row.is_on(choice) for choice in choices)
    )


def data_tables(study: Study, row: Row) -> list[Mapping[str, Any]]:
    """Returns the `data` table of each part of a row with the first seed, without defaults."""
    return tables(study, row, "data")


def tables(study: Study, row: Row, name: str) -> list[Mapping[str, Any]]:
    """Returns a table of each part of a row with the first seed, without defaults."""
    keys = _keys(study, row, 0)
    seeds = dict.fromkeys(study.seed_keys, study.seeds[0])
    found = []
    for part in _parts(row.baseline):
        values = _filled(study.base, [*keys, *part.items(), *seeds.items()])
        found.append(values.get(name, {}))
    return found


def _expanded(study: Study) -> Iterator[Planned]:
    # Torch takes seconds to import, which a study that was checked before need not wait for.
    from securefl.scenario.scenario import make_scenario

    _check_overrides(study)
    numbered_seeds = list(enumerate(study.seeds))
    for row in rows(study):
        for part, (nth, seed) in itertools.product(_parts(row.baseline), numbered_seeds):
            keys = _keys(study, row, nth)
            _check_seed_keys(study, row, {*dict(keys), *part})
            # Seeds are set after everything else, so that no level can fix one unnoticed.
            seeds = dict.fromkeys(study.seed_keys, seed)
            try:
                values = _filled(study.base, [*keys, *part.items(), *seeds.items()])
                scenario = make_scenario(values)
            except ScenarioError as reason:
                raise ScenarioError(f"cell {row.label!r}: {reason}") from None
            yield Planned(
                row=row.label,
                levels=row.labels,
                seed=seed,
                part=_part_label(part),
                scenario=scenario.resolved(),
            )


def _keys(study: Study, row: Row, nth: int) -> list[tuple[str, Any]]:
    """The keys that a row sets with the nth seed of the study, overrides last."""
    keys = [pair for level in row.levels.values() for pair in level.keys.items()]
    if row.baseline is not None:
        keys += row.baseline.set.items()
    # Overrides come last: they are exceptions from what levels and baselines say.
    for override in study.override:
        if row.is_on(study.choice(override.when, "override.when")):
            keys += override.set.items()
            keys += [(key, values[nth]) for key, values in override.by_seed.items()]
    return keys


def _check_seed_keys(study: Study, row: Row, keys: set[str]) -> None:
    """Refuses a row that sets what the seeds set."""
    for key in study.seed_keys:
        if key in keys:
            raise ScenarioError(
                f"row {row.label!r} sets {key!r}, which the seeds set: change one, or seed_keys"
            )


def _check_overrides(study: Study) -> None:
    """Refuses an override that meets no row."""
    for override in study.override:
        choice = study.choice(override.when, "override.when")
        if not any(row.is_on(choice) for row in rows(study)):
            raise ScenarioError(f"override: when = {override.when} meets no cell")


def _check_labels(study: Study) -> None:
    """Refuses a study without rows, or with two rows of one name."""
    labels = Counter(row.label for row in rows(study))
    if not labels:
        raise ScenarioError("the study has no cell: everything is excluded")
    label, count = labels.most_common(1)[0]
    if count > 1:
        raise ScenarioError(f"two rows would be called {label!r}; name the levels apart")


def _check_published(study: Study) -> None:
    """Refuses to show published figures where there are none for any row."""
    if not study.table.published:
        return
    names = {str(table.get("name")) for row in rows(study) for table in data_tables(study, row)}
    if not any(map(figures_of, names)):
        raise ScenarioError(
            "table.published has no effect: nothing is published here about the study's data sets; "
            "remove it"
        )


def _check_axes_are_apart(study: Study) -> None:
    """Refuses an axis that sets what an earlier one has set: the earlier labels would be wrong."""
    set_by: dict[str, set[str]] = {}
    for axis, levels in study.axes.items():
        set_by[axis] = {key for level in levels for key in level.keys}
    for earlier, later in itertools.combinations(set_by, 2):
        for key, over in itertools.product(sorted(set_by[earlier]), sorted(set_by[later])):
            # Also a table that holds the key, such as "model" over "model.hidden".
            if f"{key}.".startswith(f"{over}."):
                raise ScenarioError(f"axis {later!r} sets {over!r}, which axis {earlier!r} has set")


def _check_size(study: Study) -> None:
    """Refuses a study that is larger than any machine would finish, before anything is made."""
    cells_a_seed = math.prod(len(levels) for levels in study.axes.values())
    for baseline in study.baseline:
        parts = max(1, sum(len(values) for values in baseline.average.values()))
        crossed = study.crossed(baseline).values()
        cells_a_seed += parts * math.prod(len(levels) for levels in crossed)
    count = len(study.seeds) * cells_a_seed
    if count > MAX_CELLS:
        raise ScenarioError(
            f"the study has {count} cells before exclusions, at most {MAX_CELLS} can be run"
        )


def _filled(base: Mapping[str, Any], keys: Iterable[tuple[str, Any]]) -> Keys:
    """The base with the keys set, one after the other."""
    # Cells must not share tables: a key set in one would appear in all.
    values = copy.deepcopy(dict(base))
    for path, value in keys:
        place(values, path, copy.deepcopy(value), what=path)
    return values


def _parts(baseline: Baseline | None) -> list[Keys]:
    """The keys that set apart the cells of one row and seed."""
    if baseline is None or not baseline.average:
        return [{}]
    ((key, values),) = baseline.average.items()
    return [{key: value} for value in values]


def _part_label(part: Keys) -> str:
    return ", ".join(f"{key}={label_of(value)}" for key, value in part.items())
