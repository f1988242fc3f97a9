"""Cells on a cluster: nodes get bytes and return bytes, and this machine writes every file."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.errors import RunFailed, RunFolderError, ScenarioError
from securefl.files import locked, read_json
from securefl.runs import pool
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.cluster import node
from securefl.runs.cluster.node import Message
from securefl.runs.cluster.parcel import pack
from securefl.runs.cluster.ray import _check_address
from securefl.runs.cluster.remote import TaskLost, play
from securefl.runs.engines import EngineName, engine
from securefl.runs.environment import code_hash, environment
from securefl.runs.pool import Event, Finished, Job, Progressed, Started
from securefl.scenario.scenario import parse_scenario
from tests.clusters import Here, workers_of_nodes
from tests.workers import worker_processes

LIMIT = 120.0
ROUNDS = "rounds=40"


class Scripted(Here):
    """A cluster whose tasks say what a test wants; an exception is raised."""

    def __init__(self, *messages: object) -> None:
        super().__init__()
        self._messages = messages

    def begin(self, order: bytes) -> Any:
        return (message for message in self._messages)

    def speaking(self, tasks: Sequence[Any], patience: float) -> Sequence[Any]:
        return tasks if self._messages else ()

    def message(self, task: Any) -> object:
        message = super().message(task)
        if isinstance(message, Exception):
            raise message
        return message


@pytest.fixture(autouse=True, scope="module")
def quick_workers() -> Iterator[None]:
    with workers_of_nodes():
        yield


def job(folder: Path, name: str, *overrides: str) -> Job:
    scenario = parse_scenario('training = { kind = "sgd" }', overrides=overrides)
    return Job(Cell(folder / name), scenario.resolved(), code_hash())


def quick(folder: Path, name: str) -> Job:
    return job(folder, name, "rounds=2")


def ended(events: Iterator[Event]) -> dict[str, Finished]:
    return {event.job.cell.hash: event for event in events if isinstance(event, Finished)}


def numbers(cell: Cell) -> dict[str, Any]:
    """What a cell holds, without its run's random name and the time that it took."""
    rounds = [{**line, "seconds": 0} for line in cell.round_lines()]
    weights = load_checkpoint(cell.checkpoint).state.weights.tolist()
    names = sorted(path.name for path in cell.folder.iterdir() if path.name != ".lock")
    metrics = {**(cell.metrics() or {}), "seconds": 0}
    return {"rounds": rounds, "weights": weights, "metrics": metrics, "names": names}


def facts(message: dict[str, Any], files: bytes = b"") -> bytes:
    return Message(message, files).sealed()


def test_a_cell_on_a_node_holds_what_it_would_hold_here(tmp_path: Path) -> None:
    here = ended(pool.play([quick(tmp_path / "here", "a")], workers=1, limit=LIMIT))
    there = ended(play([quick(tmp_path / "there", "a")], Here(), workers=1, limit=LIMIT))
    assert here["a"].state is there["a"].state is CellState.DONE
    assert numbers(there["a"].job.cell) == numbers(here["a"].job.cell)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a"]


def test_a_node_gets_bytes_and_works_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    cluster = Here()
    events = play([job(tmp_path / "head", "a", "rounds=1000000")], cluster, workers=1, limit=LIMIT)
    next(event for event in events if isinstance(event, Progressed))
    assert not (tmp_path / "head").exists()
    (folder,) = (path for path in (tmp_path / "node").iterdir() if path.is_dir())
    assert (folder.stat().st_mode & 0o777) == 0o700
    assert str(tmp_path) not in json.dumps(dict(Message.opened(cluster.orders[0]).facts))
    events.close()
    assert not folder.exists()
    assert cluster.stopped
    assert not (tmp_path / "head").exists()


def test_the_process_of_a_cancelled_task_ends_before_its_folder_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[list[int]] = []

    class Watched(tempfile.TemporaryDirectory[str]):
        def __exit__(self, *error: object) -> None:
            alive.append(worker_processes())
            self.cleanup()

    monkeypatch.setattr(tempfile, "TemporaryDirectory", Watched)
    interrupt(play([job(tmp_path, "a", "rounds=1000000")], Here(), workers=1, limit=LIMIT))
    assert alive == [[]]


