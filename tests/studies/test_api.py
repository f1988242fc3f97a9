"""Studies from Python: the tables, cells and results of `securefl bench`."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import securefl
from securefl.errors import ScenarioError, SecureflError
from securefl.runs.folder import RunFolder
from securefl.runs.names import cell_hash
from securefl.studies.api import StudyResult
from tests.workers import forked_workers

STUDY: dict[str, Any] = {
    "name": "rules",
    "seeds": 2,
    "base": {"rounds": 1, "training": {"kind": "sgd"}, "data": {"name": "heart"}},
    "axes": {"rule": {name: {"defense.rule": name} for name in ("mean", "median")}},
}


@pytest.fixture(autouse=True, scope="module")
def quick_workers() -> Iterator[None]:
    with forked_workers():
        yield


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return securefl.study(STUDY).run(tmp_path_factory.mktemp("study") / "run", jobs=1)


def test_the_rows_are_those_of_results_csv(result: StudyResult) -> None:
    with (result.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [list(row) for row in result.rows] == [list(line) for line in lines]
    written = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in result.rows
    ]
    assert written == lines
    assert {row["state"] for row in result.rows} == {"done"}
    assert {(row["rule"], row["seed"]) for row in result.rows} == {
        ("mean", 0),
        ("mean", 1),
        ("median", 0),
        ("median", 1),
    }


def test_a_frame_has_the_same_rows(result: StudyResult) -> None:
    frame = result.frame()
    assert list(frame.columns) == list(result.rows[0])
    assert len(frame) == len(result.rows)
    whole = frame[(frame["site"] == "") & (frame["metric"] == "accuracy")]
    assert len(whole) == 4


def test_the_tables_are_those_of_the_folder(result: StudyResult) -> None:
    assert result.tables == (result.folder / "tables.md").read_text(encoding="utf-8")
    assert "median" in result.tables


def test_a_cell_is_that_of_a_single_scenario(result: StudyResult) -> None:
    cells = RunFolder.open(result.folder).cells()
    alone = securefl.parse_scenario(
        'rounds = 1\ntraining = { kind = "sgd" }\ndefense = { rule = "median" }\nseed = 1\n'
        "data = { split_seed = 1 }\n"
    )
    assert cell_hash(alone.resolved()) in {cell_hash(values) for _, values, _ in cells}


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    study = securefl.study(STUDY)
    first = study.run(tmp_path / "run", jobs=1, max_cells=1)
    states = [row["state"] for row in first.rows if row["metric"] in ("", "accuracy")]
    assert states.count("new") == 3
    second = securefl.study(tmp_path / "run" / "study.toml").run(tmp_path / "run", jobs=1)
    assert {row["state"] for row in second.rows} == {"done"}
    spent = {cell.timings().starts for _, _, cell in RunFolder.open(tmp_path / "run").cells()}
    assert spent == {1}


def test_a_study_that_grew_goes_on_in_its_folder(tmp_path: Path) -> None:
    securefl.study({**STUDY, "seeds": 1}).run(tmp_path / "run", jobs=1)
    grown = securefl.study(STUDY).run(tmp_path / "run", jobs=1)
    assert {row["seed"] for row in grown.rows} == {0, 1}
    assert "seeds = 2" in (tmp_path / "run" / "study.toml").read_text(encoding="utf-8")


def test_a_study_is_a_file_or_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("seeds = 1\nbase = { rounds = 1 }\n")
    assert securefl.study(tmp_path / "mine.toml").study.name == "mine"
    assert securefl.study(str(tmp_path / "mine.toml")).study.seeds == (0,)
    assert securefl.study("robustness").study.name == "robustness"


def test_failed_cells_end_it_with_the_reason_once_the_others_are_kept(tmp_path: Path) -> None:
    overflow = {**STUDY, "seeds": 1, "axes": {}}
    overflow["base"] = {**STUDY["base"], "simulate": {"drop": [{"client": 0, "round": 0}]}}
    overflow["base"]["channel"] = {"min_cohort": 4}
    with pytest.raises(SecureflError, match=r"1 of 1 cells failed, .* 1 rounds were abandoned"):
        securefl.study(overflow).run(tmp_path / "run", jobs=1)
    assert (tmp_path / "run" / "results.csv").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"base": {}, "axes": {"defense.rule": [len]}}, r"axes\.defense\.rule is a builtin"),
        ({"rounds": 3}, "'rounds' belongs to a scenario"),
        ({"base": {"rounds": 0}}, "rounds"),
        ("nonsense", "there is no study 'nonsense'"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, given: Any, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        securefl.study(given).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("numbers", [{"jobs": 0}, {"jobs": -1}, {"max_cells": 0}])
def test_a_study_that_would_run_no_cell_at_once_is_refused(
    tmp_path: Path, numbers: dict[str, Any]
) -> None:
    with pytest.raises(ScenarioError, match="must be at least 1, got"):
        securefl.study(STUDY).run(tmp_path / "run", **numbers)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_take_hours_run_on_request_and_stay(tmp_path: Path) -> None:
    long = {"when": {"rule": "median"}, "long": True}
    given = securefl.study({**STUDY, "seeds": 1, "override": [long]})
    for asked, states in ((False, {"done", "new"}), (True, {"done"}), (False, {"done"})):
        result = given.run(tmp_path / "run", jobs=1, long=asked)
        assert {row["state"] for row in result.rows} == states
        assert ("not run" in result.tables) is ("new" in states)
    with pytest.raises(ScenarioError, match="--long has no effect"):
        securefl.study(STUDY).run(tmp_path / "other", jobs=1, long=True)
    assert not (tmp_path / "other").exists()
