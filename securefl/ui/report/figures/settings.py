"""The settings of a run folder, and the runs of each: what figures are drawn from."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from securefl.errors import RunFolderError
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import RunMetrics
from securefl.runs.table import MeanAndError, mean_and_error

T = TypeVar("T")


class Run(NamedTuple):
    """One run: its resolved scenario, its cell, and its metrics; none before it ended."""

    scenario: Mapping[str, Any]
    cell: Cell
    metrics: RunMetrics


@dataclass(frozen=True)
class Setting:
    """A row of a folder: the runs of all its seeds.

    Attributes:
        label: of the row.
        levels: axis -> level of the row.
        runs: one a seed.
    """

    label: str
    levels: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def scenario(self) -> Mapping[str, Any]:
        """The values in force in the first run; others differ in their seeds."""
        return self.runs[0].scenario

    @property
    def judged_on(self) -> str:
        """The records that judge it, in words: numbers about other records cannot be compared."""
        data = self.scenario["data"]
        words = str(data["name"])
        if data.get("only") is not None:
            words += ", one site alone on its own records"
        if data.get("held_out") is not None:
            words += ", on the site that is held out"
        if data.get("test_on") == "validation":
            words += ", on validation records"
        return words

    @property
    def claims(self) -> bool:
        """Whether it claims differential privacy."""
        privacy = self.scenario.get("privacy")
        return privacy is not None and not math.isinf(float(privacy["epsilon"]))

    @property
    def ended(self) -> tuple[RunMetrics, ...]:
        """The metrics of the runs that have some."""
        return tuple(run.metrics for run in self.runs if run.metrics)

    def values(self, metric: str) -> list[float]:
        """Returns a metric of every run; empty where one of them lacks it.

        A mean over the seeds that could be measured would pass for one over all.
        """
        values = [number_or_none(run.metrics.get(metric)) for run in self.runs]
        measured = [value for value in values if value is not None]
        return measured if len(measured) == len(values) else []

    def mean(self, metric: str) -> MeanAndError | None:
        """Returns the mean of a metric over all runs; None where one of them lacks it."""
        values = self.values(metric)
        return mean_and_error(values) if values else None


class Settings(NamedTuple):
    """The settings of a folder, and how many of its cells are damaged and left out."""

    all: tuple[Setting, ...]
    damaged: int


def settings_in(folder: RunFolder) -> Settings:
    """Returns the settings of a folder, in the order of its request.

    Raises:
        RunFolderError: the folder's own files are damaged.
    """
    request = folder.request()
    runs: dict[str, list[Run]] = {}
    levels: dict[str, Mapping[str, str]] = {}
    damaged = set()
    for use in request.uses:
        label = f"{use.label}, {use.part}" if use.part else use.label
        scenario = request.cells[use.cell]
        cell = folder.named(use.cell)
        try:
            metrics = _metrics(scenario, cell)
        except RunFolderError:
            damaged.add(use.cell)
            continue
        runs.setdefault(label, []).append(Run(scenario, cell, metrics))
        levels.setdefault(label, use.levels)
    settings = tuple(Setting(label, levels[label], tuple(some)) for label, some in runs.items())
    return Settings(settings, len(damaged))


def _metrics(scenario: Mapping[str, Any], cell: Cell) -> RunMetrics:
    # A cell that failed after an earlier end has metrics on disk, which count no more.
    if not cell.status().state.ended:
        return {}
    return with_marks(cell.metrics() or {}, scenario, cell)


def number_or_none(value: object) -> float | None:
    """Returns a finite number; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def by_records(settings: Iterable[Setting]) -> dict[str, list[Setting]]:
    """Returns the settings by the records that judge them."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.judged_on, []).append(setting)
    return groups


def seeds_in_words(settings: Sequence[Setting], mark: str = "") -> str:
    """Says over how many seeds means are taken, and what shows their error.

    Args:
        settings: that are drawn.
        mark: of the error in the drawing, such as "A band"; "" where only the table has it.
    """
    counts = sorted({len(setting.runs) for setting in settings})
    if counts == [1]:
        return "There is one seed, so that no error can be shown."
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    if not mark:
        return f"Means are over {seeds} seeds; the data have their standard errors."
    return f"Means are over {seeds} seeds. {mark} is one standard error to either side."


def label_parts(settings: Sequence[Setting]) -> dict[str, str]:
    """Returns label -> the label without the parts that all of them have, between commas."""
    parts = {setting.label: setting.label.split(", ") for setting in settings}
    common = set.intersection(*(set(some) for some in parts.values())) if parts else set()
    short = {
        label: ", ".join(part for part in some if part not in common)
        for label, some in parts.items()
    }
    whole = all(short.values()) and len(set(short.values())) == len(short)
    return short if whole and len(short) > 1 else {label: label for label in parts}


def quality_of(settings: Sequence[Setting]) -> str:
    """Returns the metric that ranks settings: accuracy, or rmse where targets are real numbers."""
    is_real = any("rmse" in metrics for setting in settings for metrics in setting.ended)
    return "rmse" if is_real else "accuracy"


def some_of(settings: Sequence[Setting], most: int) -> list[Setting]:
    """Returns at most so many settings: all as they are, or even steps from best to worst."""
    if len(settings) <= most:
        return list(settings)
    return in_steps(ranked(settings), most)


def ranked(settings: Sequence[Setting]) -> list[Setting]:
    """Returns settings from the best to the worst; those that were not measured come last."""
    metric = quality_of(settings)

    def place(setting: Setting) -> tuple[bool, float]:
        mean = setting.mean(metric)
        if mean is None:
            return True, 0.0
        return False, mean.mean if metric == "rmse" else -mean.mean

    return sorted(settings, key=place)


def in_steps(values: Sequence[T], most: int) -> list[T]:
    """Returns at most so many of some values in even steps, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    last = len(values) - 1
    return [values[round(last * step / (most - 1))] for step in range(most)]
