"""Worker processes that run cells: one thread each, watched, replaced when they die or stand still."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, cast

from securefl.runs.cell import Cell, CellState
from securefl.runs.threads import environment_of_one_thread

_TICK = 0.5  # seconds between looks at the clock
_WORDS = 2000  # characters of a dead process's standard error that are kept
_GRACE = 2.0  # seconds that a process that closed its output has for leaving by itself
_SILENCE = 60.0  # seconds without a sign of life before a process counts as dead


@dataclass(frozen=True)
class Job:
    """A cell to run, the resolved scenario that it runs, and the version of the code it must be run by; "" for any."""

    cell: Cell
    scenario: Mapping[str, Any]
    code: str = ""


@dataclass(frozen=True)
class Started:
    """A cell was given to a worker."""

    job: Job


@dataclass(frozen=True)
class Progressed:
    """So many rounds of a cell are played."""

    job: Job
    round: int


@dataclass(frozen=True)
class Finished:
    """A cell ended as "done", "out of budget" or "failed", after so many wall seconds."""

    job: Job
    state: CellState
    reason: str
    seconds: float


@dataclass(frozen=True)
class Ticked:
    """Nothing happened for a moment."""


Event = Started | Progressed | Finished | Ticked


def play(
    jobs: Iterable[Job], *, workers: int, limit: float, silence: float = _SILENCE
) -> Generator[Event, None, None]:
    """What happens while the jobs run, a few at a time; closing the iterator kills what still runs.

    Args:
        jobs: each with a cell of its own.
        workers: processes at once, >= 1.
        limit: seconds that one cell may take; a cell that takes longer is killed and has failed.
        silence: seconds that a process may give no sign of life, likewise.
    """
    waiting = iter(list(jobs))
    with _Crew() as crew:
        for job in _first(waiting, workers):
            yield crew.hire().begin(job)
        while crew.workers:
            yield Ticked()
            for worker in crew.heard(_TICK):
                yield from worker.read()
            for worker in list(crew.workers):
                if (lost := worker.lost(limit, silence)) is not None:
                    crew.dismiss(worker)
                    yield worker.fail(lost)
                if worker.idle:
                    if (following := next(waiting, None)) is None:
                        crew.dismiss(worker)
                    else:
                        yield (worker if worker in crew.workers else crew.hire()).begin(following)


def _first(jobs: Iterator[Job], count: int) -> Iterator[Job]:
    for _ in range(count):
        if (job := next(jobs, None)) is None:
            return
        yield job


class _Worker:
    """One process as its parent sees it."""

    def __init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securefl.runs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment_of_one_thread(),
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        self.orders, self.voice = (
            cast(IO[bytes], self.process.stdin),
            cast(IO[bytes], self.process.stdout),
        )
        self._job: Job | None = None
        self._begun = self._heard = time.monotonic()
        self._rest, self._ready, self._ended, self._words = b"", False, False, ""

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self._job is None

    def begin(self, job: Job) -> Started:
        """Hand over a cell."""
        self._job, self._begun, self._heard = job, time.monotonic(), time.monotonic()
        order = {
            "folder": str(job.cell.folder.resolve()),
            "scenario": job.scenario,
            "code": job.code,
        }
        with suppress(BrokenPipeError):  # it is dead, which `lost` will say
            self.orders.write((json.dumps(order) + "\n").encode())
            self.orders.flush()
        return Started(job)

    def read(self) -> Iterator[Event]:
        """What it said."""
        data = os.read(self.voice.fileno(), 1 << 16)
        self._ended |= not data
        self._heard = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "ready" in message:
                self._ready, self._begun = True, time.monotonic()  # its imports are not the cell's
            if self._job is None:
                continue
            if "round" in message:
                yield Progressed(self._job, message["round"])
            if "state" in message:
                job, self._job = self._job, None
                state = CellState(message["state"])
                yield Finished(job, state, message["reason"], time.monotonic() - self._begun)

    def lost(self, limit: float, silence: float) -> str | None:
        """Why it must be given up; None while all is well."""
        now = time.monotonic()
        if self._ended:
            return "its process died"
        if self._job is not None and self._ready and now - self._begun > limit:
            return f"it took longer than the limit of {limit:g} s a cell"
        if now - self._heard > silence:
            return f"its process gave no sign of life for {silence:g} s"
        return None

    def fail(self, reason: str) -> Event:
        """The cell that it had, as failed; the cell keeps the reason, unless it wrote one itself before dying."""
        if (job := self._job) is None:
            return Ticked()
        self._job = None
        status = job.cell.status()
        seconds = time.monotonic() - self._begun
        if status.state.ended:  # just before its process died, which could not say so any more
            return Finished(job, status.state, status.reason or "", seconds)
        if self._ended and status.state is CellState.FAILED:
            reason = status.reason or reason
        else:
            if self._ended:
                last = f"; it last wrote:\n{self._words}" if self._words else ""
                reason += f" (exit status {self.process.returncode}){last}"
            job.cell.fail(reason)
        return Finished(job, CellState.FAILED, reason, seconds)

    def kill(self) -> None:
        """End it and everything it started; its last words stay."""
        if self._ended:  # it is on its way out, and its exit status tells something
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.voice.close()
        self.errors.seek(0)
        self._words = self.errors.read().decode(errors="replace").strip()[-_WORDS:]
        self.errors.close()
        with suppress(BrokenPipeError):
            self.orders.close()


class _Crew:
    """The workers; all are killed on the way out."""

    def __init__(self) -> None:
        self.workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in list(self.workers):
            self.dismiss(worker)
        self._selector.close()

    def hire(self) -> _Worker:
        """A new worker."""
        worker = _Worker()
        self.workers.append(worker)
        self._selector.register(worker.voice, selectors.EVENT_READ, worker)
        return worker

    def dismiss(self, worker: _Worker) -> None:
        """Let a worker go, if need be by force."""
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        self._selector.unregister(worker.voice)
        worker.kill()

    def heard(self, patience: float) -> Iterator[_Worker]:
        """The workers that have something to say, after at most so many seconds."""
        for key, _ in self._selector.select(patience):
            yield key.data
