"""Workers that are forked from the test process, so that each does not import torch again.

A worker process pays two to three seconds of imports, and a test file of studies starts thirty of
them. A forked worker runs the same `main`, behind the same pipes, in a session of its own. Tests of
how a worker starts use real ones; so do all tests that start a command.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from securefl.runs import api, worker
from securefl.scenario.scenario import parse_scenario

FORKED_NAME = "forked-worker"


def worker_processes() -> list[int]:
    """Worker processes of this one, forked or started."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        pid
        for pid in map(int, listed)
        if b"securefl.runs.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        or Path(f"/proc/{pid}/comm").read_text().strip() == FORKED_NAME
    ]


class ForkedWorker:
    """The part of `subprocess.Popen` that the pool uses."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: IO[bytes],
        env: Mapping[str, str],
        start_new_session: bool,
    ) -> None:
        assert list(command[1:]) == ["-m", "securefl.runs.worker"]
        assert (stdin, stdout, start_new_session) == (subprocess.PIPE, subprocess.PIPE, True)
        orders, to_worker = os.pipe()
        from_worker, voice = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads; xdist's only waits for its socket.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _become_worker(orders, voice, stderr.fileno(), env)
        os.close(orders)
        os.close(voice)
        self.stdin = os.fdopen(to_worker, "wb")
        self.stdout = os.fdopen(from_worker, "rb")
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises TimeoutExpired."""
        begun = time.monotonic()
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif timeout is not None and time.monotonic() - begun > timeout:
                raise subprocess.TimeoutExpired("worker", timeout)
            else:
                time.sleep(0.005)
        return self.returncode


def _become_worker(orders: int, voice: int, errors: int, env: Mapping[str, str]) -> None:
    """Runs the worker in the child; never returns, or pytest would go on twice."""
    try:
        os.setsid()
        Path("/proc/self/comm").write_text(FORKED_NAME)
        for source, target in ((orders, 0), (voice, 1), (errors, 2)):
            os.dup2(source, target)
        # The pipes of other workers, too: one that is held open here would never end there.
        os.closerange(3, 1024)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(env)
        worker.main()
    finally:
        os._exit(1)


@contextmanager
def forked_workers() -> Iterator[None]:
    """Lets the pool fork its workers."""
    # The first round of a process imports two seconds' worth of torch and scikit-learn. Played
    # here, it is paid once for all workers.
    with tempfile.TemporaryDirectory() as folder:
        api.run(parse_scenario('rounds = 1\ntraining = { kind = "sgd" }'), Path(folder, "run"))
    forked = SimpleNamespace(
        Popen=ForkedWorker, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("securefl.runs.pool.subprocess", forked)
        yield
