"""Worker processes that run cells: one thread each, watched, replaced when they die or hang."""

import json
import math
import os
import selectors
import signal
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from securefl.runs.cell import Cell, CellState
from securefl.runs.forkserver import MODULES_OF_DP_SGD, ForkServer, ServerDied, died, last_words

SECONDS_BETWEEN_LOOKS = 0.5
GRACE_SECONDS = 2.0  # for a process that closed its output to leave by itself
MAX_SILENT_SECONDS = 60.0  # without a sign of life before a process counts as dead
MAX_BYTES_A_READ = 1 << 16


@dataclass(frozen=True)
class Job:
    """A cell to run, its resolved scenario, and the version of the code; "" for any version."""

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
Servers = dict[frozenset[str], ForkServer]  # that fork no worker now, by what they imported


def play(
    jobs: Iterable[Job],
    *,
    workers: int,
    limit: float,
    silence: float = MAX_SILENT_SECONDS,
    servers: Servers | None = None,
) -> Generator[Event, None, None]:
    """Runs jobs in worker processes and yields what happens.

    Closing the iterator kills the processes.

    Args:
        jobs: each with a cell of its own.
        workers: processes at once, >= 1.
        limit: seconds that one cell may take; then its process is killed, and the cell has failed.
        silence: seconds without a sign of life after which the same happens.
        servers: lend the one that forks the workers, and keep it for a later call; None ends it.
    """
    waiting = deque(jobs)
    with _Crew(modules_of(waiting), servers) as crew:
        while waiting or crew.workers:
            while waiting and len(crew.workers) < workers:
                yield from _begin(crew, waiting.popleft())
            yield Ticked()
            for worker in crew.speaking(SECONDS_BETWEEN_LOOKS):
                yield from worker.read()
            for worker in list(crew.workers):
                failure = worker.failure(limit, silence)
                if failure is not None:
                    crew.dismiss(worker)  # first, so that its last words are complete
                    yield worker.fail(failure)
                elif worker.idle and waiting:
                    yield worker.begin(waiting.popleft())
                elif worker.idle:
                    crew.dismiss(worker)


def modules_of(jobs: Iterable[Job]) -> frozenset[str]:
    """Returns the modules that some job needs, and that a fork should not have to import."""
    kinds = {job.scenario["training"]["kind"] for job in jobs}
    return frozenset(MODULES_OF_DP_SGD if "dp_sgd" in kinds else ())


def _begin(crew: "_Crew", job: Job) -> Iterator[Event]:
    """Gives a new worker a job, which has failed where no worker can be started."""
    try:
        worker = yield from crew.hire()
        yield worker.begin(job)
    except ServerDied as death:
        job.cell.fail(str(death))
        yield Started(job)
        yield Finished(job, CellState.FAILED, str(death), 0.0)


class _Worker:
    """One process as its parent sees it."""

    def __init__(self, server: ForkServer) -> None:
        # A file: a full pipe that nobody reads would block the process.
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        try:
            self.process = server.fork(self.errors)
        except BaseException:
            self.errors.close()
            raise
        self.orders, self.answers = self.process.stdin, self.process.stdout
        self._job: Job | None = None
        self._begun = time.monotonic()
        self._last_sign = time.monotonic()
        self._unfinished_line = b""
        self._ready = False
        self._ended = False
        self._last_words = ""

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self._job is None

    def begin(self, job: Job) -> Started:
        """Hands over a cell."""
        self._job = job
        self._begun = time.monotonic()
        self._last_sign = time.monotonic()
        order = {
            "folder": str(job.cell.folder.resolve()),
            "scenario": job.scenario,
            "code": job.code,
        }
        with suppress(BrokenPipeError):  # it is dead, which `failure` will say
            self.orders.write((json.dumps(order) + "\n").encode())
            self.orders.flush()
        return Started(job)

    def read(self) -> Iterator[Event]:
        """Reads its answers; yields the events among them."""
        data = os.read(self.answers.fileno(), MAX_BYTES_A_READ)
        # No data means that the other end is closed: the process is dead, or about to be.
        self._ended |= not data
        self._last_sign = time.monotonic()
        *lines, self._unfinished_line = (self._unfinished_line + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "ready" in message:
                self._ready = True
                self._begun = time.monotonic()  # the limit is the cell's, not that of imports
            job = self._job
            if job is None:  # a last word on a cell that was given up
                continue
            if "round" in message:
                yield Progressed(job, message["round"])
            if "state" in message:
                self._job = None
                state = CellState(message["state"])
                yield Finished(job, state, message["reason"], self._seconds)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def failure(self, limit: float, silence: float) -> str | None:
        """Returns why the process must be given up; None while all is well."""
        if self._ended:
            return "its process died"
        if self._job is not None and self._ready and self._seconds > limit:
            return f"it took longer than the limit of {limit:g} s a cell"
        if time.monotonic() - self._last_sign > silence:
            return f"its process gave no sign of life for {silence:g} s"
        return None

    def fail(self, reason: str) -> Event:
        """Ends its cell as failed; the cell keeps the reason.

        A reason that the cell wrote itself before the process died stays.
        """
        job = self._job
        if job is None:
            return Ticked()
        self._job = None
        status = job.cell.status()
        if status.state.ended:  # just before its process died, which could not say so any more
            return Finished(job, status.state, status.reason or "", self._seconds)
        if self._ended and status.state is CellState.FAILED:
            return Finished(job, CellState.FAILED, status.reason or reason, self._seconds)
        if self._ended:
            reason = died(self.process.returncode, self._last_words)
        job.cell.fail(reason)
        return Finished(job, CellState.FAILED, reason, self._seconds)

    def kill(self) -> None:
        """Ends the process and everything it started; its last words are kept."""
        if self._ended:  # it is on its way out, and its exit status says why
            self.process.wait(GRACE_SECONDS)
        # The whole session, since a library may have started processes of its own.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(math.inf)
        self.answers.close()
        self._last_words = last_words(self.errors) or self.process.server.last_words()
        self.errors.close()
        with suppress(BrokenPipeError):
            self.orders.close()


class _Crew:
    """The workers, and the process that forks them; all are killed on the way out."""

    def __init__(self, modules: frozenset[str], servers: Servers | None) -> None:
        self.workers: list[_Worker] = []
        self._modules = modules
        self._servers = servers
        self._server = None if servers is None else servers.pop(modules, None)
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
        if self._servers is None or self._server is None or self._modules in self._servers:
            self._end_server()
        else:
            self._servers[self._modules] = self._server

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def hire(self) -> Generator[Event, None, _Worker]:
        """Returns a new worker, once there is one. Raises ServerDied where none can be started."""
        if self._server is not None:
            # It may have died since it forked the last one; then another one takes its place.
            with suppress(ServerDied):
                return self._forked_by(self._server)
            self._end_server()
        self._server = ForkServer(self._modules)
        while not self._server.ready(SECONDS_BETWEEN_LOOKS):
            yield Ticked()
        return self._forked_by(self._server)

    def _forked_by(self, server: ForkServer) -> _Worker:
        worker = _Worker(server)
        self.workers.append(worker)
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def dismiss(self, worker: _Worker) -> None:
        """Ends a worker, by force if need be."""
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        self._selector.unregister(worker.answers)
        worker.kill()

    def speaking(self, patience: float) -> Iterator[_Worker]:
        """Yields the workers that have something to say, after at most so many seconds."""
        for key, _ in self._selector.select(patience):
            yield key.data
