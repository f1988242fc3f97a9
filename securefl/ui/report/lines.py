"""The lines of the page's tables: one a row, one a cell, one a site; and their numbers as CSV."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from securefl.runs.choosing import choosing_words
from securefl.runs.metrics import OUTSIDE, Quality, RunMetrics
from securefl.runs.table import (
    NOT_MEASURED,
    Row,
    cells,
    decimals,
    heads,
    mean_and_error,
    metrics_shown,
    number_of,
    title_of,
)
from securefl.ui.report.looks import Group, Look
from securefl.ui.report.remarks import Remarks
from securefl.ui.report.security import data_uri
from securefl.ui.report.sharing import reason_in_short, shareable
from securefl.ui.report.table import Table, Value, csv_of

VALIDATION = "judged on VALIDATION records: for choosing, not for results"


class Line(NamedTuple):
    """A line of a table.

    Attributes:
        cells: as text.
        state: of the cells behind it, in words; "" in tables without states.
        mark: class that colours the line; "" for none.
        notes: numbers of its notes, from 1, which follow the table.
    """

    cells: Sequence[str]
    state: str = ""
    mark: str = ""
    notes: Sequence[int] = ()


class PageTable(NamedTuple):
    """A table of the page.

    Attributes:
        name: unique on the page, of a-z and "-".
        title: for readers who hear it, and of its search field.
        head: of the columns.
        lines: its lines.
        source: its numbers as CSV, as a link; "" for none.
        notes: on its lines; many lines may share one.
    """

    name: str
    title: str
    head: Sequence[str]
    lines: Sequence[Line]
    source: str = ""
    notes: Sequence[str] = ()

    @property
    def has_states(self) -> bool:
        """Whether the second column says how far the cells have come."""
        return any(line.state for line in self.lines)


def table_of_rows(groups: Sequence[Group], remarks: Remarks) -> PageTable:
    """Returns one line a row: n, mean and standard error, the baseline, the claim and the cost."""
    rows = {group.label: Row(group.name, group.runs) for group in groups}
    metrics = metrics_shown(rows.values())
    label, *titles = heads(metrics)
    notes = _Notes()
    lines = []
    for group in groups:
        lines.append(_line(rows[group.label], group, metrics, notes))
    for refused, reason in remarks.refused.items():
        texts = [refused, *[""] * (len(titles) + 1)]
        lines.append(Line(texts, "refused", "out", notes.numbers([shareable(reason)])))
    head = [label or "row", "n", *titles]
    link = data_uri("text/csv", csv_of(_numbers(groups, metrics)))
    return PageTable("rows", "Rows", head, lines, link, notes.texts)


class _Notes:
    """Numbers the notes of a table, each once: the rows of a study share most of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def numbers(self, texts: Sequence[str]) -> list[int]:
        """Returns the numbers of some notes, new or known; empty ones are none."""
        distinct = dict.fromkeys(filter(None, texts))
        return [self._numbers.setdefault(text, len(self._numbers) + 1) for text in distinct]

    @property
    def texts(self) -> list[str]:
        """The notes, by number from 1."""
        return list(self._numbers)


def _line(row: Row, group: Group, metrics: Sequence[str], notes: _Notes) -> Line:
    """Returns the line of a row, with its states and notes."""
    states = group.states
    texts = cells(row, metrics)
    if not row.runs:
        texts = [row.label, *[""] * (len(texts) - 1)]
    remarks = [reason_in_short(look.status.reason or "") for look in group.looks]
    # Results on validation records look like results; only the page's reader can know the better.
    if any(look.scenario["data"].get("test_on") == "validation" for look in group.looks):
        remarks.append(VALIDATION)
    remarks += _losses(row.runs)
    # The channels of a row's cells are alike, but parts of a row may make other claims.
    remarks += _claims(group)
    marks = {"failed": "failed", "out of budget": "out", "running": "out"}
    mark = next((marks[state] for state in marks if state in states), "")
    line = [texts[0], str(len(row.runs)), *texts[1:]]
    return Line(line, _in_words(states), mark, notes.numbers(remarks))


def _claims(group: Group) -> list[str]:
    """Whom the claims of a row hold against."""
    if not group.claims:
        return []
    # Only now: the catalog behind it imports torch, for which pages without a claim need not wait.
    from securefl.scenario.claim_words import claim_words

    return [claim_words(look.scenario) for look in group.looks]


