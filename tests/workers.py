"""The server that forks workers, itself forked from a process that has imported what cells need.

A server pays two to five seconds of imports, and a test file of studies starts thirty of them.
Each test process starts one seed, when the first of its tests asks for workers. Servers forked
from it run the same `main`, behind the same socket, in a session of their own, and know nothing
that tests have done: a test process holds threads, pools and handles that no fork copies. Tests of
how a server starts use real ones; so do all tests that start a command.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NoReturn

import pytest

from securefl.runs import forkserver
from securefl.runs.threads import environment_of_one_thread

PID_BYTES = 8


def worker_processes() -> list[int]:
    """Worker processes of this one: what servers forked that this process started."""
    return [
        worker
        for parent in (os.getpid(), seed().pid)
        for server in children(parent)
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


class Seed(forkserver.ForkServer):
    """The process that servers are forked from: to its parent, a server whose workers are servers.

    It is nobody's child, so that tests may count their own.

    Attributes:
        pid: its process.
    """

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        with theirs:
            subprocess.run(
                [sys.executable, "-m", "tests.workers"],
                cwd=Path(__file__).parents[1],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment_of_one_thread(),
                start_new_session=True,
                check=True,
            )
        self.pid = int.from_bytes(self._channel.recv(PID_BYTES), "little")
        self._channel.settimeout(forkserver.MAX_SILENT_SECONDS)
        self._ready, self._number, self._death = False, 0, ""
        while not self.ready(forkserver.MAX_SILENT_SECONDS):
            pass

    def server(self, argv: Sequence[str], stdin: int, stderr: int, env: Mapping[str, str]) -> int:
        """Forks a server with these arguments and streams; returns its process."""
        with tempfile.TemporaryFile() as start:
            start.write(json.dumps([os.getcwd(), list(argv), dict(env)]).encode())
            start.flush()
            return self._ask(files=(stdin, start.fileno(), stderr))

    def _died(self) -> str:
        return f"the seed of servers died: {self.last_words()}"


@cache
def seed() -> Seed:
    """The seed of this test process; ends with it."""
    return Seed()


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
        self.pid = seed().server(command[2:], stdin, stderr.fileno(), env)
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises TimeoutExpired."""
        begun = time.monotonic()
        while self.returncode is None:
            # Asked shortly and often: the seed answers one question at a time.
            self.returncode = seed().exit_code(self.pid, 0.01)
            if timeout is not None and time.monotonic() - begun > timeout:
                raise subprocess.TimeoutExpired("server", timeout)
        return self.returncode


@contextmanager
def forked_workers() -> Iterator[None]:
    """Lets the pool fork its workers."""
    forked = SimpleNamespace(
        Popen=ForkedServer, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("securefl.runs.forkserver.subprocess", forked)
        yield


def main() -> None:
    """Grows into a seed: plays a round, whose imports all workers then share, and serves."""
    if os.fork():
        os._exit(0)
    with socket.socket(fileno=os.dup(0)) as channel:
        channel.send(os.getpid().to_bytes(PID_BYTES, "little"))
    from securefl.runs import api
    from securefl.scenario.scenario import parse_scenario

    with tempfile.TemporaryDirectory() as folder:
        api.run(parse_scenario('rounds = 1\ntraining = { kind = "sgd" }'), Path(folder, "run"))
    work = forkserver._live

    def serve(files: Sequence[int]) -> NoReturn:
        """Lives as a server instead of as a worker."""
        forkserver._live = work
        _become_server(*files)

    forkserver._live = serve
    sys.argv = ["forkserver", *forkserver.MODULES_OF_DP_SGD]
    forkserver.main()


def _become_server(channel: int, start: int, errors: int) -> NoReturn:
    """Runs the server; never returns into the stack that the fork copied."""
    code = 1
    try:
        os.setsid()
        with open(start, encoding="utf-8", closefd=False) as file:
            file.seek(0)
            folder, sys.argv, environment = json.load(file)
        for source, target in ((channel, 0), (os.open(os.devnull, os.O_WRONLY), 1), (errors, 2)):
            os.dup2(source, target)
        # The parent's end of the socket, too: the server ends when it is closed.
        os.closerange(3, 1024)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        forkserver.main()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
