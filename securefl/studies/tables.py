"""Tables of a study in Markdown: scores with their baselines, and paired differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from securefl.runs.table import title_of
from securefl.studies.expand import Row, long_rows, rows
from securefl.studies.fields import claim_of, difference, spread
from securefl.studies.legend import legend
from securefl.studies.levels import label_in_words
from securefl.studies.metrics import with_usual_metrics
from securefl.studies.published import published_rows
from securefl.studies.questions import Differences, differences
from securefl.studies.scores import Scores
from securefl.studies.study import Study


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
    study = with_usual_metrics(study, scores)
    study_rows = list(rows(study))
    scores = replace(scores, long=long_rows(study))
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
        members = [row for row in study_rows if row.labels.get(axis) == level.label]
        yield level.label, members
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
    head = ["", *titles, "epsilon"]
    if with_differences:
        head.append(f"difference in {titles[0]}")
    yield from _head(head)
    for row in members:
        # The section's heading has said where the row lies on that axis.
        label = row.named(without=(study.table.sections,))
        values = [spread(scores, row.label, metric) for metric in metrics]
        claim = claim_of(scores, row.label)
        parts = [label, *values, claim]
        if with_differences:
            parts.append(difference(compared, row.label))
        yield _line(parts)
    if study.table.published:
        for parts in published_rows(study, members, metrics):
            yield _line([*parts, *[""] * (len(head) - len(parts))])


def _wide(
    study: Study, members: Sequence[Row], scores: Scores, compared: Differences
) -> Iterator[str]:
    """The first metric at every level of the columns, then differences, then rows beside them."""
    wide, titles = lines(study, members)
    if wide:
        metric = title_of(study.metrics[0])
        yield from _head([metric, *titles])
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
    columns = []
    for column in range(len(titles)):
        rows_of_column = [line.rows[column] for line in chosen]
        if any(map(has_difference, rows_of_column)):
            columns.append(column)
    yield ""
    metric = title_of(study.metrics[0])
    titles_of_columns = [titles[column] for column in columns]
    yield from _head([f"difference in {metric}", *titles_of_columns])
    for line in chosen:
        rows_of_line = [line.rows[column] for column in columns]
        values = [difference(compared, row) for row in rows_of_line]
        yield _line([line.label, *values])


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
    distinct_labels = dict.fromkeys(_labels_on(axes, row) for row in grid)
    for labels in distinct_labels:
        point = dict(zip(axes, labels, strict=True))
        places = [_find(members, baseline, point) for baseline in baselines]
        for level in levels:
            point_of_column = {**point, columns: level}
            places.append(_find(members, None, point_of_column))
        words = [label_in_words(axis, label) for axis, label in point.items()]
        # The line of a study whose only axis is the columns' has no words.
        line_label = ", ".join(words) or study.name
        wide.append(Line(line_label, tuple(places)))
    wide += _baselines_across(members, columns, section, levels, gaps=len(baselines))
    # The last part of a key says enough: "clip" for "training.clip".
    _, _, short_name = columns.rpartition(".")
    level_titles = [f"{short_name} {level}" for level in levels]
    return wide, [*baselines, *level_titles]


def _baselines_by_line(study: Study, axes: Sequence[str], columns: str) -> list[str]:
    """The baselines that differ from line to line, but not from column to column."""
    labels = []
    for baseline in study.baseline:
        shares_an_axis = not set(axes).isdisjoint(baseline.cross)
        if shares_an_axis and columns not in baseline.cross:
            labels.append(baseline.label)
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
    width = gaps + len(levels)
    for row in members:
        if row.baseline is None or columns not in row.labels:
            continue
        label = row.named(without=(section, columns))
        places = across.setdefault(label, [None] * width)
        level = row.labels[columns]
        column = gaps + levels.index(level)
        places[column] = row.label
    return [Line(label, tuple(places)) for label, places in across.items()]


def _find(members: Sequence[Row], baseline: str | None, point: Mapping[str, str]) -> str | None:
    """The row of a baseline, or of the grid, that lies on the point as far as it has its axes."""
    for row in members:
        label = None if row.baseline is None else row.baseline.label
        if label == baseline and _is_at(row, point):
            return row.label
    return None


def _is_at(row: Row, point: Mapping[str, str]) -> bool:
    # An axis that the row does not have cannot set it apart from the point.
    return all(row.labels.get(axis, level) == level for axis, level in point.items())


def _head(titles: Sequence[str]) -> Iterator[str]:
    yield _line(titles)
    yield "|" + "---|" * len(titles)


def _line(parts: Sequence[str]) -> str:
    # A bare pipe in a label would end its cell.
    escaped = [part.replace("|", "\\|") for part in parts]
    return "| " + " | ".join(escaped) + " |"


def _value(study: Study, scores: Scores, row: str | None) -> str:
    return "" if row is None else spread(scores, row, study.metrics[0])
