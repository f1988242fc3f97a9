"""A tuning study's choices: the best column for each line of its tables and each seed."""

import math
from collections.abc import Iterator, Mapping

from securefl.runs.table import IN_UNITS_OF_TARGETS
from securefl.studies.expand import rows
from securefl.studies.scores import Scores
from securefl.studies.study import Study
from securefl.studies.tables import lines, sections

Choices = dict[tuple[str, str], tuple[str, ...]]  # section, line -> the best level for each seed
DIGITS_THAT_DECIDE = 4  # a mean over folds must not win by its last digit


def chosen(study: Study, scores: Scores) -> Choices:
    """Returns the best level of each line and seed.

    Of equal levels it is the first, which is the smallest learning rate. Every seed chooses by its
    own validation records alone, which are training records of its own split.
    """
    levels = study.labels(str(study.table.columns), "table.columns")
    choices: Choices = {}
    for heading, members in sections(study, list(rows(study))):
        for line in lines(study, members)[0]:
            by_level = {
                level: scores.of(row, study.metrics[0])
                for level, row in zip(levels, line.rows, strict=True)
                if row is not None
            }
            best = [_best(by_level, seed, study.metrics[0]) for seed in study.seeds]
            choices[heading, line.label] = tuple(best)
    return choices


def _best(by_level: Mapping[str, Mapping[int, float | None]], seed: int, metric: str) -> str:
    """The level with the best value at this seed; one that was not measured is the worst."""

    def quality(level: str) -> float:
        # A rate that diverges has no measured quality, and must not be chosen.
        value = by_level[level].get(seed)
        if value is None:
            return -math.inf
        # An error is in the units of its target: digits behind the point say nothing about it.
        if metric in IN_UNITS_OF_TARGETS:
            return -float(f"{value:.{DIGITS_THAT_DECIDE}g}")
        return round(value, DIGITS_THAT_DECIDE)

    return max(by_level, key=quality)


def chosen_table(study: Study, scores: Scores) -> str:
    """Returns the choices as a table in Markdown."""
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
        name = f"{heading}, {label}" if heading else label
        yield "| " + " | ".join([name, *levels]) + " |"
