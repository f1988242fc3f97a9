"""Tidy results of a run folder: results.csv and timings.csv, and both in results.sqlite."""

import csv
import io
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from securefl.files import write_atomic
from securefl.runs.folder import RunFolder, Use
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import OUTSIDE, Quality, RunMetrics

PLACE = ("cell", "label")
FACTS = ("part", "seed", "split_seed", "code", "state", "noise", "site", "metric", "value")
COLUMNS = (*PLACE, *FACTS)  # the axes of a study are between the two
TIMES = ("seconds",)  # metrics that differ from run to run; they belong to the timings


class Tidy(NamedTuple):
    """A table: its columns, and rows with a value for each."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Number(NamedTuple):
    """One number of a cell; site is empty for all test records, value None for not measured."""

    site: str
    metric: str
    value: float | None


NO_NUMBER = Number("", "", None)  # of a cell that has not ended: it still has a row


def results(folder: RunFolder) -> Tidy:
    """Returns one row a use of a cell, site and metric.

    Columns:
        cell: name of its folder.
        label: the row of the table.
        one column an axis: the level, empty where the row is not on that axis.
        part: which of the cells that make up one row and seed.
        seed: the study's, or a single run's.
        split_seed: of the data.
        code: version that made the cell, empty for a single run.
        state: new, running (begun and not ended), done, failed, out of budget.
        noise: where noise was added, system, or seeded if any of the noise came from a seed, in
            this run or in one that it goes on from.
        site: empty for all test records.
        metric, value: a number, empty for not measured; both empty for a cell that has not ended.
            auc_within_sites is made from the sites' AUCs, see there.
    """
    request = folder.request()
    axes = tuple(dict.fromkeys(axis for use in request.uses for axis in use.levels))
    rows: list[tuple[Any, ...]] = []
    for use in request.uses:
        rows += _rows_of(use, request.cells[use.cell], folder, axes)
    return Tidy((*PLACE, *axes, *FACTS), rows)


def _rows_of(
    use: Use, scenario: Mapping[str, Any], folder: RunFolder, axes: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    cell = folder.named(use.cell)
    state = cell.status().state
    metrics: RunMetrics = {}
    # A cell that failed after an earlier end has metrics on disk, which count no more.
    if state.ended:
        metrics = with_marks(cell.metrics() or {}, scenario, cell)
    seed = scenario["seed"] if use.seed is None else use.seed
    levels = [use.levels.get(axis, "") for axis in axes]
    place = (use.cell, use.label, *levels, use.part)
    split_seed = scenario["data"]["split_seed"]
    noise = metrics.get("noise") or ""
    facts = (seed, split_seed, use.code, state.value, noise)
    # A cell that has not ended keeps a row, so that a table shows what is missing.
    for number in _numbers(metrics) if metrics else [NO_NUMBER]:
        yield (*place, *facts, *number)


def timings(folder: RunFolder) -> Tidy:
    """Returns one row a cell and stage (set_up, rounds, total), over all starts of the cell.

    Columns:
        cell, label (of its first use), starts: how often it was begun, stage, wall_seconds,
        cpu_seconds, bytes (of the stages of a profiled run that carry some).
    """
    labels: dict[str, str] = {}
    for use in folder.request().uses:
        labels.setdefault(use.cell, use.label)
    rows = []
    for name, label in labels.items():
        spent = folder.named(name).timings()
        for stage, (wall, cpu) in spent.stages.items():
            size = spent.carried.get(stage)
            rows.append((name, label, spent.starts, stage, wall, cpu, size))
    columns = ("cell", "label", "starts", "stage", "wall_seconds", "cpu_seconds", "bytes")
    return Tidy(columns, rows)


def write_results(folder: RunFolder) -> None:
    """Writes results.csv and timings.csv, and results.sqlite with a table of each."""
    tables = {"results": results(folder), "timings": timings(folder)}
    for name, table in tables.items():
        file = folder.path / f"{name}.csv"
        write_atomic(file, _csv(table))
    write_atomic(folder.path / "results.sqlite", _sqlite(tables))


def _numbers(metrics: RunMetrics) -> Iterator[Number]:
    """All that is a number or not measured; words have columns of their own.

    Figures of models that a claim does not cover stay in metrics.json, which says so.
    """
    sites = {} if OUTSIDE in metrics.get("site_models", "") else metrics.get("sites", {})
    for site, values in [("", metrics), *sites.items()]:
        for name, value in values.items():
            if name not in TIMES and isinstance(value, int | float | None):
                yield Number(site, name, value)
    if any(quality.get("auc") is not None for quality in sites.values()):
        yield Number("", "auc_within_sites", auc_within_sites(sites))


def auc_within_sites(sites: Mapping[str, Quality]) -> float | None:
    """Returns the mean of the sites' AUCs, weighted by their test records.

    The AUC of all test records asks for one threshold: it also falls where the scores of one site
    are higher than those of another. This mean does not.

    Returns:
        None where a site that has test records has no AUC, or no count of them.
    """
    total = 0.0
    records = 0
    for quality in sites.values():
        count = quality.get("records")
        value = quality.get("auc")
        if count == 0:
            continue
        if count is None or value is None:
            return None
        total += count * value
        records += count
    return total / records if records else None


def _csv(table: Tidy) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        values = ["" if value is None else value for value in row]
        writer.writerow(values)
    return out.getvalue().encode()


def _sqlite(tables: Mapping[str, Tidy]) -> bytes:
    """The tables as one database; columns have no types, so that numbers stay numbers."""
    with sqlite3.connect(":memory:") as database:
        for name, table in tables.items():
            columns = ", ".join(_quoted(column) for column in table.columns)
            marks = ", ".join("?" * len(table.columns))
            rows = ([None if value == "" else value for value in row] for row in table.rows)
            database.execute(f"CREATE TABLE {name} ({columns})")
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608 - ours
        database.commit()
        content: bytes = database.serialize()
    database.close()
    return content


def _quoted(column: str) -> str:
    """A column's name for SQL; axes are named by users, with any characters."""
    doubled = column.replace('"', '""')
    return f'"{doubled}"'
