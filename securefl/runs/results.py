"""Tidy results of a run folder: results.csv and timings.csv, and both in results.sqlite."""

import csv
import io
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from securefl.files import write_atomic
from securefl.runs.folder import RunFolder, Use
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import RunMetrics

PLACE = ("cell", "label")
FACTS = ("part", "seed", "split_seed", "code", "state", "noise", "site", "metric", "value")
COLUMNS = (*PLACE, *FACTS)  # the axes stand between them
_TIMES = {"seconds"}  # metrics that differ from run to run; they belong to the timings


class Tidy(NamedTuple):
    """A table: its columns, and its rows as the values of them."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def results(folder: RunFolder) -> Tidy:
    """One row a use of a cell, site and metric.

    Columns:
        cell: name of its folder. label: the row of the table. One column an axis: the level, empty where the row is not
        on that axis. part: which of the cells that make up one row and seed. seed: the study's, or a single run's.
        split_seed. code: version that made the cell, empty for a single run. state: done, failed, running (begun and
        not ended), new, out of budget. noise: where noise was added, system, or seeded if
        any of it came from a seed, in this run or in one that it goes on from. site: empty for all test records.
        metric, value: a number, empty for not measured; both empty for a cell that has not ended.
    """
    request = folder.request()
    axes = _axes(request.uses)
    rows = []
    for use in request.uses:
        cell, scenario = folder.named(use.cell), request.cells[use.cell]
        state = cell.status().state
        metrics = cell.metrics() if state.ended else None
        if metrics is not None:
            metrics = with_marks(metrics, scenario, cell)
        seed = scenario["seed"] if use.seed is None else use.seed
        where = (use.cell, use.label, *(use.levels.get(axis, "") for axis in axes), use.part)
        facts = (
            seed,
            scenario["data"]["split_seed"],
            use.code,
            state,
            (metrics or {}).get("noise") or "",
        )
        for site, metric, value in _numbers(metrics) if metrics else [("", "", None)]:
            rows.append((*where, *facts, site, metric, value))
    return Tidy((*PLACE, *axes, *FACTS), rows)


def timings(folder: RunFolder) -> Tidy:
    """One row a cell and stage (set_up, rounds, total), over all starts of the cell.

    Columns:
        cell, label (of its first use), starts: how often it was begun, stage, wall_seconds, cpu_seconds.
    """
    first = {use.cell: use.label for use in reversed(folder.request().uses)}
    rows = []
    for name in dict.fromkeys(use.cell for use in folder.request().uses):
        spent = folder.named(name).timings()
        for stage, (wall, cpu) in spent.stages.items():
            rows.append((name, first[name], spent.starts, stage, wall, cpu))
    return Tidy(("cell", "label", "starts", "stage", "wall_seconds", "cpu_seconds"), rows)


def write_results(folder: RunFolder) -> None:
    """results.csv and timings.csv, and results.sqlite with a table of each."""
    tables = {"results": results(folder), "timings": timings(folder)}
    for name, table in tables.items():
        write_atomic(folder.path / f"{name}.csv", _csv(table))
    write_atomic(folder.path / "results.sqlite", _sqlite(tables))


def _axes(uses: Sequence[Use]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(axis for use in uses for axis in use.levels))


def _numbers(metrics: RunMetrics) -> Iterator[tuple[str, str, float | None]]:
    """Site, metric and value of all that is a number or not measured; words and times stand elsewhere."""
    for site, values in [("", metrics), *metrics.get("sites", {}).items()]:
        for name, value in values.items():
            if name not in _TIMES and (value is None or isinstance(value, int | float)):
                yield site, name, value


def _csv(table: Tidy) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if value is None else value for value in row] for row in table.rows)
    return out.getvalue().encode()


def _sqlite(tables: Mapping[str, Tidy]) -> bytes:
    """The tables as one database: no declared types, so that numbers stay numbers, and NULL for what is empty."""
    with sqlite3.connect(":memory:") as database:
        for name, table in tables.items():
            columns = ", ".join(
                f'"{column.replace(chr(34), chr(34) * 2)}"' for column in table.columns
            )
            database.execute(f"CREATE TABLE {name} ({columns})")
            marks = ", ".join("?" * len(table.columns))
            rows = ([None if value == "" else value for value in row] for row in table.rows)
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608 - our own names
        database.commit()
        content: bytes = database.serialize()
    database.close()
    return content