def _in_words(states: Counter[str]) -> str:
    if states.total() == 1:
        return next(iter(states))
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _losses(runs: Sequence[RunMetrics]) -> list[str]:
    """Says how many rounds were abandoned, and which clients took no part."""
    remarks = []
    abandoned = sum(metrics.get("abandoned", 0) for metrics in runs)
    if abandoned:
        rounds = sum(metrics.get("rounds", 0) for metrics in runs)
        verb = "was" if abandoned == 1 else "were"
        remarks.append(f"{abandoned} of {rounds} rounds {verb} abandoned")
    for metrics in runs:
        for client, reason in metrics.get("left_out", {}).items():
            remarks.append(f"client {client} took no part: {shareable(reason)}")
        remarks += choosing_words(metrics)
    return remarks


def _numbers(groups: Sequence[Group], metrics: Sequence[str]) -> Table:
    """The same lines with all digits."""
    head = ["row", "n"]
    for metric in metrics:
        head += [metric, f"standard error of {metric}"]
    head += ["epsilon", "delta", "noise", "bytes_up", "bytes_down", "seconds", "states"]
    rows = [[group.name, len(group.runs), *_numbers_of(group, metrics)] for group in groups]
    return Table(head, rows)


def _numbers_of(group: Group, metrics: Sequence[str]) -> list[Value]:
    runs = group.runs
    numbers: list[Value] = []
    for metric in metrics:
        numbers += _mean_and_error([_value(run, metric) for run in runs])
    for claim in ("epsilon", "delta"):
        claimed = [value for run in runs if (value := _value(run, claim)) is not None]
        numbers.append(max(claimed, default=None))
    noises = dict.fromkeys(str(noise) for run in runs if (noise := run.get("noise")))
    numbers.append(", ".join(noises))
    for cost in ("bytes_up", "bytes_down", "seconds"):
        numbers.append(_mean_and_error([_value(run, cost) for run in runs])[0])
    return [*numbers, _in_words(group.states)]


def _mean_and_error(values: Sequence[float | None]) -> list[Value]:
    """The mean and its error; none where a seed was not measured, or there is one seed."""
    measured = [value for value in values if value is not None]
    if not measured or len(measured) < len(values):
        return [None, None]
    return list(mean_and_error(measured))


def _value(metrics: RunMetrics, name: str) -> float | None:
    return cast(float | None, metrics.get(name))


def table_of_cells(groups: Sequence[Group]) -> PageTable | None:
    """Returns one line a cell; None where that would repeat the rows."""
    looks = [(group.name, look) for group in groups for look in group.looks]
    if len(looks) == len(groups):
        return None
    metrics = metrics_shown(Row(group.label, group.runs) for group in groups)
    head = ["row", "seed", *map(title_of, metrics), "epsilon"]
    lines = [_line_of_cell(label, look, metrics) for label, look in looks]
    return PageTable("cells", "Cells", head, lines)


def _line_of_cell(label: str, look: Look, metrics: Sequence[str]) -> Line:
    seed = look.scenario["seed"] if look.use.seed is None else look.use.seed
    texts = [label, str(seed)]
    for metric in (*metrics, "epsilon"):
        value = None if look.metrics is None else _value(look.metrics, metric)
        texts.append("" if value is None else _short(metric, value))
    return Line(texts, look.status.state.value)


def table_of_sites(groups: Sequence[Group]) -> PageTable | None:
    """Returns one line a site, where the folder holds one run whose sites have test records."""
    runs = [run for group in groups for run in group.runs]
    if len(runs) != 1 or OUTSIDE in runs[0].get("site_models", ""):
        return None
    sites = runs[0].get("sites", {})
    if not sites:
        return None
    metrics = metrics_shown([Row("", runs)])
    head = ["site", *map(title_of, metrics)]
    lines = [Line([name, *_qualities(quality, metrics)]) for name, quality in sites.items()]
    return PageTable("sites", "Sites", head, lines)


def _qualities(quality: Quality, metrics: Sequence[str]) -> list[str]:
    values = cast(Mapping[str, float | None], quality)
    return [
        NOT_MEASURED if (value := values.get(metric)) is None else _short(metric, value)
        for metric in metrics
    ]


def _short(metric: str, value: float) -> str:
    if metric == "epsilon":
        return f"{value:.2f}"
    try:
        return number_of(value, decimals(metric, value))
    except (ValueError, OverflowError):  # NaN or infinite, in units of a target
        return str(value)
