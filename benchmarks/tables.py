"""Tables of a study in Markdown: scores with their baselines, and paired differences."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.expand import Row, rows
from benchmarks.scores import Scores
from benchmarks.statistics import Comparison, holm
from benchmarks.study import Study
from securefl.table import NO_CLAIM, NOT_MEASURED, mean_and_error

_TITLES = {"balanced_accuracy": "bal. acc.", "auc": "AUC"}
FEW = 5  # with fewer seeds a table ranks nothing


@dataclass(frozen=True)
class Line:
    """One line of a table: its label and the rows of the study whose values it shows, side by side; None is a gap."""

    label: str
    rows: tuple[str | None, ...]


@dataclass(frozen=True)
class Differences:
    """row -> what its comparison gave, and the rows whose difference is beyond noise once all are counted."""

    found: Mapping[str, Comparison | None]
    marked: frozenset[str]


def study_tables(study: Study, scores: Scores) -> str:
    """Every table of the study, and what must be known to read them."""
    known = list(rows(study))
    told = differences(study, known, scores)
    text = [*_about(study, scores, told), ""]
    for heading, chosen in _sections(study, known):
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


def differences(study: Study, known: Sequence[Row], scores: Scores) -> Differences:
    """Each row against its reference in the first metric, Holm's correction over all of them."""
    if study.compare is None:
        return Differences({}, frozenset())
    pairs = dict(_pairs(study, known))
    found = {row: scores.compare(row, other, study.metrics[0]) for row, other in pairs.items()}
    fallen = holm([None if one is None else one.p for one in found.values()])
    return Differences(found, frozenset(row for row, mark in zip(found, fallen, strict=True) if mark))


