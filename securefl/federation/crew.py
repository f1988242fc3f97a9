"""The forked processes of a run, and which of them trains what."""

import selectors
import warnings
from dataclasses import dataclass

from securefl.federation.fork import Answer, Child, Order, Word, Work, interrupts_held
from securefl.learning.plan import OnStep

ATTEMPTS = 2  # at one training, where processes die of it


class Steps:
    """Passes on the local steps of clients: to a display or, in a worker, to the parent.

    Args:
        to: takes them now.
    """

    def __init__(self, to: OnStep) -> None:
        self.to = to

    def __call__(self, client: int, step: int, steps: int) -> None:
        """Passes on that a client has taken so many of its local steps."""
        self.to(client, step, steps)


@dataclass(eq=False)
class Job:
    """One training.

    Attributes:
        order: what to train.
        length: how long it takes, in any unit.
        deaths: processes that died while they trained it.
        outcome: TRAINED or REFUSED; None before it has ended.
    """

    order: Order
    length: int
    deaths: int = 0
    outcome: Word | None = None

    @property
    def lost(self) -> bool:
        """Whether too many processes died of it."""
        return self.deaths == ATTEMPTS


@dataclass(eq=False)
class _Worker:
    """A child, whether it has said that it can train, and what it trains."""

    child: Child
    ready: bool = False
    job: Job | None = None


class Crew:
    """Processes that take one job after another, the longest of those that wait first.

    Args:
        count: processes, forked here, once all that they inherit is there.
        work: does one order, in a process.
        steps: gets the local steps; the trainers report to it.
    """

    def __init__(self, count: int, work: Work, steps: Steps) -> None:
        self._work = work
        self._steps = steps
        self._workers: list[_Worker] = []
        self._waiting: list[Job] = []
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            self._hire()

    def put(self, job: Job) -> None:
        """Adds a job; an idle process takes it at once."""
        self._waiting.append(job)
        self.hear(timeout=0)

    def hear(self, timeout: float | None = None) -> None:
        """Takes the answers that are there, or comes in so many seconds; then hands out jobs."""
        for key, _ in self._selector.select(timeout):
            worker: _Worker = key.data
            answers = worker.child.read()
            for answer in answers:
                self._note(worker, answer)
            if not answers:
                self._replace(worker)
        for worker in self._workers:
            if worker.job is None and self._waiting:
                self._give(worker)
        if not self._workers:
            self._refuse_waiting()

    def close(self) -> None:
        """Ends the processes; their jobs, and those that wait, are refused."""
        while self._workers:
            job = self._dismiss(self._workers[-1])
            if job is not None:
                job.outcome = Word.REFUSED
        self._refuse_waiting()
        self._selector.close()

    def _hire(self) -> None:
        """Forks a process, if the system has room for one."""
        try:
            with interrupts_held():
                worker = _Worker(Child(self._work, self._report_to))
                self._workers.append(worker)
                self._selector.register(worker.child.answers, selectors.EVENT_READ, worker)
        except OSError as reason:
            self._do_without(f"the system has no room for a worker process: {reason.strerror}")

    def _report_to(self, parent: OnStep) -> None:
        self._steps.to = parent

    def _give(self, worker: _Worker) -> None:
        """Gives an idle worker the longest job; of equal ones, that which came first."""
        job = max(self._waiting, key=lambda job: job.length)
        self._waiting.remove(job)
        worker.job = job
        worker.child.send(job.order)

    def _note(self, worker: _Worker, answer: Answer) -> None:
        if answer.word is Word.READY:
            worker.ready = True
        elif answer.word is Word.STEP:
            self._steps.to(answer.client, answer.step, answer.steps)
        elif worker.job is not None:
            worker.job.outcome = answer.word
            worker.job = None

    def _replace(self, worker: _Worker) -> None:
        """Puts another process in the place of one that died; its job is tried once more."""
        job = self._dismiss(worker)
        if job is not None:
            # A process that could not start did not die of its job.
            job.deaths += worker.ready
            if job.lost:
                job.outcome = Word.REFUSED
            else:
                self._waiting.insert(0, job)
        # One that never could train would be replaced without end.
        if worker.ready:
            self._hire()
        else:
            self._do_without("a worker process could not start")

    def _do_without(self, reason: str) -> None:
        """Says that fewer processes train than were asked for."""
        left = len(self._workers)
        rest = f"workers left: {left}" if left else "one process trains all clients"
        warnings.warn(f"{reason}; {rest}", RuntimeWarning, stacklevel=2)

    def _dismiss(self, worker: _Worker) -> Job | None:
        """Ends a process, and returns the job that it had."""
        self._workers.remove(worker)
        self._selector.unregister(worker.child.answers)
        worker.child.end()
        job, worker.job = worker.job, None
        return job

    def _refuse_waiting(self) -> None:
        for job in self._waiting:
            job.outcome = Word.REFUSED
        self._waiting.clear()
