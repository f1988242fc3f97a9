"""One row a run, the same everywhere: terminal, plain text, Markdown and report."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from securefl.runs.metrics import RunMetrics

COLUMNS = ("", "accuracy", "bal. acc.", "AUC", "majority", "epsilon", "delta", "bytes", "seconds")
NOT_MEASURED = "not measured"
NO_CLAIM = "none"


@dataclass(frozen=True)
class Row:
    """One line of a table: a label and the metrics of its runs (one a seed), or why there are none."""

    label: str
    runs: Sequence[RunMetrics] = ()
    note: str = ""


def cells(row: Row) -> list[str]:
    """The row as text; mean and standard error where there are several runs."""
    if not row.runs:
        return [row.label, row.note, *[""] * (len(COLUMNS) - 2)]
    return [
        row.label,
        _quality([run["accuracy"] for run in row.runs]),
        _quality([run["balanced_accuracy"] for run in row.runs]),
        _quality([run["auc"] for run in row.runs]),
        _quality([run["majority"] for run in row.runs]),
        _claim([run["epsilon"] for run in row.runs], "{:.2f}") + _seeded(row.runs),
        _claim([run["delta"] for run in row.runs], "{:g}"),
        _size(mean(run["bytes_up"] + run["bytes_down"] for run in row.runs)),
        f"{mean(run['seconds'] for run in row.runs):.1f}",
    ]


def plain(rows: Iterable[Row]) -> str:
    """Aligned text, one line a row."""
    lines = [list(COLUMNS), *map(cells, rows)]
    widths = [
        max(len(line[i]) for line in lines if line[2] or line is lines[0] or i == 0)
        for i in range(len(COLUMNS))
    ]
    text = [
        "  ".join(
            f"{part:<{widths[i]}}" if part else " " * widths[i] for i, part in enumerate(line)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard error; None for the error of a single value."""
    return mean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _quality(values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    if len(measured) < len(values):
        return NOT_MEASURED
    middle, error = mean_and_error(measured)
    return f"{middle:.3f}" if error is None else f"{middle:.3f} ± {error:.3f}"


def _claim(values: Sequence[float | None], form: str) -> str:
    claimed = [value for value in values if value is not None]
    return form.format(max(claimed)) if claimed else NO_CLAIM


def _seeded(runs: Sequence[RunMetrics]) -> str:
    """A mark for noise that whoever has the seed can take away again."""
    return " (seeded)" if any(run.get("noise") == "seeded" for run in runs) else ""


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