def _pairs(study: Study, known: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Each row of the grid with its reference: the same levels but for those named, or the baseline's row."""
    compare = study.compare
    by_levels = {tuple(row.labels.items()): row.label for row in known if row.baseline is None}
    baselines = {
        (row.baseline.label, tuple(row.labels.items())): row.label for row in known if row.baseline is not None
    }
    for row in known:
        if compare is None or (row.baseline is not None and compare.baseline is None):
            continue
        if compare.baseline is None:
            other = by_levels.get(tuple({**row.labels, **compare.reference}.items()))
        else:
            cross = next(one.cross for one in study.baseline if one.label == compare.baseline)
            shared = tuple((axis, label) for axis, label in row.labels.items() if axis in cross)
            other = baselines.get((compare.baseline, shared))
        if other is not None and other != row.label:
            yield row.label, other


def _about(study: Study, scores: Scores, told: Differences) -> Iterator[str]:
    yield f"# {study.title or study.name}"
    yield ""
    yield f"{len(study.seeds)} seeds; mean ± standard error." + (
        f" Fewer than {FEW} seeds rank nothing." if len(study.seeds) < FEW else ""
    )
    if scores.seeded:
        yield "Noise is seeded, so that the tables can be made again; whoever has the seed can take it away."
    if study.compare is not None:
        reference = study.compare.baseline or ", ".join(study.compare.reference.values())
        yield (
            f"Differences in {_title(study.metrics[0])} from {reference} are paired by seed, with 95 % bootstrap "
            f"intervals. * marks what is beyond noise, {len(told.marked)} of {len(told.found)} comparisons: paired "
            "t-tests, with Holm's correction over all of them at .05."
        )


def _sections(study: Study, known: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
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
    titles = [_title(metric) for metric in study.metrics]
    compared = [f"difference in {titles[0]}"] if told.found else []
    yield from _head(["", *titles, "epsilon", *compared])
    for row in chosen:
        values = [_spread(scores, row.label, metric) for metric in study.metrics]
        difference = [_difference(told, row.label)] if compared else []
        yield _line([_short(row, study), *values, _claim(scores, row.label), *difference])


def _wide(study: Study, chosen: Sequence[Row], scores: Scores, told: Differences) -> Iterator[str]:
    """One line for the axes that are neither section nor columns; the first metric at every level of the columns."""
    lines, titles = _lines(study, chosen)
    yield from _head([_title(study.metrics[0]), *titles])
    for line in lines:
        yield _line([line.label, *("" if row is None else _spread(scores, row, study.metrics[0]) for row in line.rows)])
    compared = [line for line in lines if any(row in told.found for row in line.rows)]
    shown = [place for place in range(len(titles)) if any(line.rows[place] in told.found for line in compared)]
    if compared:
        yield ""
        yield from _head([f"difference in {_title(study.metrics[0])}", *(titles[place] for place in shown)])
    for line in compared:
        yield _line([line.label, *(_difference(told, line.rows[place]) for place in shown)])


def _lines(study: Study, chosen: Sequence[Row]) -> tuple[list[Line], list[str]]:
    """The lines of a wide table and the titles of its columns: baselines on the lines' axes first, then the levels."""
    columns = str(study.table.columns)
    spread = [label for label in study.labels(columns, "table.columns")]
    beside = [one for one in study.baseline if columns not in one.cross and set(one.cross) - {study.table.sections}]
    axes = [axis for axis in study.axes if axis not in (columns, study.table.sections)]
    grid = {tuple(row.labels[axis] for axis in axes) for row in chosen if row.baseline is None}
    order = [labels for labels in itertools.product(*(study.labels(axis, "axes") for axis in axes)) if labels in grid]
    lines = []
    for labels in order:
        point = dict(zip(axes, labels, strict=True))
        found: list[str | None] = [
            _find(chosen, one.label, {axis: point[axis] for axis in one.cross if axis in point}) for one in beside
        ]
        found += [_find(chosen, None, {**point, columns: label}) for label in spread]
        lines.append(Line(", ".join(labels), tuple(found)))
    for row in chosen:
        if row.baseline is not None and row.baseline not in beside:
            lines.append(Line(_short(row, study), (row.label, *[None] * (len(beside) + len(spread) - 1))))
    return lines, [*(one.label for one in beside), *(f"{columns} {label}" for label in spread)]


def _find(chosen: Sequence[Row], baseline: str | None, point: Mapping[str, str]) -> str | None:
    """The row of a baseline (or of the grid) on these levels."""
    for row in chosen:
        mine = None if row.baseline is None else row.baseline.label
        if mine == baseline and all(row.labels.get(axis) == label for axis, label in point.items()):
            return row.label
    return None


def _short(row: Row, study: Study) -> str:
    """A row's label without the section that it stands in."""
    return row.named(without=study.table.sections)


def _head(titles: Sequence[str]) -> Iterator[str]:
    yield _line(titles)
    yield "|" + "---|" * len(titles)


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric.replace("_", " "))


def _spread(scores: Scores, row: str, metric: str) -> str:
    """Mean and standard error, how many cells are missing, or why there is no number."""
    states, values = scores.states.get(row, ()), scores.of(row, metric)
    ended = [value for value in values.values() if value is not None]
    failed = states.count("failed")
    if not values:
        return f"failed ({failed})" if failed else "missing"
    if len(ended) < len(values):
        return NOT_MEASURED
    middle, error = mean_and_error(ended)
    lacking = f" ({failed} failed)" if failed else f" (n={len(ended)})" if {*states} - {"done", "out of budget"} else ""
    return f"{middle:.3f}" + ("" if error is None else f" ± {error:.3f}") + lacking


def _claim(scores: Scores, row: str) -> str:
    """The largest epsilon of the seeds."""
    claimed = [value for value in scores.of(row, "epsilon").values() if value is not None]
    return (f"{max(claimed):.2f}" + (" (seeded)" if row in scores.seeded else "")) if claimed else NO_CLAIM


def _difference(told: Differences, row: str | None) -> str:
    one = None if row is None else told.found.get(row)
    if one is None:
        return ""
    if one.low is None or one.high is None:
        return f"{one.mean:+.3f} (one seed)"
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" + (" *" if row in told.marked else "")
