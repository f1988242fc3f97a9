"""Studies over a user's own records and code: cells in workers, tables, and changed files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from securefl.runs.cache import user_cache
from securefl.runs.cell import Cell, CellState
from securefl.runs.folder import RunFolder
from securefl.runs.pool import Finished, Job, play
from securefl.scenario.plugins.trust import trust
from securefl.studies.expand import expand
from securefl.studies.judges import judges_of
from securefl.studies.study import Study, load_study
from tests.commands import call
from tests.workers import forked_workers

STUDY = """
name = "own"
seeds = 2
metrics = ["accuracy"]
[base]
rounds = 2
data = { name = "arrays", path = "own.npz", test_share = 0.3, partition = "iid", clients = 5 }
training = { kind = "sgd" }
[axes.rule]
"mean" = { "defense.rule" = "mean" }
"mine" = { "defense.rule" = { name = "python:mine.py:rule", f = 1 } }
"faulty" = { "defense.rule" = { name = "python:mine.py:faulty" } }
[compare]
reference = { rule = "mean" }
"""
CODE = """
def rule(rows, *, f: int):
    return rows.sort(dim=0).values[f:len(rows) - f].mean(dim=0)

def faulty(rows, *, calls=[]):
    calls.append(1)
    return rows.mean(dim=0) if len(rows) < 5 or not rows.abs().sum() else rows[:1].clone()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = np.arange(120) % 2
    features = random.normal(size=(120, 3)).astype(np.float32) + labels[:, None]
    np.savez(tmp_path / "own.npz", train_features=features, train_labels=labels)
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "study.toml").write_text(STUDY)
    trust(tmp_path)
    return tmp_path


@pytest.fixture
def workers() -> Iterator[None]:
    with forked_workers():
        yield


def study(home: Path) -> Study:
    loaded, _ = load_study(home / "study.toml")
    return loaded


def test_a_faulty_rule_fails_its_cells_and_the_study_goes_on(home: Path, workers: None) -> None:
    done = call("bench", home / "study.toml", "--out", "r", "--jobs", "1", cwd=home)
    assert done.returncode == 1
    assert "error: 2 of 6 cells failed" in done.stderr
    reasons = [
        cell.status().reason
        for label, _, cell in RunFolder.open(home / "r").cells()
        if label == "faulty"
    ]
    sentence = "defense.rule python:mine.py:faulty has to return one number a coordinate"
    assert [str(reason).startswith(sentence) for reason in reasons] == [True, True]
    tables = (home / "r" / "tables.md").read_text()
    assert "| mine |" in tables
    # Nobody published how many records judge: the results say it.
    assert "every seed draws a new split of the same records" in tables
    report = call("report", "r", cwd=home)
    assert report.returncode == 0, report.stderr
    for file in (home / "r").rglob("*.html"):
        assert str(home) not in file.read_text()
    compared = call("compare", "r", "r", cwd=home)
    assert compared.returncode == 0, compared.stderr


def test_cells_get_new_names_when_a_file_changes(home: Path) -> None:
    before = expand(study(home), remember=user_cache().remember)
    assert expand(study(home), remember=user_cache().remember) == before
    (home / "mine.py").write_text(CODE + "# changed\n")
    after = expand(study(home), remember=user_cache().remember)
    changed = [
        one.row for one, other in zip(before, after, strict=True) if one.scenario != other.scenario
    ]
    assert changed == ["mine"] * 2 + ["faulty"] * 2


def test_a_worker_runs_no_code_but_the_code_that_was_planned(home: Path, workers: None) -> None:
    planned = expand(study(home), remember=user_cache().remember)
    scenario = next(cell.scenario for cell in planned if cell.row == "mine")
    (home / "mine.py").write_text(CODE.replace("mean(dim=0)", "sum(dim=0)"))
    cell = Cell(home / "r" / "cells" / "0")
    (end,) = (
        event
        for event in play([Job(cell, scenario)], workers=1, limit=60)
        if isinstance(event, Finished)
    )
    assert end.state is CellState.FAILED
    assert end.reason.startswith("mine.py is not the code that this run began with: a file was ch")
    assert cell.rounds() == []


def test_of_own_records_only_the_results_know_how_many_judge() -> None:
    table = {"name": "arrays", "test_share": 0.2, "num_classes": 3}
    judges = judges_of([table], new_splits=True, counted=[41, 40])
    assert (judges.records, judges.train, judges.idle) == (40, 160, 40)
    assert (judges.redrawn, judges.same, judges.classes) == (True, False, 3)
    assert judges.overlap == pytest.approx(0.25)
    fixed = judges_of([{"name": "arrays"}], new_splits=True, counted=[50])
    assert (fixed.redrawn, fixed.same, fixed.overlap) == (False, True, 0.0)
    validated = judges_of([{**table, "test_on": "validation"}], new_splits=True, counted=[20])
    # A fifth is never used, a quarter of the others judges.
    assert validated.train == 60
    assert validated.overlap == pytest.approx((0.2 + 0.2) / 0.6, rel=0.02)
    assert judges_of([table], new_splits=False, counted=[]).records == 1
