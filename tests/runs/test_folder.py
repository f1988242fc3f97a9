"""Files, checkpoints and run folders: whole or absent, and put right after a crash.

Dead mutants: write_atomic without the rename; last line kept though torn; digest without the record; digest without
the tensors; checkpoint's record not put back; records ahead of the checkpoint kept; results.csv without sites.
"""

import csv
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.channels.protocol import Observation
from securefl.errors import RunFolderError, ScenarioError
from securefl.federation.record import RoundRecord
from securefl.federation.values import Attendance, Played, State
from securefl.files import (
    append_line,
    locked,
    read_json,
    read_lines,
    write_atomic,
    write_json,
    write_lines,
)
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from securefl.runs.environment import code_hash, environment
from securefl.runs.folder import Request, RunFolder
from securefl.runs.names import cell_hash
from securefl.runs.results import write_results
from securefl.scenario.scenario import parse_scenario

RECORD = RoundRecord(0, False, "", (0, 1), (0, 1), {}, (), 0, 10, 20, 0.5, {0: "ab"}, 0.1)
STATE = State(torch.tensor([1.0, -2.0]), {"velocity": torch.tensor([0.5, 0.25])}, round=1)


def played(round: int) -> Played:
    seen = (
        Observation("server", "update in the clear", (0,), (2,), 8, torch.tensor([123.456, 7.0])),
    )
    return Played(replace(STATE, round=round + 1), replace(RECORD, round=round), Attendance(), seen)


def opened(tmp_path: Path) -> Cell:
    cell = Cell(tmp_path / "cell")
    cell.open()
    return cell


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def broken(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_until_the_rename_the_old_content_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def crash(source: Path, target: Path) -> Path:
        assert source.read_bytes() == b"new"
        raise OSError("cut here")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="cut here"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    assert read_lines(path) == [{"a": 1}]


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("nonsense\n")
    with pytest.raises(RunFolderError, match="a line is not JSON"):
        read_lines(tmp_path / "lines")


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x", {"a": math.nan})
    assert not (tmp_path / "x").exists()


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(RunFolderError, match="in use by another run"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(STATE, {"round": 0}))
    back = load_checkpoint(path)
    assert torch.equal(back.state.weights, STATE.weights)
    assert torch.equal(back.state.step_state["velocity"], STATE.step_state["velocity"])
    assert (back.state.round, back.record) == (1, {"round": 0})


def test_any_flipped_byte_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(STATE, {"round": 0}))
    good = path.read_bytes()
    for position in range(len(good)):
        if good[position : position + 1] == b" ":  # padding of the header carries nothing
            continue
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(RunFolderError, match=r"checkpoint .* is damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_checkpoint_is_noticed(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(STATE, {"round": 0}))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RunFolderError, match="is damaged"):
        load_checkpoint(path)


def test_a_crash_after_the_checkpoint_loses_no_record(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    cell.finish_round(played(0))
    cell.finish_round(played(1))
    lines = read_lines(cell.folder / "rounds.jsonl")
    write_lines(cell.folder / "rounds.jsonl", lines[:1])
    state = cell.last_good(State(torch.zeros(2)))
    assert state.round == 2
    assert [record.round for record in cell.rounds()] == [0, 1]


def test_records_and_sightings_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    cell.finish_round(played(0))
    append_line(cell.folder / "rounds.jsonl", asdict(replace(RECORD, round=1)))
    append_line(cell.folder / "transcript.jsonl", {"round": 1})
    cell.last_good(State(torch.zeros(2)))
    assert [record.round for record in cell.rounds()] == [0]
    assert [entry["round"] for entry in read_lines(cell.folder / "transcript.jsonl")] == [0]


def test_missing_records_are_told(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    for round in range(3):
        cell.finish_round(played(round))
    path = cell.folder / "rounds.jsonl"
    write_lines(path, read_lines(path)[1:])
    with pytest.raises(RunFolderError, match="rounds are missing"):
        cell.last_good(State(torch.zeros(2)))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    cell.finish_round(played(0))
    with pytest.raises(RunFolderError, match="belongs to another model"):
        cell.last_good(State(torch.zeros(3)))


def test_the_transcript_holds_no_values(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    cell.finish_round(played(0))
    (entry,) = read_lines(cell.folder / "transcript.jsonl")
    expected: dict[str, Any] = {
        "round": 0,
        "party": "server",
        "kind": "update in the clear",
        "about": [0],
    }
    assert entry == {**expected, "shape": [2], "bytes": 8}


def test_a_cell_is_named_by_what_it_runs() -> None:
    one, same, other = (
        parse_scenario("seed = 1"),
        parse_scenario("seed = 1\nrounds = 20"),
        parse_scenario("seed = 2"),
    )
    names = [cell_hash(scenario.resolved()) for scenario in (one, same, other)]
    assert names[0] == names[1] != names[2]
    assert cell_hash(one.resolved(), code="abc") != names[0]
    more = one.resolved()
    more["data"] |= {"a_key_of_later": None}
    assert cell_hash(more) == names[0]
    more["data"] |= {"a_key_of_later": 0}
    assert cell_hash(more) != names[0]


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


def test_a_status_without_a_state_is_told(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    write_json(cell.folder / "status.json", {"run": "x"})
    with pytest.raises(RunFolderError, match="it names no state"):
        cell.status()


def test_a_vanished_checkpoint_is_not_a_fresh_start(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    cell.finish_round(played(0))
    (cell.folder / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match="is gone, yet rounds were played"):
        cell.last_good(State(torch.zeros(2)))
    assert len(cell.rounds()) == 1


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScenarioError, match="cannot write the run folder"):
        RunFolder.create(tmp_path / "file" / "run", Request.of({}, ""))


def test_what_is_no_run_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is not a run folder"):
        RunFolder.open(tmp_path)


def test_results_have_a_row_for_each_metric_and_site(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    folder = RunFolder.create(tmp_path / "run", Request.of({"a label": scenario}, ""))
    cell = folder.cell(scenario)
    cell.open()
    cell.finish(
        CellState.DONE, metrics={"accuracy": 0.5, "auc": None, "sites": {"va": {"accuracy": 0.25}}}
    )
    write_results(folder)
    rows = list(csv.DictReader((folder.path / "results.csv").read_text().splitlines()))
    assert [(row["label"], row["site"], row["metric"], row["value"]) for row in rows] == [
        ("a label", "", "accuracy", "0.5"),
        ("a label", "", "auc", ""),
        ("a label", "va", "accuracy", "0.25"),
    ]


def test_a_cell_that_failed_after_it_had_metrics_shows_none(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    folder = RunFolder.create(tmp_path / "run", Request.of({"a": scenario}, ""))
    cell = folder.cell(scenario)
    cell.open()
    cell.finish(CellState.DONE, metrics={"accuracy": 0.5})
    cell.finish(CellState.FAILED, reason="later")
    write_results(folder)
    (row,) = csv.DictReader((folder.path / "results.csv").read_text().splitlines())
    assert (row["state"], row["metric"], row["value"]) == ("failed", "", "")


def test_the_environment_names_versions_and_nothing_personal() -> None:
    found = json.dumps(environment())
    assert "torch" in found
    assert str(Path.home()) not in found
