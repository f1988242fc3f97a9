"""A cell's files: typed when they are read, and put right after a crash."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from securefl.channels.protocol import Header, Seen
from securefl.errors import RunFolderError
from securefl.federation.record import RoundRecord
from securefl.federation.values import Played, State
from securefl.files import append_line, read_json, read_lines, write_json, write_lines
from securefl.runs.cell import Cell, CellState, Status
from securefl.runs.metrics import RunMetrics
from securefl.runs.timings import Timings

SHAPES = {"weight": torch.Size([2])}
START = State(torch.zeros(2))
STATE = State(torch.tensor([1.0, -2.0]), {"velocity": torch.tensor([0.5, 0.25])}, round=1)
RECORD = RoundRecord(
    round=0,
    abandoned=False,
    reason="",
    cohort=(0, 1),
    survivors=(0, 1),
    absent={},
    screened=(),
    rejected=0,
    bytes_up=10,
    bytes_down=20,
    accuracy=0.5,
    ledger_heads={0: "ab"},
    seconds=0.1,
)


def played(round: int) -> Played:
    header = Header("server", Seen.CLEAR_UPDATE, (0,), (2,), 8)
    state = replace(STATE, round=round + 1)
    return Played(state, replace(RECORD, round=round), frozenset(), (header,))


def opened(folder: Path, *, rounds: int = 0) -> Cell:
    cell = Cell(folder / "cell")
    cell.open()
    for round in range(rounds):
        cell.finish_round(played(round), SHAPES)
    return cell


def test_a_cell_is_new_until_it_is_opened_and_keeps_its_runs_name(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    assert cell.status() == Status(CellState.NEW)
    assert not cell.folder.exists()
    run = cell.open()
    assert cell.status() == Status(CellState.NEW, run)
    assert cell.open() == run


def test_status_json_says_what_earlier_versions_wrote(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    run = cell.status().run
    file = cell.folder / "status.json"
    cell.begin_round(3)
    assert list(read_json(file).items()) == [("state", "running"), ("run", run), ("round", 3)]
    cell.finish(CellState.FAILED, reason="a bug")
    failed = {"state": "failed", "run": run, "round": 3, "reason": "a bug"}
    assert list(read_json(file).items()) == list(failed.items())
    cell.finish(CellState.DONE, metrics={"accuracy": 0.5})
    done = {"state": "done", "run": run, "reason": ""}
    assert list(read_json(file).items()) == list(done.items())


def test_only_done_and_out_of_budget_have_ended() -> None:
    ended = {state for state in CellState if state.ended}
    assert ended == {CellState.DONE, CellState.OUT_OF_BUDGET}


def test_a_cell_can_fail_before_its_folder_exists_and_never_after_its_end(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cells" / "ab")
    cell.fail("no such model")
    assert (cell.status().state, cell.status().reason) == (CellState.FAILED, "no such model")
    cell.finish(CellState.DONE, metrics={"accuracy": 0.5})
    cell.fail("too late")
    assert cell.status().state is CellState.DONE


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"run": "x"}, "it names no state"),
        ({"state": "ready", "run": "x"}, "it names no state"),
        ({"state": ["new"]}, "it names no state"),
        ({"state": "new", "run": 7}, "its run is 7"),
        ({"state": "running", "run": "x", "round": "3"}, "its round '3'"),
        ({"state": "failed", "run": "x", "reason": 7}, "its reason is 7"),
    ],
)
def test_a_damaged_status_is_refused(
    tmp_path: Path, values: dict[str, object], sentence: str
) -> None:
    cell = opened(tmp_path)
    write_json(cell.folder / "status.json", values)
    with pytest.raises(RunFolderError, match=rf"status.json is damaged: .*{sentence}"):
        cell.status()


def test_timings_come_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    assert cell.timings() == Timings(0, {})
    timings = Timings(2, {"set_up": (1.5, 1.0)})
    cell.note_timings(timings)
    assert cell.timings() == timings
    file = cell.folder / "timings.json"
    assert read_json(file) == {"starts": 2, "stages": {"set_up": [1.5, 1.0]}}
    write_json(file, {"starts": 2, "stages": {"set_up": 1.5}})
    with pytest.raises(RunFolderError, match="it holds no timings"):
        cell.timings()
    file.write_text('{"starts": 1e400, "stages": {}}')
    with pytest.raises(RunFolderError, match="it holds no timings"):
        cell.timings()


METRICS: RunMetrics = {
    "records": 10,
    "accuracy": 0.5,
    "auc": None,
    "epsilon": 2.0,
    "noise": "system",
    "sites": {"va": {"records": 4, "accuracy": None}},
    "seeded_before": [],
}


def test_metrics_come_back_as_they_were(tmp_path: Path) -> None:
    cell = opened(tmp_path)
    assert cell.metrics() is None
    cell.finish(CellState.DONE, metrics=METRICS)
    assert cell.metrics() == METRICS


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("records", 0.5),
        ("accuracy", "high"),
        ("epsilon", [1]),
        ("noise", 1),
        ("sites", []),
        ("sites", {"va": 1}),
        ("sites", {"va": {"auc": "high"}}),
        ("left_out", "nobody"),
        ("seeded_before", "ab"),
    ],
)
def test_damaged_metrics_are_refused(tmp_path: Path, key: str, wrong: object) -> None:
    cell = opened(tmp_path)
    write_json(cell.folder / "metrics.json", {})
    with pytest.raises(RunFolderError, match=r"metrics.json is damaged: it has no accuracy"):
        cell.metrics()
    write_json(cell.folder / "metrics.json", {**METRICS, key: wrong})
    with pytest.raises(RunFolderError, match=r"metrics.json is damaged: .* is "):
        cell.metrics()


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    append_line(cell.folder / "rounds.jsonl", {"round": 1})
    with pytest.raises(RunFolderError, match=r"rounds.jsonl is damaged: a round's record has no"):
        cell.rounds()
    assert [line["round"] for line in cell.round_lines()] == [0, 1]


def test_a_crash_after_the_checkpoint_loses_no_record(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=2)
    lines = read_lines(cell.folder / "rounds.jsonl")
    write_lines(cell.folder / "rounds.jsonl", lines[:1])
    state = cell.last_good(START, SHAPES)
    assert state.round == 2
    assert [record.round for record in cell.rounds()] == [0, 1]


def test_records_and_observations_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    append_line(cell.folder / "rounds.jsonl", asdict(replace(RECORD, round=1)))
    append_line(cell.folder / "transcript.jsonl", {"round": 1})
    cell.last_good(START, SHAPES)
    assert [record.round for record in cell.rounds()] == [0]
    assert [line["round"] for line in read_lines(cell.folder / "transcript.jsonl")] == [0]


def test_a_record_keeps_keys_of_a_later_version(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    path = cell.folder / "rounds.jsonl"
    write_lines(path, [{**line, "carried": 7} for line in read_lines(path)])
    before = path.read_bytes()
    cell.last_good(START, SHAPES)
    assert path.read_bytes() == before


def test_missing_records_are_noticed(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=3)
    path = cell.folder / "rounds.jsonl"
    write_lines(path, read_lines(path)[1:])
    with pytest.raises(RunFolderError, match="rounds are missing"):
        cell.last_good(START, SHAPES)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    with pytest.raises(RunFolderError, match="belongs to another model"):
        cell.last_good(State(torch.zeros(3)), {"weight": torch.Size([3])})


def test_a_checkpoint_whose_parameters_have_other_names_or_another_order_is_refused(
    tmp_path: Path,
) -> None:
    cell = opened(tmp_path, rounds=1)
    with pytest.raises(RunFolderError, match="belongs to another model"):
        cell.last_good(START, {"bias": torch.Size([2])})
    with pytest.raises(RunFolderError, match="belongs to another model"):
        cell.last_good(START, {"weight": torch.Size([1, 2])})


def test_a_transcript_line_without_a_round_is_refused(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    append_line(cell.folder / "transcript.jsonl", {})
    with pytest.raises(RunFolderError, match=r"transcript.jsonl is damaged: a line has no round"):
        cell.last_good(START, SHAPES)


def test_a_vanished_checkpoint_is_not_a_fresh_start(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    cell.checkpoint.unlink()
    with pytest.raises(RunFolderError, match="is gone, yet rounds were played"):
        cell.last_good(START, SHAPES)
    assert len(cell.rounds()) == 1


def test_a_finished_model_has_no_state_of_the_server_with_it(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    assert set(load_file(cell.checkpoint)) == {"weight", "state.velocity"}
    cell.keep_model(STATE, SHAPES)
    assert set(load_file(cell.checkpoint)) == {"weight"}
    state = cell.last_good(START, SHAPES)
    assert torch.equal(state.weights, STATE.weights)
    assert state.round == 1


def test_the_transcript_holds_no_values(tmp_path: Path) -> None:
    cell = opened(tmp_path, rounds=1)
    (line,) = read_lines(cell.folder / "transcript.jsonl")
    expected: dict[str, Any] = {
        "round": 0,
        "party": "server",
        "kind": "update in the clear",
        "about": [0],
        "shape": [2],
        "bytes": 8,
    }
    assert line == expected
    assert "123.456" not in json.dumps(line)