def test_events_come_in_order_and_no_more_cells_run_than_asked(tmp_path: Path) -> None:
    jobs = [quick(tmp_path, name) for name in "abcde"]
    running: set[str] = set()
    for event in play(jobs, Here(), workers=2, limit=LIMIT):
        if isinstance(event, Started):
            running.add(event.job.cell.hash)
        elif isinstance(event, Progressed):
            assert event.job.cell.hash in running
        elif isinstance(event, Finished):
            running.remove(event.job.cell.hash)
            assert event.seconds > 0
        assert len(running) <= 2
    assert {Cell(tmp_path / name).status().state for name in "abcde"} == {CellState.DONE}


def test_a_node_imports_once_for_many_cells_and_again_once_its_server_died(tmp_path: Path) -> None:
    ended(play([quick(tmp_path, "a")], Here(), workers=1, limit=LIMIT))
    (server,) = node._servers.values()
    ended(play([quick(tmp_path, "b")], Here(), workers=1, limit=LIMIT))
    assert list(node._servers.values()) == [server]
    os.kill(server._process.pid, signal.SIGKILL)
    found = ended(play([quick(tmp_path, "c")], Here(), workers=1, limit=LIMIT))
    assert found["c"].state is CellState.DONE
    assert list(node._servers.values()) != [server]


def test_a_cell_that_began_here_goes_on_from_its_last_round_on_a_node(tmp_path: Path) -> None:
    check_resumed(tmp_path, began=lambda work: interrupt(pool.play([work], workers=1, limit=LIMIT)))


def test_a_cell_that_a_node_had_to_give_up_goes_on_here(tmp_path: Path) -> None:
    check_resumed(tmp_path, began=kill_on_its_node)


def check_resumed(tmp_path: Path, *, began: Callable[[Job], object]) -> None:
    """Checks that a cell which began in one place ends in the other like an undisturbed one."""
    work = job(tmp_path, "a", ROUNDS)
    began(work)
    played = len(work.cell.rounds())
    assert 0 < played < 40
    there = work.cell.status().state is CellState.FAILED
    jobs = [job(tmp_path, "a", ROUNDS), job(tmp_path, "undisturbed", ROUNDS)]
    events = (
        pool.play(jobs, workers=1, limit=LIMIT)
        if there
        else play(jobs, Here(), workers=1, limit=LIMIT)
    )
    found = ended(events)
    assert {event.state for event in found.values()} == {CellState.DONE}
    assert work.cell.timings().starts == 2
    assert numbers(work.cell) == numbers(Cell(tmp_path / "undisturbed"))


def kill_on_its_node(work: Job) -> None:
    """Runs a cell on a node where its process is killed after some rounds."""
    for event in play([work], Here(), workers=1, limit=LIMIT):
        if isinstance(event, Progressed):
            for pid in worker_processes():
                os.kill(pid, signal.SIGKILL)


def interrupt(events: Any) -> None:
    """Closes the events after some rounds of a cell."""
    next(event for event in events if isinstance(event, Progressed))
    events.close()


def test_a_failing_and_a_hanging_cell_fail_as_they_do_here(tmp_path: Path) -> None:
    drops = ", ".join(f"{{ client = {client}, round = 0 }}" for client in range(4))
    jobs = [
        job(tmp_path, "failing", "rounds=1", f"simulate.drop=[{drops}]"),
        job(tmp_path, "hanging", "rounds=1000000"),
        quick(tmp_path, "well"),
    ]
    found = ended(play(jobs, Here(), workers=1, limit=1.0))
    assert {name: event.state for name, event in found.items()} == {
        "failing": "failed",
        "hanging": "failed",
        "well": "done",
    }
    assert "no clients left" in found["failing"].reason
    assert "(on the node " in found["failing"].reason
    assert "(on the node " not in str(Cell(tmp_path / "failing").status().reason)
    hanging = Cell(tmp_path / "hanging")
    assert hanging.status().reason == "it took longer than the limit of 1 s a cell"
    assert len(hanging.rounds()) > 1


def test_a_cell_whose_process_dies_on_a_node_fails_with_its_last_rounds(tmp_path: Path) -> None:
    work = job(tmp_path, "a", "rounds=1000000")
    kill_on_its_node(work)
    assert work.cell.status().reason == "its process died (exit status -9)"
    assert work.cell.rounds()


def test_a_lost_task_fails_its_cell_and_no_other(tmp_path: Path) -> None:
    lost = Scripted(facts({"started": True}), TaskLost("NodeDiedError"))
    found = ended(play([quick(tmp_path, "a"), quick(tmp_path, "b")], lost, workers=1, limit=LIMIT))
    assert found["a"].reason == "its process died (NodeDiedError)"
    assert Cell(tmp_path / "a").status().reason == found["a"].reason
    assert found["b"].state is CellState.FAILED


