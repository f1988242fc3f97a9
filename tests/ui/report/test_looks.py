"""What a folder's cells have come to."""

from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.runs.folder import RunFolder
from securefl.ui.report.looks import Group, groups_of, looks_at
from tests.ui.report.folders import CLAIM, Made, claimed, made


def groups_in(folder: Path) -> list[Group]:
    run = RunFolder.open(folder)
    return groups_of(looks_at(run, run.request()))


def test_a_cell_that_failed_after_an_earlier_end_has_no_numbers(tmp_path: Path) -> None:
    failed = {"state": "failed", "run": "r", "reason": "x"}
    cells = [Made("a", 0), Made("a", 1, status=failed)]
    folder = made(tmp_path / "run", cells)
    assert len(list(folder.glob("cells/*/metrics.json"))) == 2
    (group,) = groups_in(folder)
    assert [run["accuracy"] for run in group.runs] == [0.75]
    assert group.states == {"done": 1, "failed": 1}


def test_parts_of_a_row_are_rows_of_the_page(tmp_path: Path) -> None:
    cells = [Made("a", seed, part=part) for part in ("x", "y") for seed in (0, 1)]
    groups = groups_in(made(tmp_path / "run", cells))
    assert [(group.label, len(group.looks)) for group in groups] == [("a, x", 2), ("a, y", 2)]


def test_a_claim_is_a_finite_epsilon(tmp_path: Path) -> None:
    cells = [
        Made("plain"),
        Made("claim", 0, CLAIM, metrics=claimed()),
        Made("no bound", 0, CLAIM, {"privacy": {"epsilon": "inf"}}),
    ]
    groups = groups_in(made(tmp_path / "run", cells))
    assert [group.claims for group in groups] == [False, True, False]


def test_a_cell_behind_a_link_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a")])
    (cell,) = (folder / "cells").iterdir()
    cell.rename(tmp_path / "elsewhere")
    cell.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="a cell lies outside of it"):
        groups_in(folder)
