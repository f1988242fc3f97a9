"""Keeps one party's Flower programs running, and leaves no process behind.

A process of its own, which adopts every orphan below it: Flower's programs start others, which
outlive a parent that nobody waits for.

    python -m securefl.runs.flower.supervision FILE    # until SIGTERM, or until its parent dies
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

_SECONDS_BETWEEN_LOOKS = 0.2
_FIRST_WAIT = 1.0  # seconds before a program that ended starts again; doubled each time
_LONGEST_WAIT = 15.0
_LONG_RUN = 60.0  # seconds after which an end is no longer held against a program
_SECONDS_TO_END = 3.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Service:
    """A program that is to run all the time.

    Args:
        name: of its log file.
        command: its command line.
        environment: the whole of it.
        user: the account it runs under; None for this one.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    user: str | None = None


class Watch:
    """Starts services, and starts them again when they end, each time after a longer wait.

    Args:
        services: what to run.
        logs: the folder of their log files.
        clock: seconds; a test's own.
    """

    def __init__(
        self,
        services: Sequence[Service],
        logs: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = {service.name: service for service in services}
        self._logs = logs
        self._clock = clock
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        self._due = dict.fromkeys(self._services, clock())

    def look(self) -> None:
        """Notes what has ended, and starts what is due."""
        for name in self._reap():
            self._note_end(name)
        for name, due in list(self._due.items()):
            if self._clock() >= due:
                self._start(name)

    def end(self) -> None:
        """Ends the services, and everything else below this process."""
        self._due.clear()
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + _SECONDS_TO_END
            while (children := below(os.getpid())) and time.monotonic() < end:
                for pid in children:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal_number)
                time.sleep(_SECONDS_BETWEEN_LOOKS / 2)
                self._reap()

    def _reap(self) -> list[str]:
        """Waits for all dead children; returns the services among them."""
        ended = [name for name, child in self._running.items() if child.poll() is not None]
        for name in ended:
            del self._running[name]
        reap_orphans({child.pid for child in self._running.values()})
        return ended

    def _note_end(self, name: str) -> None:
        now = self._clock()
        if now - self._started[name] >= _LONG_RUN:
            self._waits.pop(name, None)
        wait = self._waits.get(name, _FIRST_WAIT)
        self._due[name] = now + wait
        self._waits[name] = min(2 * wait, _LONGEST_WAIT)

    def _start(self, name: str) -> None:
        service = self._services[name]
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - see `commands`
                service.command,
                env=dict(service.environment),
                cwd=self._logs,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=service.user,
                start_new_session=True,  # Ctrl-C is for our processes, which end these
            )
        self._started[name] = self._clock()
        del self._due[name]


def below(pid: int) -> list[int]:
    """Returns all descendants of a process, dead ones that nobody waited for included."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                # The name, in parentheses, can contain anything.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found: list[int] = []
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += level
    return found


def reap_orphans(kept: set[int]) -> None:
    """Waits for dead children that are not in `kept`: those that this process has adopted."""
    with suppress(ChildProcessError):
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if dead.si_pid in kept:
                return
            os.waitpid(dead.si_pid, 0)


def supervise(services: Sequence[Service], logs: Path, is_over: Callable[[], bool]) -> None:
    """Keeps services running until it is over, and ends them."""
    watch = Watch(services, logs)
    try:
        while not is_over():
            watch.look()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        watch.end()


def started(services: Sequence[Service], logs: Path) -> subprocess.Popen[bytes]:
    """Starts a process that supervises the services; SIGTERM ends it and them."""
    logs.mkdir(parents=True, exist_ok=True)
    file = logs / "services.json"
    file.write_text(json.dumps([asdict(service) for service in services]), encoding="utf-8")
    with (logs / "supervision.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter, and words of our own
            [sys.executable, "-m", __name__, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def main(file: str) -> None:
    """Supervises the services of a file until SIGTERM."""
    over = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    path = Path(file)
    services = [Service(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
    supervise(services, path.parent, lambda: over)


if __name__ == "__main__":
    main(sys.argv[1])
