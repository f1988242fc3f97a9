"""Two run folders side by side: differences on equal seeds, and which of them are beyond noise."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.errors import ScenarioError
from securefl.runs.folder import RunFolder
from securefl.runs.results import results
from securefl.studies.judges import Judges, judges_of
from securefl.studies.scores import Scores, scores
from securefl.studies.statistics import FEW, Comparison, holm
from securefl.ui.styles import Style

METRICS = ("accuracy", "balanced_accuracy", "auc")


@dataclass(frozen=True)
class Difference:
    """One metric of one row: the second folder minus the first, and whether that is beyond noise."""

    row: str
    metric: str
    found: Comparison
    marked: bool
    seeded: bool  # an epsilon, and noise of one of the two came from a seed


def compare(
    first: Path, second: Path, metrics: tuple[str, ...], style: Style, *, sites: bool = False
) -> None:
    """Print how the second folder's results differ from the first's, on request at every site that has test records.

    Raises:
        ScenarioError: they have nothing in common.
        RunFolderError: a folder is damaged.
    """
    one, two = RunFolder.open(first), RunFolder.open(second)
    first_scores, second_scores = _scores(one, sites=sites), _scores(two, sites=sites)
    found = differences(first_scores, second_scores, metrics, _judges(two, second_scores))
    if not found:
        raise ScenarioError(
            f"{first} and {second} have no row, metric and seed in common that both measured"
        )
    if style is Style.JSON:
        for each in found:
            facts = {
                "row": each.row,
                "metric": each.metric,
                "beyond_noise": each.marked,
                "seeded": each.seeded,
            }
            print(json.dumps({"event": "difference", **facts, **each.found._asdict()}))
    elif style is not Style.NONE:
        seeded = [
            path for path, held in ((first, first_scores), (second, second_scores)) if held.seeded
        ]
        marks = [
            f"{path}: SEEDED noise, in it or in a run before it: whoever has the seed removes it"
            for path in seeded
        ]
        print("\n".join(_told(first, second, found, [*changes(one, two), *marks])))


def differences(
    one: Scores, two: Scores, metrics: tuple[str, ...], judges: Mapping[str, Judges]
) -> list[Difference]:
    """Every row and metric that both have on a common seed; Holm's correction over the rows of each metric."""
    rows = [row for row in two.states if row in one.states]
    places = [(row, metric) for row in rows for metric in metrics]
    found = {
        place: two.compare(place[0], place[0], place[1], judges[place[0]], than=one)
        for place in places
    }
    measured = {place: each for place, each in found.items() if each is not None}
    marked: set[tuple[str, str]] = set()
    for metric in metrics:
        question = [place for place in measured if place[1] == metric]
        marks = holm([measured[place].testable for place in question])
        marked.update(place for place, mark in zip(question, marks, strict=True) if mark)
    seeded = {(row, "epsilon") for row in one.seeded | two.seeded}
    return [
        Difference(*place, each, place in marked, place in seeded)
        for place, each in measured.items()
    ]


def _judges(folder: RunFolder, found: Scores) -> dict[str, Judges]:
    """Row -> the records that judge it, those of a site by their number in the results."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for label, scenario, _ in folder.cells():
        tables.setdefault(label, []).append(scenario["data"])
    judges = {}
    for row in found.states:
        label = row if row in tables else row.rpartition(" at ")[0]
        parts = {table.get("only"): table for table in tables[label]}
        new_splits = len({table.get("split_seed") for table in tables[label]}) > 1
        judges[row] = judges_of(list(parts.values()), new_splits=new_splits)
        counts = [int(count) for count in found.of(row, "records").values() if count]
        if row != label and counts:
            judges[row] = judges[row]._replace(records=min(counts))
    return judges


def changes(one: RunFolder, two: RunFolder) -> Iterator[str]:
    """The scenario keys that differ in the first cells of rows that both folders have."""
    first, second = _first_scenarios(one), _first_scenarios(two)
    told: dict[str, None] = {}
    for row in second:
        before, after = (dict(_flat(table.get(row, {}))) for table in (first, second))
        for key in sorted({*before, *after} if before else ()):
            if before.get(key) != after.get(key):
                told[f"{key}: {_shown(before, key)} -> {_shown(after, key)}"] = None
    yield from told


def _scores(folder: RunFolder, *, sites: bool) -> Scores:
    """The scores of a folder; with sites, rows of their own for the records of each."""
    table = results(folder)
    records = [
        dict(
            zip(table.columns, ("" if value is None else str(value) for value in row), strict=True)
        )
        for row in table.rows
    ]
    if sites:
        records += [
            one | {"label": f"{one['label']} at {one['site']}", "site": ""}
            for one in records
            if one["site"]
        ]
    return scores(records)


def _first_scenarios(folder: RunFolder) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for label, scenario, _ in folder.cells():
        found.setdefault(label, scenario)
    return found


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _shown(table: Mapping[str, Any], key: str) -> str:
    return json.dumps(table[key]) if key in table else "absent"


def _told(first: Path, second: Path, found: list[Difference], changed: list[str]) -> Iterator[str]:
    yield f"{second} minus {first}, paired by seed"
    yield from (f"  {change}" for change in changed)
    width = max(len(each.row) for each in found)
    yield ""
    for each in found:
        mark = (" *" if each.marked else "") + (" (seeded)" if each.seeded else "")
        yield f"{each.row:<{width}}  {each.metric:<18} {_number(each.found)}{mark}"
    yield ""
    beyond = sum(each.marked for each in found)
    yield (
        f"{len(found)} comparisons, {beyond} beyond noise (*): paired t-tests with Holm's correction at .05 over the "
        "rows of a metric, never below the test records' own standard error; 95 % t intervals, each for itself"
    )
    yield "unmarked does not mean equal: the interval says which differences remain possible"
    if any(each.found.n < FEW for each in found):
        yield f"fewer than {FEW} seeds rank nothing: nothing is marked there"


def _number(found: Comparison) -> str:
    if found.error is None or found.low is None or found.high is None:
        return f"{found.mean:+.4f} (one seed)"
    return f"{found.mean:+.4f} ± {found.error:.4f} [{found.low:+.4f}, {found.high:+.4f}] over {found.n} seeds"
