"""Tables of a study in Markdown: scores with their baselines, and paired differences."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from securefl.runs.cell import CellState
from securefl.runs.table import NO_CLAIM, NOT_MEASURED, mean_and_error, with_error
from securefl.studies.expand import Row, rows
from securefl.studies.legend import legend, title_of
from securefl.studies.levels import label_in_words
from securefl.studies.questions import Differences, differences
from securefl.studies.scores import Scores
from securefl.studies.study import Study

COUNTS = ("records", "rounds", "bytes_up")  # metrics that are printed without decimals


@dataclass(frozen=True)
class Line:
    """One line of a wide table.

    Args:
        label: of the line.
        rows: labels of the study's rows whose values it shows, one a column; None is a gap.
    """

    label: str
    rows: tuple[str | None, ...]


def study_tables(study: Study, scores: Scores) -> str:
    """Returns every table of the study, below a legend."""
    study_rows = list(rows(study))
    compared = differences(study, study_rows, scores)
    text = [*legend(study, study_rows, scores, compared), ""]
    for heading, members in sections(study, study_rows):
        if heading:
            text += [f"## {heading}", ""]
        if study.table.columns is None:
            text += _long(study, members, scores, compared)
        else:
            text += _wide(study, members, scores, compared)
        text.append("")
    return "\n".join([*text, *study.notes]).rstrip() + "\n"


def sections(study: Study, study_rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yields headings and their rows; rows that lie on no section come last."""
    axis = study.table.sections
    if axis is None:
        yield "", list(study_rows)
        return
    for level in study.axes[axis]:
        yield level.label, [row for row in study_rows if row.labels.get(axis) == level.label]
    outside = [row for row in study_rows if axis not in row.labels]
    if outside:
        yield "Baselines", outside


def _long(
    study: Study, members: Sequence[Row], scores: Scores, compared: Differences
) -> Iterator[str]:
    """One line a row, one column a metric."""
    metrics = [metric for metric in study.metrics if metric != "epsilon"]
    titles = [title_of(metric) for metric in metrics]
    with_differences = any(row.label in compared.comparisons for row in members)
    last = [f"difference in {titles[0]}"] if with_differences else []
    yield from _head(["", *titles, "epsilon", *last])
    for row in members:
        # The section's heading has said where the row lies on that axis.
        label = row.named(without=(study.table.sections,))
        values = [_spread(scores, row.label, metric) for metric in metrics]
        difference = [_difference(compared, row.label)] if with_differences else []
        yield _line([label, *values, _claim(scores, row.label), *difference])


def _wide(
    study: Study, members: Sequence[Row], scores: Scores, compared: Differences
) -> Iterator[str]:
    """The first metric at every level of the columns, then differences, then rows beside them."""
    wide, titles = lines(study, members)
    if wide:
        yield from _head([title_of(study.metrics[0]), *titles])
    for line in wide:
        values = [_value(study, scores, row) for row in line.rows]
        yield _line([line.label, *values])
    yield from _wide_differences(study, wide, titles, compared)
    shown = {row for line in wide for row in line.rows}
    others = [row for row in members if row.label not in shown]
    if others:
        if wide:
            yield ""
        yield from _long(study, others, scores, compared)


def _wide_differences(
    study: Study, wide: Sequence[Line], titles: Sequence[str], compared: Differences
) -> Iterator[str]:
    """The differences of a wide table, in the lines and columns that have any."""

    def has_difference(row: str | None) -> bool:
        return row in compared.comparisons

    chosen = [line for line in wide if any(map(has_difference, line.rows))]
    if not chosen:
        return
    columns = [
        column
        for column in range(len(titles))
        if any(has_difference(line.rows[column]) for line in chosen)
    ]
    yield ""
    first = f"difference in {title_of(study.metrics[0])}"
    yield from _head([first, *(titles[column] for column in columns)])
    for line in chosen:
        yield _line([line.label, *(_difference(compared, line.rows[column]) for column in columns)])


def lines(study: Study, members: Sequence[Row]) -> tuple[list[Line], list[str]]:
    """Returns the lines of a wide table and the titles of its columns.

    The columns are baselines that share the lines' axes, then the levels of the columns' axis.
    """
    columns = str(study.table.columns)
    section = study.table.sections
    levels = study.labels(columns, "table.columns")
    axes = [axis for axis in study.axes if axis not in (columns, section)]
    baselines = _baselines_by_line(study, axes, columns)
    grid = [row for row in members if row.baseline is None]
    wide = []
    # Rows that differ in the columns' axis alone share a line.
    for labels in dict.fromkeys(_labels_on(axes, row) for row in grid):
        point = dict(zip(axes, labels, strict=True))
        places = [_find(members, baseline, point) for baseline in baselines]
        places += [_find(members, None, {**point, columns: level}) for level in levels]
        words = [label_in_words(axis, label) for axis, label in point.items()]
        wide.append(Line(", ".join(words) or study.name, tuple(places)))
    wide += _baselines_across(members, columns, section, levels, gaps=len(baselines))
    level_titles = [f"{columns.rpartition('.')[2]} {level}" for level in levels]
    return wide, [*baselines, *level_titles]


