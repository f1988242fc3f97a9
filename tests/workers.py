"""The server that forks workers, itself forked from the test process, which has imported torch.

A server pays two to five seconds of imports, and a test file of studies starts thirty of them. A
forked one runs the same `main`, behind the same socket, in a session of its own. Tests of how a
server starts use real ones; so do all tests that start a command.
"""

import gc
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

from securefl.runs import api, forkserver
from securefl.scenario.scenario import parse_scenario


def worker_processes() -> list[int]:
    """Worker processes of this one: what servers forked that this process started."""
    return [
        worker
        for server in children(os.getpid())
        for worker in children(server)
        if Path(f"/proc/{worker}/comm").read_text().strip() == "securefl-worker"
    ]


def children(pid: int) -> list[int]:
    """The child processes of one."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


class ForkedServer:
    """The part of `subprocess.Popen` that `ForkServer` uses."""

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
        assert list(command[1:3]) == ["-m", "securefl.runs.forkserver"]
        assert (stdout, start_new_session) == (subprocess.DEVNULL, True)
        with warnings.catch_warnings():
            # Python 3.12 warns of threads; xdist's only waits for its socket.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _become_server(stdin, stderr.fileno(), env)
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises TimeoutExpired."""
        begun = time.monotonic()
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif timeout is not None and time.monotonic() - begun > timeout:
                raise subprocess.TimeoutExpired("server", timeout)
            else:
                time.sleep(0.005)
        return self.returncode


def _become_server(channel: int, errors: int, env: Mapping[str, str]) -> None:
    """Runs the server in the child; never returns, or pytest would go on twice."""
    # What the test process left to its collector may own threads, which a fork does not copy:
    # here, its end would be this process' end.
    gc.freeze()
    code = 1
    try:
        os.setsid()
        for source, target in ((channel, 0), (errors, 2)):
            os.dup2(source, target)
        # The parent's end of the socket, too: the server ends when it is closed.
        os.closerange(3, 1024)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["forkserver"]
        forkserver.main()
        code = 0
    finally:
        os._exit(code)


@contextmanager
def forked_workers() -> Iterator[None]:
    """Lets the pool fork its workers."""
    # The first round of a process imports two seconds' worth of torch and scikit-learn. Played
    # here, it is paid once for all workers.
    with tempfile.TemporaryDirectory() as folder:
        api.run(parse_scenario('rounds = 1\ntraining = { kind = "sgd" }'), Path(folder, "run"))
    forked = SimpleNamespace(
        Popen=ForkedServer, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("securefl.runs.forkserver.subprocess", forked)
        yield
