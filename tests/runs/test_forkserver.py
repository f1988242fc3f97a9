"""The process that forks workers: when it dies, when it is asked twice, and what it leaves."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from securefl.runs.cell import Cell, CellState
from securefl.runs.forkserver import ForkServer, ServerDied, last_words
from securefl.runs.pool import Event, Finished, Job, Progressed, modules_of, play
from securefl.scenario.scenario import parse_scenario
from tests.workers import children, forked_workers, worker_processes

SECONDS = 60.0

# A study that does not end, in a process that can be killed.
ENDLESS = """
import sys
from pathlib import Path
from securefl.runs.pool import Progressed
from tests.runs.test_forkserver import job, play
folder = Path(sys.argv[1])
jobs = [job(folder, name, "rounds=1000000") for name in "ab"]
for event in play(jobs, workers=2, limit=600.0):
    if isinstance(event, Progressed):
        print("round", flush=True)
"""


def job(folder: Path, name: str, *overrides: str) -> Job:
    scenario = parse_scenario('training = { kind = "sgd" }', overrides=overrides)
    return Job(Cell(folder / name), scenario.resolved())


@pytest.fixture
def forked() -> Iterator[None]:
    with forked_workers():
        yield


@pytest.fixture
def server(forked: None) -> Iterator[ForkServer]:
    server = ForkServer()
    assert server.ready(SECONDS)
    yield server
    server.close()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until(holds: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < SECONDS
        time.sleep(0.05)


def next_round(events: Iterator[Event]) -> None:
    assert any(isinstance(event, Progressed) for event in events)


@pytest.mark.usefixtures("forked")
def test_a_study_goes_on_when_the_process_that_forks_workers_is_killed(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", "rounds=1000000"), job(tmp_path, "b", "rounds=1")]
    events = play(jobs, workers=1, limit=600.0)
    next_round(events)
    (first,) = worker_processes()
    os.kill(parent_of(first), signal.SIGKILL)
    next_round(events)  # the worker itself has lost nothing
    os.kill(first, signal.SIGKILL)
    found = {event.job.cell.hash: event for event in events if isinstance(event, Finished)}
    # Only the server could have asked the system how its child ended.
    assert found["a"].reason == "its process died (exit status unknown)"
    assert found["b"].state is CellState.DONE
    assert worker_processes() == []


@pytest.mark.usefixtures("forked")
def test_workers_of_a_study_are_forked_by_one_process_and_end_with_it(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name, "rounds=1000000") for name in "ab"]
    events = play(jobs, workers=2, limit=600.0)
    seen: set[str] = set()
    while len(seen) < 2:
        event = next(events)
        seen |= {event.job.cell.hash} if isinstance(event, Progressed) else set()
    (server,) = {parent_of(worker) for worker in worker_processes()}
    workers = worker_processes()
    assert len(workers) == 2
    assert len({os.getpgid(pid) for pid in [os.getpid(), server, *workers]}) == 4
    events.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in [server, *workers])


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"round\n"
        (server,) = children(parent.pid)
        started = [server, *children(server)]
        assert len(started) == 3
        parent.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def test_a_reply_that_nobody_read_is_not_taken_for_the_next(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As when Ctrl-C comes after the request.
    class Interrupted(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            raise KeyboardInterrupt

    with tempfile.TemporaryFile() as errors:
        with (
            Interrupted(fileno=os.dup(server._channel.fileno())) as channel,
            monkeypatch.context() as patch,
        ):
            patch.setattr(server, "_channel", channel)
            with pytest.raises(KeyboardInterrupt):
                server.fork(errors)
        worker = server.fork(errors)
        pids = children(parent_of(worker.pid))
        assert worker.pid == max(pids)
        worker.stdin.close()
        worker.wait(SECONDS)
        assert worker.returncode == 0
        worker.stdout.close()


def test_a_worker_whose_input_ends_leaves_and_a_running_one_has_no_exit_code(
    server: ForkServer,
) -> None:
    with tempfile.TemporaryFile() as errors:
        worker = server.fork(errors)
        worker.wait(0.0)
        assert worker.returncode is None
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(SECONDS)
        assert worker.returncode == -signal.SIGTERM
        worker.stdin.close()
        worker.stdout.close()


def test_a_worker_has_an_exit_code_where_the_parent_ignores_the_end_of_children(
    forked: None,
) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        server = ForkServer()
        assert server.ready(SECONDS)
    finally:
        signal.signal(signal.SIGCHLD, before)
    with tempfile.TemporaryFile() as errors:
        worker = server.fork(errors)
        worker.stdin.close()
        worker.wait(SECONDS)
        worker.stdout.close()
        assert worker.returncode == 0
    server.close()


def test_the_last_words_of_a_worker_are_kept_however_it_ends(forked: None) -> None:
    server = ForkServer(["tests.runs.workers.dies"])
    assert server.ready(SECONDS)
    with tempfile.TemporaryFile() as errors:
        worker = server.fork(errors)
        assert worker.stdout.read() == b"out\\udcff\n"
        worker.stdin.close()
        worker.wait(SECONDS)
        worker.stdout.close()
        words = last_words(errors)
    server.close()
    assert worker.returncode == 1
    assert words.startswith("warning\\udcff\nTraceback")
    assert words.endswith("RuntimeError: unforeseen")


def test_a_worker_that_crashes_in_a_library_says_where(forked: None) -> None:
    server = ForkServer(["tests.runs.workers.aborts"])
    assert server.ready(SECONDS)
    with tempfile.TemporaryFile() as errors:
        worker = server.fork(errors)
        worker.stdin.close()
        worker.wait(SECONDS)
        worker.stdout.close()
        words = last_words(errors)
    server.close()
    assert worker.returncode == -signal.SIGABRT
    assert words.startswith("Fatal Python error: Aborted")
    assert "in _live" in words
    assert "numpy" not in words  # a list of what it had loaded would push the rest out


def test_a_worker_that_dies_before_it_has_files_of_its_own_says_why(
    forked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "securefl.runs.pool.modules_of", lambda jobs: ["tests.runs.workers.is_stillborn"]
    )
    events = list(play([job(tmp_path, "a")], workers=1, limit=SECONDS))
    (end,) = (event for event in events if isinstance(event, Finished))
    assert end.reason == (
        "its process died (exit status 70); it last wrote:\na library's last words"
    )


def test_no_two_workers_draw_the_same_numbers(forked: None) -> None:
    server = ForkServer(["tests.runs.workers.draws"])
    assert server.ready(SECONDS)
    draws = []
    for _ in range(2):
        with tempfile.TemporaryFile() as errors:
            worker = server.fork(errors)
            draws.append(worker.stdout.read().split())
            worker.stdin.close()
            worker.wait(SECONDS)
            worker.stdout.close()
    server.close()
    assert len(draws[0]) == 3
    assert not set(draws[0]) & set(draws[1])


def test_a_server_that_is_gone_says_how_it_ended(server: ForkServer) -> None:
    with tempfile.TemporaryFile() as errors:
        worker = server.fork(errors)
        os.kill(parent_of(worker.pid), signal.SIGKILL)
        with pytest.raises(ServerDied, match=r"^its process died \(exit status -9\)$"):
            server.fork(errors)
        worker.stdin.close()
        worker.stdout.close()


@pytest.mark.usefixtures("forked")
def test_a_study_goes_on_when_the_process_that_forks_workers_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securefl.runs.forkserver.MAX_SILENT_SECONDS", 1.0)
    jobs = [job(tmp_path, "a", "rounds=1000000"), job(tmp_path, "b", "rounds=1")]
    events = play(jobs, workers=1, limit=600.0)
    next_round(events)
    (first,) = worker_processes()
    server = parent_of(first)
    os.kill(server, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    found = {event.job.cell.hash: event for event in events if isinstance(event, Finished)}
    assert found["a"].reason == "its process died (exit status unknown)"
    assert found["b"].state is CellState.DONE
    assert not Path(f"/proc/{server}").exists()


def test_modules_are_imported_ahead_where_some_cell_needs_them(tmp_path: Path) -> None:
    plain = job(tmp_path, "a")
    private = Job(plain.cell, {**plain.scenario, "training": {"kind": "dp_sgd"}})
    assert modules_of([plain]) == set()
    assert "securefl.learning.dp_sgd" in modules_of([plain, private])