def _baselines_by_line(study: Study, axes: Sequence[str], columns: str) -> list[str]:
    """The baselines that differ from line to line, but not from column to column."""
    labels = [
        baseline.label
        for baseline in study.baseline
        if columns not in baseline.cross and {*axes} & {*baseline.cross}
    ]
    return list(dict.fromkeys(labels))


def _labels_on(axes: Sequence[str], row: Row) -> tuple[str, ...]:
    return tuple(row.labels[axis] for axis in axes)


def _baselines_across(
    members: Sequence[Row],
    columns: str,
    section: str | None,
    levels: Sequence[str],
    *,
    gaps: int,
) -> list[Line]:
    """The baselines that differ from column to column, as lines of their own."""
    across: dict[str, list[str | None]] = {}
    for row in members:
        if row.baseline is not None and columns in row.labels:
            label = row.named(without=(section, columns))
            places = across.setdefault(label, [None] * (gaps + len(levels)))
            places[gaps + levels.index(row.labels[columns])] = row.label
    return [Line(label, tuple(places)) for label, places in across.items()]


def _find(members: Sequence[Row], baseline: str | None, point: Mapping[str, str]) -> str | None:
    """The row of a baseline, or of the grid, that lies on the point as far as it has its axes."""
    for row in members:
        label = None if row.baseline is None else row.baseline.label
        if label == baseline and all(
            row.labels.get(axis, level) == level for axis, level in point.items()
        ):
            return row.label
    return None


def _head(titles: Sequence[str]) -> Iterator[str]:
    yield _line(titles)
    yield "|" + "---|" * len(titles)


def _line(parts: Sequence[str]) -> str:
    # A bare pipe in a label would end its cell.
    escaped = [part.replace("|", "\\|") for part in parts]
    return "| " + " | ".join(escaped) + " |"


def _value(study: Study, scores: Scores, row: str | None) -> str:
    return "" if row is None else _spread(scores, row, study.metrics[0])


def _spread(scores: Scores, row: str, metric: str) -> str:
    """Mean and standard error with the cells that are missing, or why there is no number."""
    states = Counter(scores.states.get(row, ()))
    values = scores.of(row, metric)
    measured = [value for value in values.values() if value is not None]
    if not values:
        failed = states[CellState.FAILED]
        return f"failed ({failed})" if failed else "missing"
    # A mean over some of the seeds would be compared with means over all of them.
    if len(measured) < len(values):
        return NOT_MEASURED
    mean, error = mean_and_error(measured)
    number = f"{mean:.0f}" if metric in COUNTS else with_error(mean, error)
    remarks = _remarks(states, len(measured))
    return f"{number} ({', '.join(remarks)})" if remarks else number


def _remarks(states: Mapping[str, int], measured: int) -> list[str]:
    """Cells of a row that did not end well, and how many have ended while some are missing."""
    remarks = []
    for state in (CellState.FAILED, CellState.OUT_OF_BUDGET):
        if states.get(state):
            remarks.append(f"{states[state]} {state}")
    # Cells that are still to come: the mean is over fewer seeds than the study has.
    if {*states} - {CellState.DONE, CellState.FAILED, CellState.OUT_OF_BUDGET}:
        remarks.append(f"n={measured}")
    return remarks


def _claim(scores: Scores, row: str) -> str:
    """The largest epsilon of the seeds; empty while no cell has ended."""
    claims = [value for value in scores.of(row, "epsilon").values() if value is not None]
    if claims:
        return f"{max(claims):.2f}" + (" (seeded)" if row in scores.seeded else "")
    # Without a claim there is no epsilon, but there are other numbers once a cell has ended.
    has_ended = scores.of(row, "records") or scores.of(row, "accuracy")
    return NO_CLAIM if has_ended else ""


def _difference(compared: Differences, row: str | None) -> str:
    """A difference with its interval; a star where it is beyond noise."""
    comparison = None if row is None else compared.comparisons.get(row)
    if comparison is None:
        return ""
    if comparison.low is None or comparison.high is None:
        return f"{comparison.mean:+.3f} (one seed)"
    interval = f"[{comparison.low:+.3f}, {comparison.high:+.3f}]"
    count = "" if comparison.n == compared.seeds else f" (n={comparison.n})"
    star = " *" if row in compared.marked else ""
    return f"{comparison.mean:+.3f} {interval}{count}{star}"
