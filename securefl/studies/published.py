"""Published figures as rows of a study's tables, next to the study's own."""

from collections.abc import Iterator, Sequence

from securefl.data.published import Figure, figures_of
from securefl.runs.table import NO_CLAIM
from securefl.studies.expand import Row, data_tables
from securefl.studies.study import Study

DIGITS = 3  # as printed


def published_rows(
    study: Study, members: Sequence[Row], metrics: Sequence[str]
) -> Iterator[list[str]]:
    """Yields label, values and claim of what was published about the data sets of some rows.

    Args:
        study: gives the data sets.
        members: the rows, of one table.
        metrics: one a column; all but accuracy and auc stay empty.
    """
    names = [str(table.get("name")) for row in members for table in data_tables(study, row)]
    by_name = {name: figures_of(name) for name in dict.fromkeys(names)}
    known = [figures for figures in by_name.values() if figures]
    for figure in (figure for figures in known for figure in figures):
        label = f"{figure.method}, {figure.conditions}"
        # The heading has not said which set this is where the table has several.
        if len(by_name) > 1:
            label = f"{figure.dataset}, {label}"
        yield [label, *(_value(figure, metric) for metric in metrics), NO_CLAIM]


def _value(figure: Figure, metric: str) -> str:
    values = {"accuracy": figure.accuracy, "auc": figure.auc}
    return f"{values[metric]:.{DIGITS}f}" if metric in values else ""
