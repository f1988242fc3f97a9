"""Which rows of a study are compared, with what noise, and which differences are beyond it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from securefl.studies.expand import Row, data_tables
from securefl.studies.judges import Judges, judges_of
from securefl.studies.scores import Scores
from securefl.studies.statistics import Comparison, holm
from securefl.studies.study import Study

Question = tuple[
    str, ...
]  # labels of the levels that its comparisons share; "" where a row is not on the axis


@dataclass(frozen=True)
class Differences:
    """Each row against its reference.

    Args:
        found: row -> what its comparison gave; None where a value is missing.
        marked: the rows beyond noise.
        seeds: how many the study has.
        questions: question -> its rows, whose p-values are corrected together.
    """

    found: Mapping[str, Comparison | None]
    marked: frozenset[str]
    seeds: int
    questions: Mapping[Question, tuple[str, ...]]


def differences(study: Study, known: Sequence[Row], scores: Scores) -> Differences:
    """Each row against its reference in the first metric, Holm's correction within each question."""
    if study.compare is None:
        return Differences({}, frozenset(), len(study.seeds), {})
    judges, pairs = judged_by(study, known), dict(_pairs(study, known))
    found = {
        row: scores.compare(row, other, study.metrics[0], _of_both(judges[row], judges[other]))
        for row, other in pairs.items()
    }
    questions: dict[Question, tuple[str, ...]] = {}
    for row in known:
        if row.label in pairs:
            question = tuple(row.labels.get(axis, "") for axis in study.question)
            questions[question] = (*questions.get(question, ()), row.label)
    marked = frozenset(
        row
        for members in questions.values()
        for row in _beyond_noise(members, found, len(study.seeds))
    )
    return Differences(found, marked, len(study.seeds), questions)


def judged_by(study: Study, known: Sequence[Row]) -> dict[str, Judges]:
    """Row -> the records that judge it."""
    new_splits = "data.split_seed" in study.seed_keys and len(study.seeds) > 1
    return {row.label: judges_of(data_tables(study, row), new_splits=new_splits) for row in known}


def _of_both(one: Judges, other: Judges) -> Judges:
    """The records behind a difference; the fewer where two rows are judged on different ones."""
    return one._replace(records=min(one.records, other.records), same=one.same or other.same)


def _beyond_noise(
    rows: Sequence[str], found: Mapping[str, Comparison | None], seeds: int
) -> Iterator[str]:
    """The rows of one question whose difference is marked; what lacks a seed counts and is never marked."""
    tested = [found[row] for row in rows]
    p_values = [one.testable if one is not None and one.n == seeds else None for one in tested]
    return (row for row, mark in zip(rows, holm(p_values), strict=True) if mark)


def _pairs(study: Study, known: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Each row of the grid with its reference: the same levels but for those named, or the baseline's row."""
    compare = study.compare
    by_levels = {tuple(row.labels.items()): row.label for row in known if row.baseline is None}
    baselines = {
        (row.baseline.label, tuple(row.labels.items())): row.label
        for row in known
        if row.baseline is not None
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
