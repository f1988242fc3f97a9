"""Tables of a study in Markdown: scores with their baselines, and paired differences."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from securefl.runs.table import NO_CLAIM, NOT_MEASURED, mean_and_error
from securefl.studies.expand import Row, rows
from securefl.studies.legend import legend, title_of
from securefl.studies.levels import told_value
from securefl.studies.questions import Differences, differences
from securefl.studies.scores import Scores
from securefl.studies.study import Study

_COUNTS = ("records", "rounds", "bytes_up")


@dataclass(frozen=True)
class Line:
    """One line of a table: its label and the rows of the study whose values it shows, side by side; None is a gap."""

    label: str
    rows: tuple[str | None, ...]


def study_tables(study: Study, scores: Scores) -> str:
    """Every table of the study, and what must be known to read them."""
    known = list(rows(study))
    told = differences(study, known, scores)
    text = [*legend(study, known, scores, told), ""]
    for heading, chosen in sections(study, known):
        if heading:
            text += [f"## {heading}", ""]
        text += [
            *(
                _long(study, chosen, scores, told)
                if study.table.columns is None
                else _wide(study, chosen, scores, told)
            ),
            "",
        ]
    return "\n".join([*text, *study.notes]).rstrip() + "\n"


def sections(study: Study, known: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Headings and their rows; rows that lie on no section come last."""
    axis = study.table.sections
    if axis is None:
        yield "", list(known)
        return
    for level in study.axes[axis]:
        yield level.label, [row for row in known if row.labels.get(axis) == level.label]
    if rest := [row for row in known if axis not in row.labels]:
        yield "Baselines", rest


def _long(study: Study, chosen: Sequence[Row], scores: Scores, told: Differences) -> Iterator[str]:
    """One line a row, one column a metric."""
    metrics = [metric for metric in study.metrics if metric != "epsilon"]
    titles = [title_of(metric) for metric in metrics]
    compared = (
        [f"difference in {titles[0]}"] if any(row.label in told.found for row in chosen) else []
    )
    yield from _head(["", *titles, "epsilon", *compared])
    for row in chosen:
        values = [_spread(scores, row.label, metric) for metric in metrics]
        difference = [_difference(told, row.label)] if compared else []
        yield _line([_short(row, study), *values, _claim(scores, row.label), *difference])


def _wide(study: Study, chosen: Sequence[Row], scores: Scores, told: Differences) -> Iterator[str]:
    """One line for the axes that are neither section nor columns; the first metric at every level of the columns."""
    found, titles = lines(study, chosen)
    if found:
        yield from _head([title_of(study.metrics[0]), *titles])
    for line in found:
        yield _line(
            [
                line.label,
                *(
                    "" if row is None else _spread(scores, row, study.metrics[0])
                    for row in line.rows
                ),
            ]
        )
    compared = [line for line in found if any(row in told.found for row in line.rows)]
    shown = [
        place
        for place in range(len(titles))
        if any(line.rows[place] in told.found for line in compared)
    ]
    if compared:
        yield ""
        yield from _head(
            [f"difference in {title_of(study.metrics[0])}", *(titles[place] for place in shown)]
        )
    for line in compared:
        yield _line([line.label, *(_difference(told, line.rows[place]) for place in shown)])
    within = {row for line in found for row in line.rows}
    if apart := [row for row in chosen if row.label not in within]:
        yield from [""] if found else []
        yield from _long(study, apart, scores, told)


def lines(study: Study, chosen: Sequence[Row]) -> tuple[list[Line], list[str]]:
    """The lines of a wide table and its columns' titles: baselines that share the lines' axes, then the levels."""
    columns, section = str(study.table.columns), study.table.sections
    levels = study.labels(columns, "table.columns")
    axes = [axis for axis in study.axes if axis not in (columns, section)]
    beside = list(
        dict.fromkeys(
            one.label
            for one in study.baseline
            if {*axes} & {*one.cross} and columns not in one.cross
        )
    )
    grid = dict.fromkeys(
        tuple(row.labels[axis] for axis in axes) for row in chosen if row.baseline is None
    )
    found = []
    for labels in grid:
        point = dict(zip(axes, labels, strict=True))
        places = [_find(chosen, name, point) for name in beside]
        places += [_find(chosen, None, {**point, columns: level}) for level in levels]
        found.append(Line(", ".join(map(told_value, axes, labels)) or study.name, tuple(places)))
    across: dict[str, list[str | None]] = {}
    for row in chosen:
        if row.baseline is not None and columns in row.labels:
            label = row.named(without=(section, columns))
            held = across.setdefault(label, [None] * (len(beside) + len(levels)))
            held[len(beside) + levels.index(row.labels[columns])] = row.label
    found += [Line(label, tuple(places)) for label, places in across.items()]
    return found, [*beside, *(f"{columns.rpartition('.')[2]} {level}" for level in levels)]


def _find(chosen: Sequence[Row], baseline: str | None, point: Mapping[str, str]) -> str | None:
    """The row of a baseline (or of the grid) that lies on the point, as far as it is on its axes."""
    for row in chosen:
        mine = None if row.baseline is None else row.baseline.label
        if mine == baseline and all(
            row.labels.get(axis, label) == label for axis, label in point.items()
        ):
            return row.label
    return None


def _short(row: Row, study: Study) -> str:
    """A row's label without the section that it stands in."""
    return row.named(without=(study.table.sections,))


def _head(titles: Sequence[str]) -> Iterator[str]:
    yield _line(titles)
    yield "|" + "---|" * len(titles)


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"


def _spread(scores: Scores, row: str, metric: str) -> str:
    """Mean and standard error, what is missing or ended early, or why there is no number."""
    states, values = scores.states.get(row, ()), scores.of(row, metric)
    counts = Counter(states)
    short = [f"{counts[state]} {state}" for state in ("failed", "out of budget") if counts[state]]
    ended = [value for value in values.values() if value is not None]
    if not values:
        return f"failed ({counts['failed']})" if counts["failed"] else "missing"
    if len(ended) < len(values):
        return NOT_MEASURED
    if {*states} - {"done", "failed", "out of budget"}:
        short.append(f"n={len(ended)}")
    middle, error = mean_and_error(ended)
    told = (
        f"{middle:.0f}"
        if metric in _COUNTS
        else f"{middle:.3f}" + ("" if error is None else f" ± {error:.3f}")
    )
    return told + (f" ({', '.join(short)})" if short else "")


def _claim(scores: Scores, row: str) -> str:
    """The largest epsilon of the seeds; empty while no cell has ended."""
    claimed = [value for value in scores.of(row, "epsilon").values() if value is not None]
    if not claimed:
        return NO_CLAIM if scores.of(row, "records") or scores.of(row, "accuracy") else ""
    return f"{max(claimed):.2f}" + (" (seeded)" if row in scores.seeded else "")


def _difference(told: Differences, row: str | None) -> str:
    one = None if row is None else told.found.get(row)
    if one is None:
        return ""
    if one.low is None or one.high is None:
        return f"{one.mean:+.3f} (one seed)"
    short = "" if one.n == told.seeds else f" (n={one.n})"
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]{short}" + (
        " *" if row in told.marked else ""
    )
