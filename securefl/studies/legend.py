"""The text above the tables of a study: seeds, noise, marks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from securefl.runs.table import title_of
from securefl.scenario.claim_words import UNITS
from securefl.studies.expand import Row, data_tables, tables
from securefl.studies.fields import NOT_RUN, spread
from securefl.studies.judges import Judges
from securefl.studies.questions import Differences, judged_by
from securefl.studies.scores import Scores
from securefl.studies.statistics import MIN_SEEDS_TO_RANK
from securefl.studies.study import Study

# Whom noise holds against, by the place where it is added.
AGAINST = {
    "local": "everybody else",
    "distributed": "the server together with up to channel.corrupt clients of a sum",
    "central": "those who see models only, not whoever opens the sum",
}


def legend(
    study: Study, study_rows: Sequence[Row], scores: Scores, compared: Differences
) -> Iterator[str]:
    """Yields the lines above the tables."""
    yield f"# {study.title or study.name}"
    yield ""
    seeds = len(study.seeds)
    few = (
        f" Fewer than {MIN_SEEDS_TO_RANK} seeds rank nothing." if seeds < MIN_SEEDS_TO_RANK else ""
    )
    yield f"{seeds} seeds; mean ± standard error over seeds.{few}"
    if scores.seeded:
        yield (
            "Noise is seeded, so that the tables can be made again; "
            "anybody with the seed can subtract it."
        )
    yield from _claims(study, study_rows)
    if study.table.published:
        yield (
            "Published rows are as printed in Yang et al. (MedMNIST v2, Scientific Data 2023): "
            "their own models and training, no DP, all training records in one place."
        )
    if any(spread(scores, row, study.metrics[0]) == NOT_RUN for row in scores.long):
        yield (
            f"Rows that say {NOT_RUN!r} take hours; `securefl bench {study.name} --long` runs them."
        )
    if study.compare is not None:
        yield _differences(study, compared)
        if seeds > 1:
            yield ""
            yield from (f"- {line}" for line in _noise(study, study_rows, scores))


def _claims(study: Study, study_rows: Sequence[Row]) -> Iterator[str]:
    """Yields what epsilons protect and hold against, unless all are of records and local noise."""
    made = set()
    for row in study_rows:
        for privacy in tables(study, row, "privacy"):
            if privacy and not math.isinf(float(privacy.get("epsilon", 0))):
                made.add((privacy.get("unit", "example"), privacy.get("place", "local")))
    if made <= {("example", "local")}:
        return
    units = [words for unit, words in UNITS.items() if unit in {unit for unit, _ in made}]
    places = {place for _, place in made}
    against = [f"{place} noise against {who}" for place, who in AGAINST.items() if place in places]
    yield f"Epsilon is for {' or '.join(units)}. It holds with {'; with '.join(against)}."


def _differences(study: Study, compared: Differences) -> str:
    """What is compared, and what a mark means."""
    compare = study.compare
    reference = ""
    if compare is not None:
        reference = compare.baseline or ", ".join(compare.reference.values())
    return (
        f"Differences in {title_of(study.metrics[0])} from {reference} are paired by seed. Their "
        "95 % t intervals are not corrected for the number of comparisons. "
        f"* marks {len(compared.marked)} of {len(compared.comparisons)} comparisons as beyond "
        f"noise: paired t-tests with Holm's correction {_question(study, compared)}, so that the "
        "probability of a wrong mark in a question is .05 at most. No difference is marked that is "
        "smaller than the standard error of the test records themselves. Unmarked does not mean "
        "equal: the interval says which differences remain possible."
    )


def _question(study: Study, compared: Differences) -> str:
    """Over which comparisons p-values are corrected."""
    if not study.question:
        return "over all of them"
    sizes = sorted({len(members) for members in compared.questions.values()})
    count = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"within a question (the same {_listed(study.question)}: {count} comparisons)"


class _Kind(NamedTuple):
    """Rows whose noise is described by one sentence."""

    redrawn: bool
    same: bool
    overlap: float  # 0 where all seeds are judged on the same records: it is listed by place


def _noise(study: Study, study_rows: Sequence[Row], scores: Scores) -> Iterator[str]:
    """What the spread over seeds shows of the noise, and what is added; one line a kind of rows."""
    kinds: dict[_Kind, dict[str, Judges]] = {}
    for row in study_rows:
        # Row by row, since two rows of one place can have different test records.
        judges = judged_by(study, [row], scores)[row.label]
        kind = _Kind(judges.redrawn, judges.same, 0.0 if judges.same else judges.overlap)
        kinds.setdefault(kind, {}).setdefault(_place(study, row), judges)
    for kind, places in kinds.items():
        line = _sentence(kind, places, len(study.seeds))
        # Places are named only where they differ.
        if len(kinds) > 1:
            yield f"{_listed(list(places))}: {line}"
        else:
            yield line[0].upper() + line[1:]


def _sentence(kind: _Kind, places: Mapping[str, Judges], seeds: int) -> str:
    if not kind.same:
        return _new_splits(next(iter(places.values())), seeds)
    if kind.redrawn:
        return _new_training_records(places, seeds)
    return _same_records(places)


def _new_splits(judges: Judges, seeds: int) -> str:
    return (
        f"every seed draws a new split of the same records, {judges.train} to train and "
        f"{judges.records} to judge. Splits share records, which ± leaves out: intervals and "
        f"marks take s² (1/{seeds} + {judges.idle}/{judges.train}) for the variance of a mean "
        "difference, where s² is the variance over seeds (Nadeau and Bengio 2003)."
    )


def _new_training_records(places: Mapping[str, Judges], seeds: int) -> str:
    overlaps = sorted({f"{judges.idle}/{judges.train}" for judges in places.values()})
    return (
        "every seed draws which records train, and all seeds are judged on the same records "
        f"({_sizes(places)}). ± shows the noise of the draw alone. Intervals and marks take "
        f"s² (1/{seeds} + idle records / training records, here {_listed(overlaps)}) for its "
        "variance, where s² is the variance over seeds (Nadeau and Bengio 2003), and add the "
        "standard error that the test records leave."
    )


def _same_records(places: Mapping[str, Judges]) -> str:
    return (
        "all seeds train on the same records and are judged on the same ones "
        f"({_sizes(places)}). ± is the noise of training runs alone; intervals and marks add the "
        "standard error that the test records leave."
    )


def _sizes(places: Mapping[str, Judges]) -> str:
    """How many records judge, by place."""
    if len({judges.records for judges in places.values()}) == 1:
        return str(next(iter(places.values())).records)
    return ", ".join(f"{place} {judges.records}" for place, judges in places.items())


def _place(study: Study, row: Row) -> str:
    """The section of a row, or its data set where it has none."""
    section = study.table.sections
    name = str(data_tables(study, row)[0].get("name", "heart"))
    return name if section is None else row.labels.get(section, name)


def _listed(words: Sequence[str]) -> str:
    """Words with commas, and `and` before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
