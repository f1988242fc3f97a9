"""One row a run, the same everywhere: terminal, plain text, Markdown and report."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple, cast

from securefl.runs.metrics import (
    METRICS_OF_CLASSES,
    METRICS_OF_TARGETS,
    RunMetrics,
    has_targets,
)

TITLES = {
    "balanced_accuracy": "bal. acc.",
    "auc": "AUC",
    "auc_within_sites": "AUC within sites",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2",
}
COSTS = ("epsilon", "delta", "bytes", "seconds")
IN_UNITS_OF_TARGETS = ("mae", "rmse")
SIGNIFICANT_DIGITS = 4  # of a number in any unit
MAX_DECIMALS = 7  # which show a number from 1e-4 on
SCIENTIFIC_FROM = 1e6
NOT_MEASURED = "not measured"
NO_CLAIM = "none"
OF_OTHER_RECORDS = "-"  # an accuracy of real targets, or an error of classes


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        label: of the line.
        runs: the metrics of its runs, one a seed.
        note: why there are no runs.
    """

    label: str
    runs: Sequence[RunMetrics] = ()
    note: str = ""


def metrics_shown(rows: Iterable[Row]) -> tuple[str, ...]:
    """Returns the names of the quality metrics that a table of these rows has columns for."""
    targets = {has_targets(run) for row in rows for run in row.runs}
    if targets == {True}:
        return METRICS_OF_TARGETS
    return METRICS_OF_CLASSES + METRICS_OF_TARGETS if True in targets else METRICS_OF_CLASSES


def heads(metrics: Sequence[str]) -> list[str]:
    """Returns the heads of all columns of a table that shows these metrics."""
    return ["", *map(title_of, metrics), *COSTS]


def title_of(metric: str) -> str:
    """Returns the title of a metric in tables."""
    return TITLES.get(metric, metric.replace("_", " "))


def cells(row: Row, metrics: Sequence[str]) -> list[str]:
    """Returns a row as text; mean and standard error where there are several runs.

    Args:
        row: of the table.
        metrics: that the table shows, see `metrics_shown`.
    """
    if not row.runs:
        return [row.label, row.note, *[""] * (len(metrics) + len(COSTS) - 1)]
    epsilon = _claim([run["epsilon"] for run in row.runs], "{:.2f}")
    bytes_both_ways = mean(run["bytes_up"] + run["bytes_down"] for run in row.runs)
    seconds = mean(run["seconds"] for run in row.runs)
    return [
        row.label,
        *(_quality(metric, row.runs) for metric in metrics),
        epsilon + _seeded(row.runs),
        _claim([run["delta"] for run in row.runs], "{:g}"),
        size_in_words(bytes_both_ways),
        f"{seconds:.1f}",
    ]


def plain(rows: Iterable[Row]) -> str:
    """Returns aligned text, one line a row."""
    rows = list(rows)
    metrics = metrics_shown(rows)
    head = heads(metrics)
    body = [cells(row, metrics) for row in rows]
    # A note spans all columns after the label, so it makes none of them wider.
    measured = [line for line in body if line[2]]
    columns = zip(head, *measured, strict=True)
    widths = [max(map(len, column)) for column in columns]
    widths[0] = max(len(line[0]) for line in [head, *body])
    first = _aligned(head, widths)
    rest = [_aligned(line, widths) for line in body]
    rule = "-" * len(first)
    return "\n".join([first, rule, *rest])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    parts = [f"{part:<{width}}" for part, width in zip(line, widths, strict=True)]
    return "  ".join(parts).rstrip()


class MeanAndError(NamedTuple):
    """A mean and its standard error; None for the error of a single value."""

    mean: float
    error: float | None


def mean_and_error(values: Sequence[float]) -> MeanAndError:
    """Returns the mean of some values, with the sample deviation over root n as its error."""
    if len(values) == 1:
        return MeanAndError(mean(values), None)
    error = stdev(values) / math.sqrt(len(values))
    return MeanAndError(mean(values), error)


def with_error(value: float, error: float | None, *, digits: int = 3) -> str:
    """Returns a number with its error, as every table prints it: "0.700 ± 0.100"."""
    number = number_of(value, digits)
    return number if error is None else f"{number} ± {number_of(error, digits)}"


def number_of(value: float, digits: int, *, sign: str = "") -> str:
    """Returns a number with its decimals; in powers of ten where these would be many digits.

    Args:
        value: the number, for example an error of a run that diverged.
        digits: decimals, see `decimals`.
        sign: "+" for a difference.
    """
    if abs(value) >= SCIENTIFIC_FROM or digits > MAX_DECIMALS:
        return f"{value:{sign}.{SIGNIFICANT_DIGITS - 1}e}"
    return f"{value:{sign}.{digits}f}"


def decimals(metric: str, value: float, *, usual: int = 3) -> int:
    """Returns how many decimals show a value of a metric.

    Args:
        metric: its name; an error is in the units of the target, which may be of any size.
        value: the value.
        usual: decimals of the metrics that are shares.
    """
    if metric not in IN_UNITS_OF_TARGETS or value == 0:
        return usual
    return max(0, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(value))))


def _quality(metric: str, runs: Sequence[RunMetrics]) -> str:
    if has_targets(runs[0]) is not (metric in METRICS_OF_TARGETS):
        return OF_OTHER_RECORDS
    values = [cast(float | None, run.get(metric)) for run in runs]
    measured = [value for value in values if value is not None]
    # A mean over the seeds that could be measured would pass for one over all.
    if len(measured) < len(values):
        return NOT_MEASURED
    value, error = mean_and_error(measured)
    return with_error(value, error, digits=decimals(metric, value))


def _claim(values: Sequence[float | None], form: str) -> str:
    """The largest value: a claim about several runs is that of the worst."""
    claims = [value for value in values if value is not None]
    return form.format(max(claims)) if claims else NO_CLAIM


def _seeded(runs: Sequence[RunMetrics]) -> str:
    """A mark for noise that anybody with the seed can subtract again."""
    return " (seeded)" if any(run.get("noise") == "seeded" for run in runs) else ""


def size_in_words(count: float) -> str:
    """Returns a number of bytes with its unit."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
