"""However a run with workers ends, no process and no memory is left, and it can be resumed."""

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.learning.protocol import Trained
from securefl.learning.sgd import SgdTrainer
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from tests.commands import call, scenario_file

TEXT = """
rounds = 3
data.name = "heart"
training = { kind = "sgd", batch = 64 }
"""
WORKERS = 2
LONG_ROUND = 1  # in which a run that is to be cut never comes to an end
MAX_SECONDS = 120.0  # far beyond what anything here takes
EXIT_CODE_OF_AN_INTERRUPT = 130


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + MAX_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def started(path: Path, out: str) -> Iterator[int]:
    """`securefl run`, in a process and a group of its own, forked to spare it the imports.

    In LONG_ROUND all trainings note their process in a file and go on until somebody ends them.
    """
    fit = SgdTrainer.fit

    def endless(self: SgdTrainer, weights: Tensor, *, round: int) -> Trained:
        if round == LONG_ROUND:
            (path.parent / f"{os.getpid()}.training").touch()
        while round == LONG_ROUND:
            time.sleep(0.005)
        return fit(self, weights, round=round)

    gc.freeze()
    if (process := os.fork()) == 0:
        code = 1
        try:
            os.setsid()
            SgdTrainer.fit = endless  # type: ignore[method-assign]
            command = ("run", path, "--out", out, "--workers", str(WORKERS), "--display", "none")
            code = call(*command, cwd=path.parent).returncode
        finally:
            os._exit(code)
    try:
        yield process
    finally:  # of a test that failed, nothing goes on
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)


def children_of(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def is_gone(process: int) -> bool:
    """Whether a process has ended; nobody may have asked for its exit code."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


def cell_in(folder: Path) -> Cell:
    ((_, _, cell),) = RunFolder.open(folder).cells()
    return cell


def outcome(folder: Path) -> tuple[object, object]:
    cell = cell_in(folder)
    metrics = {**(cell.metrics() or {}), "seconds": 0}
    return metrics, [{**line, "seconds": 0} for line in cell.round_lines()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, object]:
    torch.set_num_threads(1)  # forks of a process with more do not live
    folder = tmp_path_factory.mktemp("undisturbed")
    done = call("run", scenario_file(folder, TEXT), "--out", "whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    return outcome(folder / "whole")


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_blow_ends_all_processes_and_the_run_goes_on_as_if_undisturbed(
    tmp_path: Path, blow: signal.Signals, undisturbed: tuple[object, object]
) -> None:
    path = scenario_file(tmp_path, TEXT)
    with started(path, "cut") as process:
        wait_for(lambda: len(list(tmp_path.glob("*.training"))) == WORKERS)
        workers = children_of(process)
        assert {f"{worker}.training" for worker in workers} == set(
            path.name for path in tmp_path.glob("*.training")
        )
        for worker in workers:
            assert_holds_nothing_that_outlives_it(worker)
        if blow is signal.SIGINT:  # a terminal sends it to everybody in the foreground
            os.killpg(process, blow)
        else:
            os.kill(process, blow)
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == (EXIT_CODE_OF_AN_INTERRUPT if blow is signal.SIGINT else -blow)
        wait_for(lambda: all(map(is_gone, workers)))
    assert len(cell_in(tmp_path / "cut").round_lines()) == LONG_ROUND
    done = call("run", path, "--out", "cut", "--workers", "2", "--display", "none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "cut") == undisturbed
    assert children_of(os.getpid()) == []


def assert_holds_nothing_that_outlives_it(worker: int) -> None:
    """Its shared memory has no name, and the lock of the folder is its parent's alone."""
    maps = Path(f"/proc/{worker}/maps").read_text()
    assert "/dev/zero (deleted)" in maps
    assert "/dev/shm" not in maps  # noqa: S108 - it is looked for
    files = [os.readlink(file) for file in Path(f"/proc/{worker}/fd").iterdir()]
    assert not [file for file in files if file.endswith(".lock")]


def test_workers_count_in_the_cpu_seconds_of_a_run(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, TEXT.replace("64", "2, epochs = 8").replace("3", "1"))
    seconds = []
    for workers in ("1", "2"):
        done = call("run", path, "--out", workers, "--workers", workers, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        seconds.append(cell_in(tmp_path / workers).timings().stages["rounds"][1])
    # Without the workers' own, little of it would be left.
    assert seconds[1] > 0.3 * seconds[0]


def test_a_machine_without_workers_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securefl.ui.run.unavailable", lambda: "no workers here")
    path = scenario_file(tmp_path, TEXT.replace("3", "1"))
    done = call("run", path, "--workers", "2", cwd=tmp_path)
    assert done.returncode == 0
    assert "no workers here" in done.stdout
    assert children_of(os.getpid()) == []
