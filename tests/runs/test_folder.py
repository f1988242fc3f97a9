"""Run folders: made whole or not at all, and opened again only for what they hold."""

from pathlib import Path

import pytest

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import (
    read_json,
)
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request, RunFolder
from securefl.scenario.scenario import parse_scenario


def test_a_run_folder_is_made_whole_and_opened_again(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    RunFolder.create(tmp_path / "run", Request.of({"run": scenario}, "seed = 1"))
    folder = RunFolder.create(tmp_path / "run", Request.of({"run": scenario}, "seed = 1"))
    assert (folder.path / "scenario.toml").read_text() == "seed = 1"
    assert read_json(folder.path / "env.json")["code"] == code_hash()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ScenarioError, match="something that is not a run folder"):
        RunFolder.create(tmp_path, Request.of({"run": scenario}, ""))
    RunFolder.create(tmp_path / "run", Request.of({"run": scenario}, ""))
    with pytest.raises(ScenarioError, match="a run of another scenario"):
        RunFolder.create(tmp_path / "run", Request.of({"run": parse_scenario("seed = 2")}, ""))


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, Request.of({}, "x")).path == tmp_path
    assert (tmp_path / "scenario.toml").read_text() == "x"


def test_going_on_under_other_code_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    RunFolder.create(path, Request.of({}, ""))
    RunFolder.create(path, Request.of({}, ""))
    assert "resumed_under" not in read_json(path / "env.json")
    monkeypatch.setattr("securefl.runs.folder.environment", lambda: {"code": "other"})
    for _ in range(2):
        RunFolder.create(path, Request.of({}, ""))
    assert read_json(path / "env.json")["resumed_under"] == [{"code": "other"}]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", Request.of({}, ""))
    with (
        pytest.raises(RunFolderError, match=r"cannot write the run folder .*: No space left"),
        folder.held(),
    ):
        raise OSError(28, "No space left on device")


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScenarioError, match="cannot write the run folder"):
        RunFolder.create(tmp_path / "file" / "run", Request.of({}, ""))


def test_a_path_that_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is not a run folder"):
        RunFolder.open(tmp_path)
