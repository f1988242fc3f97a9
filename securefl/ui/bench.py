"""What `securefl bench` does: expand a study, say what is to come, run what is missing, show the tables."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from securefl.errors import BudgetExceeded, Interrupted, SecureflError
from securefl.files import write_atomic
from securefl.runs.cache import user_cache
from securefl.runs.environment import code_hash
from securefl.runs.folder import RunFolder, Use
from securefl.runs.pool import Finished
from securefl.studies.expand import expand
from securefl.studies.find import find_study
from securefl.studies.grid import Grid, Tally, ended_under, request_for, title
from securefl.studies.study import Study, load_study
from securefl.ui.progress import GridDisplay, counts, duration, make_progress
from securefl.ui.styles import Style


@dataclass(frozen=True)
class Options:
    """How to run a study: worker processes, cells at most, seconds a cell, versions of the code whose cells count."""

    jobs: int
    max_cells: int | None = None
    fail_fast: bool = False
    limit: float | None = None
    accepted: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


def bench(name: str, out: Path | None, options: Options, style: Style) -> None:
    """Run what is missing of a study and show its tables.

    Raises:
        ScenarioError: the study or a cell of it is wrong, or `out` holds something else; nothing was run.
        BudgetExceeded: a privacy budget ended some cells, and nothing failed.
        SecureflError: cells failed.
    """
    from securefl.studies.scores import read_scores
    from securefl.studies.tables import study_tables

    study, grid = plan(name, out, options)
    if style in (Style.PLAIN, Style.RICH) and (hint := _other_versions(grid)):
        print(hint)
    folder = RunFolder.create(grid.folder.path, grid.request)
    with folder.held():
        folder.ask(grid.request)
        _bring_data(grid, style)
        try:
            tally = _run(study, grid, options, make_progress(style, len(grid.first_uses())))
        except Interrupted:
            if style in (Style.PLAIN, Style.RICH):
                print(f"stopped: {counts(grid.tally())}; what there is: {folder.path}/results.csv")
            raise
        text = study_tables(study, read_scores(folder.path / "results.csv"))
        write_atomic(folder.path / "tables.md", text.encode())
    cells = len(grid.first_uses())
    _show(text, tally, folder.path, style)
    if tally.failed:
        raise SecureflError(
            f"{tally.failed} of {cells} cells failed; the reasons stand in {folder.path}/cells/*/status.json; "
            "the same command tries them again"
        )
    if tally.out_of_budget:
        raise BudgetExceeded(
            f"{tally.out_of_budget} of {cells} cells ran out of their privacy budget"
        )


def plan(name: str, out: Path | None, options: Options) -> tuple[Study, Grid]:
    """The study and its cells, before anything is written. Raises ScenarioError."""
    path = find_study(name)
    study, text = load_study(path, overrides=options.overrides)
    planned = expand(study, remember=user_cache().remember)
    folder = RunFolder(out or Path("runs") / study.name)
    return study, Grid(
        folder, request_for(study.name, text, planned, folder.path, options.accepted)
    )


def _run(study: Study, grid: Grid, options: Options, display: GridDisplay) -> Tally:
    """Run the grid under its display; how it stands in the end."""
    uses, failed = grid.first_uses(), set()
    events = grid.run(
        jobs=options.jobs,
        limit=options.limit or study.cell_limit,
        max_cells=options.max_cells,
        fail_fast=options.fail_fast,
    )
    try:
        for tally, event in events:
            job = getattr(event, "job", None)
            if isinstance(event, Finished) and event.state == "failed":
                failed.add(event.job.cell.hash)
            display.show("" if job is None else title(uses[job.cell.hash]), tally, event)
    finally:
        events.close()
        display.stop()
    return grid.tally(failed)


def _bring_data(grid: Grid, style: Style) -> None:
    """Have the published files of the missing cells on this disk before workers ask for them. Raises DataError."""
    lacking = [grid.request.cells[use.cell] for use in grid.missing()]
    if wanted := {
        json.dumps(scenario["data"]): scenario
        for scenario in lacking
        if scenario["data"].get("size")
    }:
        from securefl.scenario.assemble.data import (
            fetch_data,
        )  # torch: a second that other studies need not wait
        from securefl.scenario.scenario import make_scenario
        from securefl.ui.display import make_display

        shown = make_display(style)
        for scenario in wanted.values():
            fetch_data(make_scenario(dict(scenario)), shown.download)
        shown.stop()


def _show(text: str, tally: Tally, folder: Path, style: Style) -> None:
    where = f"results {folder}/results.csv, timings.csv, results.sqlite, tables.md"
    if style is Style.JSON:
        facts = {
            "event": "end",
            "folder": str(folder),
            "done": tally.done,
            "failed": tally.failed,
            "left": tally.left,
        }
        print(
            json.dumps({**facts, "out_of_budget": tally.out_of_budget, "tables": text}), flush=True
        )
    elif style is not Style.NONE:
        print(f"\n{text}\n{where}")
        if tally.left:
            print(f"{tally.left} cells are left; the same command goes on")


def dry_run(name: str, out: Path | None, options: Options, style: Style) -> None:
    """Print the cells, and what the missing ones will take by those that have ended. Raises ScenarioError."""
    study, grid = plan(name, out, options)
    missing = grid.missing()
    todo = {use.cell for use in missing}
    costs, tally = grid.costs(), grid.tally()
    seconds = costs.seconds(Counter(use.label for use in missing), options.jobs)
    size = costs.size(len(todo))
    if style is Style.JSON:
        for use in grid.request.uses:
            print(
                json.dumps(
                    {
                        "event": "cell",
                        "cell": use.cell,
                        "label": title(use),
                        "missing": use.cell in todo,
                    }
                )
            )
        facts = {
            "cells": len(grid.first_uses()),
            "left": len(todo),
            "seconds_left": seconds,
            "bytes_left": size,
        }
        print(
            json.dumps(
                {"event": "plan", "study": study.name, "folder": str(grid.folder.path), **facts}
            )
        )
        return
    rows: dict[str, list[Use]] = {}
    for use in grid.request.uses:
        rows.setdefault(use.label, []).append(use)
    for label, uses in rows.items():
        print(f"{sum(use.cell not in todo for use in uses):>4}/{len(uses):<4} {label}")
    takes = (
        "unknown until cells have ended (try --max-cells 4)"
        if seconds is None
        else duration(seconds)
    )
    disk = "" if size is None else f", {size / 1e6:.1f} MB"
    shared = len(grid.request.uses) - len(grid.first_uses())
    print(
        f"\n{study.name}: rows {len(rows)}, seeds {len(study.seeds)}, cells {len(grid.first_uses())}"
        + (f" ({shared} more shared by rows)" if shared else "")
        + f": {tally.done} done, {tally.out_of_budget} out of budget, {tally.failed} failed, {len(todo)} to run; "
        f"jobs {options.jobs}, time {takes}{disk}; folder {grid.folder.path}"
    )
    if hint := _other_versions(grid):
        print(hint)


def _other_versions(grid: Grid) -> str:
    """What ended under other versions of the code, and how to use it."""
    scenarios = [grid.request.cells[use.cell] for use in grid.missing()]
    found = {
        code: n
        for code, n in ended_under(scenarios, grid.folder.path).items()
        if code != code_hash()
    }
    told = (
        f"{n} of the cells to run ended under code {code}: --accept-code {code} uses them"
        for code, n in found.items()
    )
    return "\n".join(told)