def test_a_silent_task_is_stopped_and_its_cell_fails(tmp_path: Path) -> None:
    class Silent(Scripted):
        said = False

        def speaking(self, tasks: Sequence[Any], patience: float) -> Sequence[Any]:
            said, self.said = self.said, True
            return () if said else tasks

    silent = Silent(facts({"started": True}))
    events = play([quick(tmp_path, "a")], silent, workers=1, limit=LIMIT, silence=0.0)
    found = ended(events)
    assert found["a"].reason == "its process gave no sign of life for 0 s"
    assert len(silent.stopped) == 1


def test_a_task_that_waits_for_a_cpu_is_not_silent(tmp_path: Path) -> None:
    waiting = Scripted()
    events = play([quick(tmp_path, "a")], waiting, workers=1, limit=LIMIT, silence=0.0)
    for _ in range(50):
        assert not isinstance(next(events), Finished)
    events.close()
    assert len(waiting.stopped) == 1


def parcel(*, status: str = "done", metrics: str = "{}") -> bytes:
    """The files of a cell that ended so; without metrics where they are empty."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "status.json").write_text(json.dumps({"state": status}))
        if metrics:
            Path(name, "metrics.json").write_text(metrics)
        return pack(Path(name))


DONE = {"state": "done", "reason": "", "seconds": 1.0, "node": "n"}


@pytest.mark.parametrize(
    "answer",
    [
        {"not": "bytes"},
        b"no JSON\n",
        b"[]\n",
        facts(DONE),
        facts(DONE, b"no parcel"),
        facts({**DONE, "state": "nonsense"}, b"x"),
        facts({**DONE, "state": "running"}, b"x"),
        facts({"state": "done"}, b"x"),
        facts({**DONE, "seconds": None}, b"x"),
        facts({**DONE, "seconds": -1.0}, parcel()),
        b'{"state": "done", "reason": "", "seconds": 1e999, "node": "n"}\n' + parcel(),
        facts({**DONE, "state": "failed"}, parcel()),
        facts({"state": "failed", "reason": "", "seconds": 1.0}, parcel(status="running")),
        facts(DONE, parcel(status="running")),
        facts(DONE, parcel(metrics="")),
        facts(DONE, parcel(status="nonsense")),
        b"[" * 100_000,
        b'{"round": 1e999}',
        b'{"round": 3}',
        b'{"round": -1}',
    ],
)
def test_an_answer_of_another_form_fails_the_cell_and_keeps_its_files(
    tmp_path: Path, answer: object
) -> None:
    cell = Cell(tmp_path / "a")
    cell.open()
    (cell.folder / "rounds.jsonl").write_text("precious\n")
    cluster = Scripted(answer)
    found = ended(play([quick(tmp_path, "a")], cluster, workers=1, limit=LIMIT))
    assert found["a"].state is CellState.FAILED
    assert found["a"].reason.startswith("its node sent no proper answer")
    assert str(tmp_path) not in found["a"].reason
    # Nobody would hear what else the task says, and it would keep a CPU.
    assert len(cluster.stopped) == 1
    assert (cell.folder / "rounds.jsonl").read_text() == "precious\n"


def test_a_node_sweeps_the_folders_of_killed_tasks_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    names = ("securefl-node-killed", "securefl-node-held", "securefl-node-young", "elsewhere")
    folders = {name: tmp_path / "node" / name for name in names}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / ".lock").touch()
        age = 1.0 if name == "securefl-node-young" else node.MIN_SECONDS_BEFORE_SWEEP + 60
        os.utime(folder, (time.time() - age, time.time() - age))
    with locked(folders["securefl-node-held"]):
        ended(play([quick(tmp_path, "a")], Here(), workers=1, limit=LIMIT))
    assert {folder.name for folder in (tmp_path / "node").iterdir()} == set(names[1:])


def test_a_node_leaves_the_folders_of_other_accounts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "securefl-node-theirs"
    folder.mkdir()
    os.utime(folder, (0, 0))
    ours = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: ours + 1)
    node._sweep(tmp_path)
    assert folder.exists()
    monkeypatch.undo()
    node._sweep(tmp_path)
    assert not folder.exists()


def test_a_node_that_cannot_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    found = ended(play([quick(tmp_path, "a")], Here(), workers=1, limit=LIMIT))
    assert found["a"].reason == "its node failed: No such file or directory"


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("code", r"has code .{16}, this machine 0123456789abcdef: install the same versions"),
        ("torch", r"has torch .*, this machine 0123456789abcdef: install the same versions"),
    ],
)
def test_a_node_with_other_versions_runs_nothing_and_ends_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, sentence: str
) -> None:
    def of_another_head() -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(own()))
        table = values if key in values else values["libraries"]
        table[key] = "0123456789abcdef"
        return values

    own = environment
    work = quick(tmp_path, "a")
    monkeypatch.setattr(node, "environment", of_another_head)
    order = node.order_for(work, limit=LIMIT, silence=LIMIT)
    monkeypatch.undo()

    class Other(Here):
        def begin(self, _: bytes) -> Any:
            return super().begin(order)

    cluster = Other()
    with pytest.raises(RunFailed, match=sentence):
        list(play([work, quick(tmp_path, "b")], cluster, workers=2, limit=LIMIT))
    assert len(cluster.stopped) == 2
    assert list(tmp_path.iterdir()) == []


def test_code_that_changed_while_the_study_ran_is_refused_on_a_node(tmp_path: Path) -> None:
    work = quick(tmp_path, "a")
    old = Job(work.cell, work.scenario, "0123456789abcdef")
    found = ended(play([old], Here(), workers=1, limit=LIMIT))
    assert "the code was changed while the grid ran" in found["a"].reason


def test_the_clock_of_a_cell_is_read_on_its_node(tmp_path: Path) -> None:
    found = ended(play([quick(tmp_path, "a")], Here(), workers=1, limit=LIMIT))
    total, _ = read_json(tmp_path / "a" / "timings.json")["stages"]["total"]
    assert found["a"].seconds >= total


def test_a_cell_whose_exchange_a_crash_cut_short_goes_on_from_its_old_files(
    tmp_path: Path,
) -> None:
    work = job(tmp_path, "a", ROUNDS)
    interrupt(pool.play([work], workers=1, limit=LIMIT))
    work.cell.folder.rename(tmp_path / ".a.old")
    assert ended(play([work], Here(), workers=1, limit=LIMIT))["a"].state is CellState.DONE
    assert work.cell.timings().starts == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_cell_that_a_leaving_worker_still_holds_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securefl.runs.cluster.remote.PATIENCE_SECONDS", 0.0)
    work, cluster = quick(tmp_path, "a"), Here()
    work.cell.open()
    with (
        locked(work.cell.folder),
        pytest.raises(RunFolderError, match="a is in use by another run"),
    ):
        list(play([work], cluster, workers=1, limit=LIMIT))
    assert not cluster.orders


def test_a_cell_whose_files_a_node_lacks_fails_and_names_them(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    features = labels[:, None] + np.linspace(0, 1, 40)[:, None]
    np.savez(tmp_path / "mine.npz", train_features=features, train_labels=labels)
    text = f"""
    rounds = 1
    training = {{ kind = "sgd" }}
    data = {{ name = "arrays", path = "{tmp_path}/mine.npz", clients = 2, test_share = 0.3 }}
    """
    scenario = parse_scenario(text)
    work = Job(Cell(tmp_path / "cells" / "a"), scenario.resolved(), code_hash())
    (tmp_path / "mine.npz").unlink()
    found = ended(play([work], Here(), workers=1, limit=LIMIT))
    assert found["a"].state is CellState.FAILED
    assert "mine.npz" in found["a"].reason
    assert "(on the node " in found["a"].reason


def test_a_cell_that_wants_a_gpu_is_refused_before_any_runs(tmp_path: Path) -> None:
    cluster = Here()
    jobs = [quick(tmp_path, "a"), job(tmp_path, "b", 'engine.device="cuda"')]
    with pytest.raises(ScenarioError, match="'cuda' needs --engine local"):
        list(play(jobs, cluster, workers=1, limit=LIMIT))
    assert not cluster.orders


def test_an_address_belongs_to_a_cluster() -> None:
    with (
        pytest.raises(ScenarioError, match="--address is that of a cluster: add --engine ray"),
        engine(EngineName.LOCAL, "auto", None),
    ):
        pass


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "é" * 64])
def test_a_host_that_cannot_be_a_name_is_one_sentence(host: str) -> None:
    with pytest.raises(ScenarioError, match="this is no Ray cluster that this command can join"):
        _check_address(f"{host}:6379")


def test_without_ray_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ScenarioError, match=r"pip install 'securefl\[ray\]'"),
        engine(EngineName.RAY, None, None),
    ):
        pass
