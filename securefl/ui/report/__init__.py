"""One static HTML page from a run folder, with the audits in it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import read_json, write_atomic
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import with_marks
from securefl.runs.table import COLUMNS, Row, cells
from securefl.ui.report.audits import audits_in

Group = list[tuple[Mapping[str, Any], Cell]]  # resolved scenarios and their cells


def write_report(path: Path) -> Path:
    """The page report/index.html of the run folder, or the folder of audits, at path, made anew.

    Raises:
        ScenarioError: path is neither.
        RunFolderError: the folder is damaged or cannot be written.
    """
    audits = audits_in(path)
    if not audits and not RunFolder.is_at(path):
        raise ScenarioError(f"{path} is not a run folder, and holds no audits")
    run = _run(path) if RunFolder.is_at(path) else None
    page = (
        Environment(
            loader=PackageLoader("securefl.ui.report", "."),
            autoescape=select_autoescape(["html", "j2"]),
            undefined=StrictUndefined,
        )
        .get_template("page.html.j2")
        .render(title=path.name, run=run, audits=audits)
    )
    target = path / "report" / "index.html"
    try:
        target.parent.mkdir(exist_ok=True)
        write_atomic(target, page.encode())
    except OSError as reason:
        raise RunFolderError(f"cannot write {target}: {reason.strerror}") from None
    return target


def _run(path: Path) -> dict[str, Any]:
    """What the page says of the runs in a folder."""
    folder = RunFolder.open(path)
    return {
        "columns": COLUMNS,
        "rows": [_line(label, group) for label, group in _groups(folder).items()],
        "environment": read_json(path / "env.json"),
        "scenario": folder.request().text,
        "tables": tables.read_text(encoding="utf-8")
        if (tables := path / "tables.md").is_file()
        else "",
        "resolved": [
            {"label": label, "values": values} for label, values in _first_scenarios(folder).items()
        ],
    }


def _groups(folder: RunFolder) -> dict[str, Group]:
    """Label -> the cells of all its seeds; parts of a row stand by themselves."""
    groups: dict[str, Group] = {}
    request = folder.request()
    for use in request.uses:
        label = f"{use.label}, {use.part}" if use.part else use.label
        groups.setdefault(label, []).append((request.cells[use.cell], folder.named(use.cell)))
    return groups


def _line(label: str, group: Group) -> dict[str, Any]:
    """A line of the table: the metrics over the seeds, the states, and what went wrong."""
    statuses = [cell.status() for _, cell in group]
    states = Counter(status.state.value for status in statuses)
    told = (
        ", ".join(f"{count} {state}" for state, count in states.items())
        if len(group) > 1
        else next(iter(states))
    )
    found = [
        with_marks(metrics, scenario, cell)
        for scenario, cell in group
        if (metrics := cell.metrics())
    ]
    wrong = [status.reason for status in statuses if status.reason]
    if lost := sum(metrics["abandoned"] for metrics in found):
        wrong.append(
            f"{lost} of {sum(metrics['rounds'] for metrics in found)} rounds were abandoned"
        )
    for metrics in found:
        wrong += [
            f"client {client} took no part: {why}"
            for client, why in metrics.get("left_out", {}).items()
        ]
    worst = next((state for state in ("failed", "out of budget") if state in states), "")
    return {
        "cells": cells(Row(label, found, told)),
        "state": told,
        "worst": worst,
        "wrong": list(dict.fromkeys(wrong)),
    }


def _first_scenarios(folder: RunFolder) -> dict[str, Mapping[str, Any]]:
    """Label -> the values in force in its first cell; the others differ in their seeds."""
    found: dict[str, Mapping[str, Any]] = {}
    for label, scenario, _ in folder.cells():
        found.setdefault(label, scenario)
    return found
