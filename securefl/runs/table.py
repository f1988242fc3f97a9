"""One row a run, the same everywhere: terminal, plain text, Markdown and report."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from securefl.runs.metrics import RunMetrics

COLUMNS = ("", "accuracy", "bal. acc.", "AUC", "majority", "epsilon", "delta", "bytes", "seconds")
NOT_MEASURED = "not measured"
NO_CLAIM = "none"


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


def cells(row: Row) -> list[str]:
    """Returns a row as text; mean and standard error where there are several runs."""
    if not row.runs:
        return [row.label, row.note, *[""] * (len(COLUMNS) - 2)]
    epsilon = _claim([run["epsilon"] for run in row.runs], "{:.2f}")
    bytes_both_ways = mean(run["bytes_up"] + run["bytes_down"] for run in row.runs)
    seconds = mean(run["seconds"] for run in row.runs)
    return [
        row.label,
        _quality([run["accuracy"] for run in row.runs]),
        _quality([run["balanced_accuracy"] for run in row.runs]),
        _quality([run["auc"] for run in row.runs]),
        _quality([run["majority"] for run in row.runs]),
        epsilon + _seeded(row.runs),
        _claim([run["delta"] for run in row.runs], "{:g}"),
        _size(bytes_both_ways),
        f"{seconds:.1f}",
    ]


def plain(rows: Iterable[Row]) -> str:
    """Returns aligned text, one line a row."""
    head = list(COLUMNS)
    body = [cells(row) for row in rows]
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
    number = f"{value:.{digits}f}"
    return number if error is None else f"{number} ± {error:.{digits}f}"


def _quality(values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    # A mean over the seeds that could be measured would pass for one over all.
    if len(measured) < len(values):
        return NOT_MEASURED
    return with_error(*mean_and_error(measured))


def _claim(values: Sequence[float | None], form: str) -> str:
    """The largest value: a claim about several runs is that of the worst."""
    claims = [value for value in values if value is not None]
    return form.format(max(claims)) if claims else NO_CLAIM


def _seeded(runs: Sequence[RunMetrics]) -> str:
    """A mark for noise that anybody with the seed can subtract again."""
    return " (seeded)" if any(run.get("noise") == "seeded" for run in runs) else ""


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
