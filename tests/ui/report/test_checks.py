"""The lint on a page: what it found, and how much of the folder it looked at."""

from pathlib import Path

import pytest

from securefl.runs.folder import RunFolder
from securefl.ui.report import checks as module
from securefl.ui.report.checks import MAX_CELLS, Checks, checks
from securefl.ui.report.looks import groups_of, looks_at
from tests.ui.report.folders import CLAIM, Made, claimed, made


def checks_of(folder: Path) -> Checks:
    run = RunFolder.open(folder)
    return checks(run, groups_of(looks_at(run, run.request())))


def test_a_claim_without_ledgers_is_a_mistake(tmp_path: Path) -> None:
    found = checks_of(made(tmp_path / "run", [Made("a", 0, CLAIM, metrics=claimed())]))
    assert "claim-without-noise" in found.mistakes
    assert found.lines[0].startswith("MISTAKE claim-without-noise: ")
    assert found.extent == "The lint looked at the run's scenario, ledgers and records."


def test_a_large_folder_is_looked_at_in_part_and_says_so(tmp_path: Path) -> None:
    cells = [
        Made(f"row {row}", seed, CLAIM, {"training": {"lr": 0.1 + row}}, metrics=claimed())
        for row in range(MAX_CELLS + 2)
        for seed in range(2)
    ]
    found = checks_of(made(tmp_path / "run", [*cells, Made("plain")]))
    assert found.extent == (
        f"The lint looked at {MAX_CELLS} of {2 * MAX_CELLS + 4} cells with a claim, the first of "
        "each row. The command securefl audit with this folder looks at all of them."
    )


def test_large_ledgers_end_the_look_after_the_first_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [Made(name, 0, CLAIM, metrics=claimed()) for name in ("a", "b")]
    folder = made(tmp_path / "run", cells)
    for cell in (folder / "cells").iterdir():
        (cell / "ledgers").mkdir()
        (cell / "ledgers" / "0.jsonl").write_text("x" * 60)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    assert checks_of(folder).extent.startswith("The lint looked at 1 of 2 cells")
    monkeypatch.setattr(module, "MAX_BYTES", 120)
    assert checks_of(folder).extent.startswith("The lint looked at 2 of 2 cells")


def test_without_a_claim_or_a_run_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert checks_of(made(tmp_path / "plain", [Made("a")])).extent == (
        "No cell makes a privacy claim, so that there is none to check."
    )
    assert checks_of(made(tmp_path / "new", [Made("a", 0, CLAIM, status=None)])).extent == (
        "The lint has nothing to look at: no cell with a claim has begun."
    )
