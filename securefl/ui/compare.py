"""Two run folders side by side: differences on equal seeds, and which of them are beyond noise."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.errors import ScenarioError
from securefl.runs.folder import RunFolder
from securefl.runs.metrics import METRICS_OF_TARGETS
from securefl.runs.results import results
from securefl.runs.table import decimals, number_of
from securefl.studies.judges import Judges, judges_of
from securefl.studies.scores import Scores, scores
from securefl.studies.statistics import MIN_SEEDS_TO_RANK, Comparison, holm
from securefl.ui.display import Display, make_display
from securefl.ui.styles import Style

METRICS = ("accuracy", "balanced_accuracy", "auc", *METRICS_OF_TARGETS)


@dataclass(frozen=True)
class Difference:
    """One metric of one row: the second folder minus the first.

    Attributes:
        row: label of the row, with " at SITE" for the records of one site.
        metric: name of the metric.
        comparison: mean difference, standard error, interval and p-value.
        marked: whether the difference is beyond noise.
        seeded: whether this is an epsilon, and noise of one of the folders came from a seed.
    """

    row: str
    metric: str
    comparison: Comparison
    marked: bool
    seeded: bool


def compare(
    first: Path, second: Path, metrics: tuple[str, ...], style: Style, *, sites: bool = False
) -> None:
    """Shows how the results of the second folder differ from those of the first.

    Args:
        first: a run folder.
        second: a run folder.
        metrics: the metrics that are compared.
        style: the style of the display.
        sites: whether each site that has test records is compared as well.

    Raises:
        ScenarioError: the folders have nothing in common.
        RunFolderError: a folder is damaged.
    """
    first_folder = RunFolder.open(first)
    second_folder = RunFolder.open(second)
    before = _scores(first_folder, sites=sites)
    after = _scores(second_folder, sites=sites)
    judges = _judges(second_folder, after)
    table = differences(before, after, metrics, judges)
    if not table:
        raise ScenarioError(
            f"{first} and {second} have no row, metric and seed in common that both measured"
        )
    display = make_display(style)
    display.remark(f"{second} minus {first}, paired by seed")
    for change in changes(first_folder, second_folder):
        display.remark(f"  {change}")
    for path, scored in ((first, before), (second, after)):
        if scored.seeded:
            display.remark(
                f"  {path}: SEEDED noise, here or in a run before it: "
                "anybody who has the seed can remove it"
            )
    _show(table, display)


def differences(
    before: Scores, after: Scores, metrics: tuple[str, ...], judges: Mapping[str, Judges]
) -> list[Difference]:
    """Returns every row and metric that both folders have on a common seed.

    Marks follow Holm's correction over the rows of each metric: with one test a row, some row
    would look different by chance.
    """
    comparisons: dict[tuple[str, str], Comparison] = {}
    common_rows = [row for row in after.states if row in before.states]
    for row in common_rows:
        for metric in metrics:
            comparison = after.compare(row, row, metric, judges[row], than=before)
            if comparison is not None:
                comparisons[row, metric] = comparison
    marked: set[tuple[str, str]] = set()
    for metric in metrics:
        family = [place for place in comparisons if place[1] == metric]
        marks = holm([comparisons[place].testable for place in family])
        marked.update(place for place, mark in zip(family, marks, strict=True) if mark)
    seeded = {(row, "epsilon") for row in before.seeded | after.seeded}
    return [
        Difference(*place, comparison, place in marked, place in seeded)
        for place, comparison in comparisons.items()
    ]


def _judges(folder: RunFolder, scored: Scores) -> dict[str, Judges]:
    """Returns row -> the records that judge it; a site's records by their number in the results."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for label, scenario, _ in folder.cells():
        tables_of_row = tables.setdefault(label, [])
        tables_of_row.append(scenario["data"])
    judges = {}
    for row in scored.states:
        label = row if row in tables else row.rpartition(" at ")[0]
        parts = {table.get("only"): table for table in tables[label]}
        split_seeds = {table.get("split_seed") for table in tables[label]}
        counts = [int(count) for count in scored.of(row, "records").values() if count]
        judges_of_row = judges_of(
            list(parts.values()), new_splits=len(split_seeds) > 1, counted=counts
        )
        is_site = row != label
        if is_site and counts:
            judges_of_row = judges_of_row._replace(records=min(counts))
        judges[row] = judges_of_row
    return judges


def changes(first: RunFolder, second: RunFolder) -> Iterator[str]:
    """Yields the scenario keys that differ in the first cells of rows that both folders have."""
    before = _first_scenarios(first)
    after = _first_scenarios(second)
    lines: dict[str, None] = {}  # a dictionary keeps the order, and each line once
    for row in after:
        if row not in before:
            continue
        old = dict(_flat(before[row]))
        new = dict(_flat(after[row]))
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                line = f"{key}: {_value(old, key)} -> {_value(new, key)}"
                lines[line] = None
    yield from lines


def _scores(folder: RunFolder, *, sites: bool) -> Scores:
    """Reads the scores of a folder; with sites, each site's records get a row of their own."""
    table = results(folder)
    records = []
    for row in table.rows:
        texts = ["" if value is None else str(value) for value in row]
        records.append(dict(zip(table.columns, texts, strict=True)))
    if sites:
        records += [
            record | {"label": f"{record['label']} at {record['site']}", "site": ""}
            for record in records
            if record["site"]
        ]
    return scores(records)


def _first_scenarios(folder: RunFolder) -> dict[str, Mapping[str, Any]]:
    scenarios: dict[str, Mapping[str, Any]] = {}
    for label, scenario, _ in folder.cells():
        scenarios.setdefault(label, scenario)
    return scenarios


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _value(table: Mapping[str, Any], key: str) -> str:
    return json.dumps(table[key]) if key in table else "absent"


def _show(table: list[Difference], display: Display) -> None:
    width = max(len(difference.row) for difference in table)
    display.remark("")
    for difference in table:
        comparison = difference.comparison
        marks = " *" if difference.marked else ""
        marks += " (seeded)" if difference.seeded else ""
        display.line(
            f"{difference.row:<{width}}  {difference.metric:<18} {_number(difference)}{marks}",
            event="difference",
            row=difference.row,
            metric=difference.metric,
            beyond_noise=difference.marked,
            seeded=difference.seeded,
            **comparison._asdict(),
        )
    display.remark("")
    beyond = sum(difference.marked for difference in table)
    display.remark(
        f"{len(table)} comparisons, {beyond} beyond noise (*): paired t-tests with Holm's "
        "correction at .05 over the rows of a metric, never below the test records' own standard "
        "error; each 95 % t interval is for its own row"
    )
    display.remark("unmarked does not mean equal: the interval says which differences are possible")
    if any(difference.comparison.n < MIN_SEEDS_TO_RANK for difference in table):
        display.remark(
            f"fewer than {MIN_SEEDS_TO_RANK} seeds rank nothing: nothing is marked there"
        )


def _number(difference: Difference) -> str:
    comparison = difference.comparison
    mean, error, low, high = comparison.mean, comparison.error, comparison.low, comparison.high
    if error is None or low is None or high is None:
        digits = decimals(difference.metric, mean, usual=4)
        return f"{number_of(mean, digits, sign='+')} (one seed)"
    digits = decimals(difference.metric, max(abs(low), abs(high)), usual=4)
    middle, lower, upper = (number_of(value, digits, sign="+") for value in (mean, low, high))
    spread = f"{middle} ± {number_of(error, digits)}"
    return f"{spread} [{lower}, {upper}] over {comparison.n} seeds"
