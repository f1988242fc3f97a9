"""The part of a cluster engine that runs at the head: gives cells to nodes, writes every file."""

import math
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from securefl.errors import RunFailed, RunFolderError, ScenarioError
from securefl.files import locked
from securefl.runs.cell import Cell, CellState
from securefl.runs.cluster.node import Message, order_for
from securefl.runs.cluster.parcel import heal, unpack
from securefl.runs.pool import (
    MAX_SILENT_SECONDS,
    SECONDS_BETWEEN_LOOKS,
    Event,
    Finished,
    Job,
    Progressed,
    Started,
    Ticked,
)
from securefl.runs.worker import PATIENCE_SECONDS

# What an answer of another form raises where it is read.
MALFORMED = (KeyError, OverflowError, RecursionError, TypeError, ValueError)


class TaskLost(Exception):
    """Raised when a task ended without its answer; the words say how."""


class Cluster(Protocol):
    """Runs `node.work` somewhere else. A task is whatever the cluster likes to know it by."""

    def begin(self, order: bytes) -> Any:
        """Returns a new task that works on an order as soon as a CPU of the cluster is free."""

    def speaking(self, tasks: Sequence[Any], patience: float) -> Sequence[Any]:
        """Returns the tasks that have a message, after at most so many seconds."""

    def message(self, task: Any) -> object:
        """Returns the next message of a task that speaks. Raises TaskLost."""

    def stop(self, tasks: Sequence[Any]) -> None:
        """Ends tasks, by force if need be; ended ones are left alone."""


def play(
    jobs: Iterable[Job],
    cluster: Cluster,
    *,
    workers: int,
    limit: float,
    silence: float = MAX_SILENT_SECONDS,
) -> Generator[Event, None, None]:
    """Runs jobs on a cluster and yields what happens, like `pool.play` on this machine.

    A cell's files change here once it has ended there: a cell that was cut short is as before.
    Closing the iterator ends the tasks.

    Args:
        jobs: each with a cell of its own.
        cluster: where they run.
        workers: cells at once, >= 1.
        limit: seconds that one cell may take on its node, where it is killed.
        silence: seconds without a sign of life after which a task is ended, and its cell has
            failed.

    Raises:
        ScenarioError: a cell wants a GPU; nothing ran.
        RunFailed: a node has another version of the code or of a library.
    """
    waiting = deque(jobs)
    _refuse_gpus(waiting)
    errands: list[_Errand] = []
    try:
        while waiting or errands:
            while waiting and len(errands) < workers:
                job = waiting.popleft()
                order = _order(job, limit, silence)
                errands.append(_Errand(job, cluster.begin(order)))
            yield Ticked()
            speaking = cluster.speaking([errand.task for errand in errands], SECONDS_BETWEEN_LOOKS)
            for errand in errands:
                if errand.task in speaking:
                    yield from errand.hear(cluster)
                yield from errand.check(cluster, silence)
            errands = [errand for errand in errands if not errand.ended]
    finally:
        cluster.stop([errand.task for errand in errands])


def _refuse_gpus(jobs: Iterable[Job]) -> None:
    """Refuses cells that a node would show no GPU: their tasks ask for a CPU only."""
    for job in jobs:
        if (job.scenario.get("engine") or {}).get("device") == "cuda":
            raise ScenarioError(
                "engine.device = 'cuda' needs --engine local: tasks of a cluster get no GPU"
            )


def _order(job: Job, limit: float, silence: float) -> bytes:
    folder = job.cell.folder
    heal(folder)
    if not folder.exists():
        return order_for(job, limit=limit, silence=silence)
    # A worker of an earlier command may be about to leave.
    with locked(folder, patience=PATIENCE_SECONDS):
        return order_for(job, limit=limit, silence=silence)


class _Errand:
    """A cell that is on its way: waiting for a CPU, or running on a node."""

    def __init__(self, job: Job, task: Any) -> None:
        self.task = task
        self.ended = False
        self._job = job
        self._begun = 0.0
        self._last_sign: float | None = None  # None while the cluster has no CPU for it

    def hear(self, cluster: Cluster) -> Iterator[Event]:
        """Takes the next message; yields the events in it. Raises RunFailed."""
        self._last_sign = time.monotonic()
        try:
            message = Message.opened(cluster.message(self.task))
            yield from self._events(message)
        except TaskLost as reason:
            yield self._fail(f"its process died ({reason})")
        except MALFORMED as reason:
            cluster.stop([self.task])  # nobody would hear what else it says
            yield self._fail(f"its node sent no proper answer: {reason!s:.200}")

    def _events(self, message: Message) -> Iterator[Event]:
        facts = message.facts
        if "refused" in facts:
            raise RunFailed(str(facts["refused"]))
        if "started" in facts:
            self._begun = time.monotonic()
            yield Started(self._job)
        if "round" in facts:
            yield Progressed(self._job, self._round(facts["round"]))
        if "lost" in facts:
            yield self._fail(str(facts["lost"]))
        if "state" in facts:
            yield self._finish(message)

    def _round(self, number: object) -> int:
        """Returns the number of a round. Raises ValueError."""
        if not isinstance(number, int) or not 0 <= number <= self._job.scenario["rounds"]:
            raise ValueError("it names a round that the cell does not have")
        return number

    def _finish(self, message: Message) -> Finished:
        """Puts the files of an ended cell in their place."""
        state = CellState(message.facts["state"])
        reason = str(message.facts["reason"])
        seconds = float(message.facts["seconds"])
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError("it names no time")
        if state is CellState.FAILED:
            # The name of a machine is for the user who waits, not for the folder.
            reason = f"{reason} (on the node {message.facts['node']})"
        if not (state.ended or state is CellState.FAILED) or not message.files:
            raise ValueError("it names no end, or brings no files")
        unpack(message.files, self._job.cell.folder, check=lambda files: _check_end(files, state))
        self.ended = True
        return Finished(self._job, state, reason, seconds)

    def check(self, cluster: Cluster, silence: float) -> Iterator[Event]:
        """Ends a task that hangs, and fails its cell."""
        if self.ended or self._last_sign is None:
            return
        if time.monotonic() - self._last_sign > silence:
            cluster.stop([self.task])
            yield self._fail(f"its process gave no sign of life for {silence:g} s")

    def _fail(self, reason: str) -> Finished:
        self.ended = True
        self._job.cell.fail(reason)
        begun = self._begun or time.monotonic()
        return Finished(self._job, CellState.FAILED, reason, time.monotonic() - begun)


def _check_end(folder: Path, state: CellState) -> None:
    """Refuses files of a cell that has not ended as its node says. Raises ValueError."""
    cell = Cell(folder)
    try:
        found, metrics = cell.status().state, cell.metrics()
    except RunFolderError:
        raise ValueError("its files are damaged") from None
    if (found.ended or state.ended) and found is not state:
        raise ValueError(f"it says {state}, and its files say {found}")
    if state.ended and metrics is None:
        raise ValueError(f"it says {state}, and brings no metrics")
