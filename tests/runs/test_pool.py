"""Workers: a failing, hanging or dying process costs its own cell and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securefl.files import locked
from securefl.runs.cell import Cell, CellState
from securefl.runs.pool import Event, Finished, Job, Progressed, Started, play
from securefl.scenario.scenario import parse_scenario
from tests.workers import forked_workers, worker_processes

LIMIT = 120.0


def job(folder: Path, name: str, *overrides: str) -> Job:
    scenario = parse_scenario('training = { kind = "sgd" }', overrides=overrides)
    return Job(Cell(folder / name), scenario.resolved())


def quick(folder: Path, name: str) -> Job:
    return job(folder, name, "rounds=1")


def endless(folder: Path, name: str) -> Job:
    return job(folder, name, "rounds=1000000")


def ended(events: Iterator[Event]) -> dict[str, Finished]:
    return {event.job.cell.hash: event for event in events if isinstance(event, Finished)}


@pytest.fixture
def forked() -> Iterator[None]:
    """Workers without imports of their own, where starting one is not what is tested."""
    with forked_workers():
        yield


@pytest.mark.usefixtures("forked")
def test_a_failing_and_a_hanging_cell_leave_the_rest_alone(tmp_path: Path) -> None:
    drops = ", ".join(f"{{ client = {client}, round = 0 }}" for client in range(4))
    jobs = [
        quick(tmp_path, "one"),
        job(tmp_path, "failing", "rounds=1", f"simulate.drop=[{drops}]"),
        endless(tmp_path, "hanging"),
        quick(tmp_path, "two"),
    ]
    events = play(jobs, workers=1, limit=4.0)
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, Progressed) and event.job.cell.hash == "hanging" and event.round > 1:
            # It gets no further, and takes no CPU until its limit.
            (pid,) = worker_processes()
            os.kill(pid, signal.SIGSTOP)
    found = ended(iter(seen))
    assert {name: event.state for name, event in found.items()} == {
        "one": "done",
        "failing": "failed",
        "hanging": "failed",
        "two": "done",
    }
    assert "no clients left" in found["failing"].reason
    assert found["hanging"].reason == "it took longer than the limit of 4 s a cell"
    for name, event in found.items():
        status = Cell(tmp_path / name).status()
        assert (status.state, status.reason) == (event.state, event.reason)
    assert len(Cell(tmp_path / "hanging").rounds()) > 1
    assert worker_processes() == []


@pytest.mark.usefixtures("forked")
def test_events_report_the_course_of_a_cell_in_order(tmp_path: Path) -> None:
    events = play([job(tmp_path, "a", "rounds=100")], workers=4, limit=LIMIT)
    seen = [event for event in events if isinstance(event, Started | Progressed | Finished)]
    assert isinstance(seen[0], Started)
    assert isinstance(seen[-1], Finished)
    rounds = [event.round for event in seen if isinstance(event, Progressed)]
    assert rounds == sorted(set(rounds))
    assert rounds
    assert set(rounds) <= set(range(1, 101))
    assert seen[-1].seconds > 0


def wait_for_round(events: Iterator[Event]) -> None:
    for event in events:
        if isinstance(event, Progressed):
            return
    pytest.fail("no round was told")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "its process died (exit status -9)"),
        (signal.SIGSTOP, "its process gave no sign of life for 3 s"),
    ],
)
@pytest.mark.usefixtures("forked")
def test_a_worker_that_dies_or_hangs_is_replaced(tmp_path: Path, number: int, reason: str) -> None:
    check_replaced(tmp_path, number, reason)


def test_a_worker_in_a_process_of_its_own_is_replaced(tmp_path: Path) -> None:
    check_replaced(tmp_path, signal.SIGKILL, "its process died (exit status -9)")


def check_replaced(tmp_path: Path, number: int, reason: str) -> None:
    """Checks that a cell whose process gets a signal fails, and that the next one is run."""
    events = play(
        [endless(tmp_path, "a"), quick(tmp_path, "b")], workers=1, limit=LIMIT, silence=3.0
    )
    wait_for_round(events)
    (pid,) = worker_processes()
    os.kill(pid, number)
    found = ended(events)
    assert (found["a"].state, found["a"].reason) == ("failed", reason)
    assert Cell(tmp_path / "a").status().reason == reason
    assert found["b"].state == "done"
    assert worker_processes() == []


@pytest.mark.usefixtures("forked")
def test_a_cell_that_fails_before_its_run_begins_keeps_the_reason(tmp_path: Path) -> None:
    refused = quick(tmp_path, "a")
    refused = Job(refused.cell, {**refused.scenario, "rounds": 0})
    event = ended(play([refused], workers=1, limit=LIMIT))["a"]
    assert event.state is CellState.FAILED
    assert "rounds" in event.reason
    status = Cell(tmp_path / "a").status()
    assert (status.state, status.reason) == (CellState.FAILED, event.reason)


@pytest.mark.usefixtures("forked")
def test_a_bug_leaves_its_traceback_in_the_cell(tmp_path: Path) -> None:
    (tmp_path / "a" / "metrics.json").mkdir(parents=True)
    found = ended(play([quick(tmp_path, "a"), quick(tmp_path, "b")], workers=1, limit=LIMIT))
    assert "Traceback" in found["a"].reason
    assert "IsADirectoryError" in found["a"].reason
    assert Cell(tmp_path / "a").status().reason == found["a"].reason
    assert found["b"].state == "done"


def test_the_last_words_of_a_worker_that_cannot_start_are_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/ls")
    found = ended(play([quick(tmp_path, "a")], workers=1, limit=LIMIT))
    assert found["a"].reason.startswith("its process died (exit status 2); it last wrote:\n")
    assert "securefl.runs.forkserver" in found["a"].reason


@pytest.mark.usefixtures("forked")
def test_closing_the_events_kills_the_workers(tmp_path: Path) -> None:
    events = play([endless(tmp_path, "a")], workers=1, limit=LIMIT)
    wait_for_round(events)
    assert len(worker_processes()) == 1
    events.close()
    assert worker_processes() == []
    assert Cell(tmp_path / "a").status().state == "running"


def worker() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "securefl.runs.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def order(process: "subprocess.Popen[str]", work: Job) -> None:
    assert process.stdin is not None
    process.stdin.write(
        json.dumps({"folder": str(work.cell.folder), "scenario": work.scenario, "code": work.code})
        + "\n"
    )
    process.stdin.flush()


def said(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def test_a_worker_whose_parent_is_gone_leaves_in_the_middle_of_a_cell(tmp_path: Path) -> None:
    process = worker()
    order(process, endless(tmp_path, "a"))
    next(message for message in said(process) if "round" in message)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0
    assert process.stdout is not None
    process.stdout.close()


def test_a_worker_waits_for_a_cell_that_another_lets_go_and_gives_signs_of_life(
    tmp_path: Path,
) -> None:
    work = quick(tmp_path, "a")
    work.cell.folder.mkdir()
    with worker() as process:
        with locked(work.cell.folder):
            order(process, work)
            messages = said(process)
            started = time.monotonic()
            while time.monotonic() - started < 2.5:
                assert next(messages) in ({"alive": True}, {"ready": True})
            assert not (work.cell.folder / "status.json").exists()
        assert next(message for message in messages if "state" in message) == {
            "state": "done",
            "reason": "",
        }
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.usefixtures("forked")
def test_a_worker_with_other_code_than_the_grids_runs_nothing(tmp_path: Path) -> None:
    work = quick(tmp_path, "a")
    found = ended(
        play(
            [Job(work.cell, work.scenario, "0123456789abcdef"), quick(tmp_path, "b")],
            workers=1,
            limit=LIMIT,
        )
    )
    assert found["a"].reason == "the code was changed while the grid ran; run the command again"
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert written == {".lock", "status.json"}
    assert Cell(tmp_path / "a").status().reason == found["a"].reason
    assert found["b"].state == "done"


@pytest.mark.usefixtures("forked")
def test_a_cell_that_ended_in_the_last_moment_has_ended(tmp_path: Path) -> None:
    events = play([endless(tmp_path, "a")], workers=1, limit=LIMIT)
    wait_for_round(events)
    (pid,) = worker_processes()
    os.kill(pid, signal.SIGSTOP)
    Cell(tmp_path / "a").finish(CellState.DONE, metrics={"accuracy": 0.5})
    os.kill(pid, signal.SIGKILL)
    found = ended(events)
    assert (found["a"].state, found["a"].reason) == ("done", "")
    assert Cell(tmp_path / "a").status().state == "done"


def test_the_limit_of_a_cell_does_not_pay_for_the_workers_imports(tmp_path: Path) -> None:
    found = ended(
        play([endless(tmp_path, "a")], workers=1, limit=0.5)
    )  # the imports alone take seconds
    assert found["a"].reason == "it took longer than the limit of 0.5 s a cell"
    assert Cell(tmp_path / "a").timings().starts == 1
