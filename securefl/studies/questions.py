"""Which rows of a study are compared, with what noise, and which differences are beyond it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from securefl.studies.expand import Row, data_tables
from securefl.studies.judges import Judges, judges_of
from securefl.studies.layout import Compare
from securefl.studies.scores import Scores
from securefl.studies.statistics import Comparison, holm
from securefl.studies.study import Study

# Labels of the levels that its comparisons share; "" where a row is not on the axis.
Question = tuple[str, ...]


@dataclass(frozen=True)
class Differences:
    """Each row against its reference.

    Args:
        comparisons: row -> its comparison; None where a value is missing.
        marked: the rows whose difference is beyond noise.
        seeds: how many the study has.
        questions: question -> its rows, whose p-values are corrected together.
        metric: that is compared.
    """

    comparisons: Mapping[str, Comparison | None]
    marked: frozenset[str]
    seeds: int
    questions: Mapping[Question, tuple[str, ...]]
    metric: str


def differences(study: Study, study_rows: Sequence[Row], scores: Scores) -> Differences:
    """Compares each row with its reference in the first metric.

    Marks are corrected by Holm's procedure within each question.
    """
    seeds = len(study.seeds)
    metric = study.metrics[0]
    if study.compare is None:
        return Differences({}, frozenset(), seeds, {}, metric)
    # One judged set a row: a difference rests on the smaller of two test sets.
    judges = judged_by(study, study_rows, scores)
    references = dict(_references(study, study.compare, study_rows))
    comparisons = {}
    for row, reference in references.items():
        both = _judges_of_both(judges[row], judges[reference])
        comparisons[row] = scores.compare(row, reference, metric, both)
    questions: dict[Question, tuple[str, ...]] = {}
    for study_row in study_rows:
        if study_row.label in references:
            question = tuple(study_row.labels.get(axis, "") for axis in study.question)
            earlier_rows = questions.get(question, ())
            questions[question] = (*earlier_rows, study_row.label)
    marked: set[str] = set()
    for members in questions.values():
        marked.update(_beyond_noise(members, comparisons, seeds))
    return Differences(comparisons, frozenset(marked), seeds, questions, metric)


def judged_by(study: Study, study_rows: Sequence[Row], scores: Scores) -> dict[str, Judges]:
    """Returns row -> the test records behind its numbers."""
    new_splits = "data.split_seed" in study.seed_keys and len(study.seeds) > 1
    judges = {}
    for row in study_rows:
        tables = data_tables(study, row)
        counted = [count for count in scores.of(row.label, "records").values() if count]
        judges[row.label] = judges_of(tables, new_splits=new_splits, counted=counted)
    return judges


def _judges_of_both(one: Judges, other: Judges) -> Judges:
    """The records behind a difference; the fewer where two rows are judged on different ones."""
    return one._replace(
        records=min(one.records, other.records),
        same=one.same or other.same,
    )


def _beyond_noise(
    members: Sequence[str], comparisons: Mapping[str, Comparison | None], seeds: int
) -> Iterator[str]:
    """The rows of one question whose difference is marked.

    A comparison that lacks a seed counts in the correction, and is never marked.
    """
    p_values = []
    for row in members:
        comparison = comparisons[row]
        is_complete = comparison is not None and comparison.n == seeds
        p_values.append(comparison.testable if comparison and is_complete else None)
    for row, mark in zip(members, holm(p_values), strict=True):
        if mark:
            yield row


def _references(
    study: Study, compare: Compare, study_rows: Sequence[Row]
) -> Iterator[tuple[str, str]]:
    """Each row with the row that it is compared with."""
    if compare.baseline is None:
        pairs = _with_reference_levels(compare, study_rows)
    else:
        pairs = _with_baseline(study, compare.baseline, study_rows)
    for row, reference in pairs:
        if reference is not None and reference != row:
            yield row, reference


def _with_reference_levels(
    compare: Compare, study_rows: Sequence[Row]
) -> Iterator[tuple[str, str | None]]:
    """Rows of the grid with the row on the reference's levels, and on their own of other axes."""
    grid = [row for row in study_rows if row.baseline is None]
    by_levels = {frozenset(row.labels.items()): row.label for row in grid}
    for row in grid:
        levels = {**row.labels, **compare.reference}
        yield row.label, by_levels.get(frozenset(levels.items()))


def _with_baseline(
    study: Study, label: str, study_rows: Sequence[Row]
) -> Iterator[tuple[str, str | None]]:
    """All rows with the baseline's row on the levels that they share with it."""
    cross = next(baseline.cross for baseline in study.baseline if baseline.label == label)
    by_levels = {}
    for row in study_rows:
        if row.baseline is not None and row.baseline.label == label:
            levels = frozenset(row.labels.items())
            by_levels[levels] = row.label
    for row in study_rows:
        shared = [(axis, level) for axis, level in row.labels.items() if axis in cross]
        yield row.label, by_levels.get(frozenset(shared))
