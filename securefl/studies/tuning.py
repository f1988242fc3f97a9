"""Chosen by a tuning study: for each line of its tables and each seed, the level of the columns that scores best."""

from collections.abc import Iterator, Mapping

from securefl.studies.expand import rows
from securefl.studies.scores import Scores
from securefl.studies.study import Study
from securefl.studies.tables import lines, sections

Choices = dict[tuple[str, str], tuple[str, ...]]  # section, line -> the best level for each seed


def chosen(study: Study, scores: Scores) -> Choices:
    """The best level of each line and seed; of equal ones the first, which is the smallest learning rate.

    Every seed chooses by its own validation records alone, which are training records of its own split.
    """
    levels = study.labels(str(study.table.columns), "table.columns")
    best: Choices = {}
    for heading, members in sections(study, list(rows(study))):
        for line in lines(study, members)[0]:
            by_level = {
                level: scores.of(row, study.metrics[0])
                for level, row in zip(levels, line.rows, strict=True)
                if row is not None
            }
            best[heading, line.label] = tuple(_best(by_level, seed) for seed in study.seeds)
    return best


def _best(by_level: Mapping[str, Mapping[int, float | None]], seed: int) -> str:
    """The level with the largest value at this seed, the first of equal ones.

    A value that was not measured is the worst. Rounded, so that a mean over folds does not win by its last digit.
    """
    values = {level: by_seed.get(seed) for level, by_seed in by_level.items()}
    return max(
        values, key=lambda level: -1.0 if (value := values[level]) is None else round(value, 4)
    )


def chosen_table(study: Study, scores: Scores) -> str:
    """The choices as a table in Markdown."""
    return "\n".join(_written(study, chosen(study, scores))) + "\n"


def _written(study: Study, choices: Choices) -> Iterator[str]:
    yield "## Chosen for each seed"
    yield ""
    yield "By its own validation records alone; of equal ones the smallest."
    yield ""
    titles = ["", *(f"seed {seed}" for seed in study.seeds)]
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for (heading, label), levels in choices.items():
        yield "| " + " | ".join([f"{heading}, {label}" if heading else label, *levels]) + " |"
