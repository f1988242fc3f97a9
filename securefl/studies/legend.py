"""What must be known to read the tables of a study: seeds, noise, marks."""

from collections.abc import Iterator, Sequence

from securefl.studies.expand import Row, data_tables
from securefl.studies.judges import Judges
from securefl.studies.questions import Differences, judged_by
from securefl.studies.scores import Scores
from securefl.studies.statistics import FEW
from securefl.studies.study import Study

_TITLES = {"balanced_accuracy": "bal. acc.", "auc": "AUC"}


def legend(study: Study, known: Sequence[Row], scores: Scores, told: Differences) -> Iterator[str]:
    """The lines above the tables."""
    yield f"# {study.title or study.name}"
    yield ""
    yield f"{len(study.seeds)} seeds; mean ± standard error over seeds." + (
        f" Fewer than {FEW} seeds rank nothing." if len(study.seeds) < FEW else ""
    )
    if scores.seeded:
        yield "Noise is seeded, so that the tables can be made again; whoever has the seed can take it away."
    if study.compare is not None:
        yield _differences(study, told)
        if len(study.seeds) > 1:
            yield ""
            yield from (f"- {line}" for line in _noise(study, known))


def title_of(metric: str) -> str:
    """How tables call a metric."""
    return _TITLES.get(metric, metric.replace("_", " "))


def _differences(study: Study, told: Differences) -> str:
    """What is compared, and what a mark means."""
    compare = study.compare
    reference = "" if compare is None else compare.baseline or ", ".join(compare.reference.values())
    return (
        f"Differences in {title_of(study.metrics[0])} from {reference} are paired by seed, with "
        f"95 % t intervals, each for itself. * marks what is beyond noise, {len(told.marked)} of "
        f"{len(told.found)} comparisons: paired t-tests with Holm's correction {_question(study, told)}, "
        "so that a question bears a wrong mark with probability .05 at most. Nothing is marked that is "
        "smaller than the standard error of the test records themselves. Unmarked does not mean equal: "
        "the interval says which differences remain possible."
    )


def _question(study: Study, told: Differences) -> str:
    """Over which comparisons p-values are corrected."""
    if not study.question:
        return "over all of them"
    sizes = sorted({len(rows) for rows in told.questions.values()})
    count = "".join(f" to {size}" for size in dict.fromkeys([sizes[0], sizes[-1]])).removeprefix(
        " to "
    )
    return f"within a question (the same {_listed(study.question)}: {count} comparisons)"


def _noise(study: Study, known: Sequence[Row]) -> Iterator[str]:
    """What the seeds' spread shows of the noise, and what is added; one line for each kind of test records."""
    kinds: dict[tuple[bool, bool, float], dict[str, Judges]] = {}
    for row in known:
        judges = judged_by(study, [row])[row.label]
        kind = kinds.setdefault(
            (judges.redrawn, judges.same, judges.overlap if not judges.same else 0.0), {}
        )
        kind.setdefault(_place(study, row), judges)
    for (redrawn, same, _), places in kinds.items():
        of = f"{_listed(list(places))}: " if len(kinds) > 1 else ""
        if not same:
            line = _new_splits(next(iter(places.values())), len(study.seeds))
        elif redrawn:
            line = _new_training_records(places, len(study.seeds))
        else:
            line = _same_records(places)
        yield of + (line if of else line[0].upper() + line[1:])


def _new_splits(judges: Judges, seeds: int) -> str:
    return (
        f"every seed splits the same records anew, {judges.train} to train and {judges.records} to judge. "
        "Seeds share records, which ± leaves out: intervals and marks take "
        f"s² (1/{seeds} + {judges.idle}/{judges.train}) for the variance of a mean difference, s² being that of "
        "the seeds (Nadeau and Bengio 2003)."
    )


def _new_training_records(places: dict[str, Judges], seeds: int) -> str:
    overlaps = sorted({f"{judges.idle}/{judges.train}" for judges in places.values()})
    return (
        "every seed draws anew which records train, and all seeds are judged on the same records "
        f"({_sizes(places)}). ± shows the first alone: intervals and marks take s² (1/{seeds} + records left "
        f"over / records that train, here {_listed(overlaps)}) for its variance, s² being that of the seeds "
        "(Nadeau and Bengio 2003), and add the standard error that the test records leave."
    )


def _same_records(places: dict[str, Judges]) -> str:
    return (
        "all seeds train on the same records and are judged on the same ones "
        f"({_sizes(places)}). ± is the noise of training runs alone; intervals and marks add the standard "
        "error that the test records leave."
    )


def _sizes(places: dict[str, Judges]) -> str:
    """How many records judge, by place."""
    if len({judges.records for judges in places.values()}) == 1:
        return str(next(iter(places.values())).records)
    return ", ".join(f"{place} {judges.records}" for place, judges in places.items())


def _place(study: Study, row: Row) -> str:
    """The section a row stands in, or its data set where there is none."""
    section = study.table.sections
    name = str(data_tables(study, row)[0].get("name", "heart"))
    return row.labels.get(section, name) if section is not None else name


def _listed(words: Sequence[str]) -> str:
    """Words with commas, and `and` before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
