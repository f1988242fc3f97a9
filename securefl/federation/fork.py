"""Forks a process that works for this one, and ends with it.

A fork inherits the records, the models of user code and the trainers as they are: nothing is
pickled, and a page is copied only when somebody writes to it. Parent and child exchange records of
a few numbers over two pipes.
"""

import ctypes
import gc
import math
import os
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import NamedTuple, NoReturn

import numpy as np
import torch

from securefl.federation.memory import keep_memory
from securefl.learning.plan import OnStep

SECONDS_BETWEEN_STEPS = 0.1  # that a child tells its parent
ANSWERS_A_READ = 64
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


class Order(NamedTuple):
    """A client to train in a round, and where its update goes."""

    client: int
    round: int
    slot: int


class Word(IntEnum):
    """What an answer says."""

    READY = 0  # the child can train
    STEP = 1  # client, step, steps
    TRAINED = 2  # the update is in its slot
    REFUSED = 3  # the parent must train this client itself


class Answer(NamedTuple):
    """One answer of a child; the numbers are those of a step."""

    word: Word
    client: int = 0
    step: int = 0
    steps: int = 0


_ORDER = struct.Struct(f"<{len(Order._fields)}q")
_ANSWER = struct.Struct(f"<{len(Answer._fields)}q")

# Trains a client, given where its steps are told; False if it cannot.
Work = Callable[[Order], bool]


class Child:
    """A forked process, as its parent sees it.

    Args:
        work: does one order, in the child.
        listen: is given, in the child, what takes the steps of a training.
    """

    def __init__(self, work: Work, listen: Callable[[OnStep], None]) -> None:
        # A buffer that is not empty now would be written by both processes.
        sys.stdout.flush()
        sys.stderr.flush()
        orders, self._orders = os.pipe()
        self.answers, answers = os.pipe()
        parent = os.getpid()
        try:
            self.pid = _fork()
        except OSError:
            self._close(orders, answers)
            raise
        if self.pid == 0:
            _live(parent, orders, answers, work, listen)
        self._close(orders, answers, only_theirs=True)

    def send(self, order: Order) -> None:
        """Gives an order; a dead child says nothing, and its answers end."""
        with suppress(BrokenPipeError):
            os.write(self._orders, _ORDER.pack(*order))

    def read(self) -> list[Answer]:
        """Returns the next answers, at least one; none where the child is dead."""
        # A pipe hands out what one call wrote as a whole, since it is short.
        data = os.read(self.answers, ANSWERS_A_READ * _ANSWER.size)
        return [Answer(Word(word), *rest) for word, *rest in _ANSWER.iter_unpack(data)]

    def end(self) -> int:
        """Kills the process, if it lives, and returns its exit code."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self._close()
        return os.waitstatus_to_exitcode(status)

    def _close(self, *theirs: int, only_theirs: bool = False) -> None:
        for end in theirs if only_theirs else (*theirs, self._orders, self.answers):
            os.close(end)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of threads that a fork loses. A child uses none of the parent's.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Lets Ctrl-C wait: an exception between a fork and its bookkeeping would lose the child."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(
    parent: int, orders: int, answers: int, work: Work, listen: Callable[[OnStep], None]
) -> NoReturn:
    """Works until the orders end. Never returns into the stack that the fork copied."""
    # The collector would touch, and so copy, every page of the parent, and end objects whose
    # threads the fork has not copied.
    gc.freeze()
    code = 1
    try:
        _end_with(parent)
        _close_all_but(orders, answers)
        _settle_in()
        listen(_seldom(answers))
        os.write(answers, _ANSWER.pack(*Answer(Word.READY)))
        while data := os.read(orders, _ORDER.size):
            word = Word.TRAINED if work(Order(*_ORDER.unpack(data))) else Word.REFUSED
            os.write(answers, _ANSWER.pack(*Answer(word)))
        code = 0
    finally:
        # Without handlers and buffers, which are the parent's.
        os._exit(code)


def _end_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent is gone; a terminal's Ctrl-C does not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("the kernel takes no PR_SET_PDEATHSIG")
    # It may have died before the kernel was asked.
    if os.getppid() != parent:
        raise OSError("the parent is gone")


def _close_all_but(*ends: int) -> None:
    """Closes what was inherited, except for the standard streams and these.

    A sibling's pipe, held open here, would hide that its other end is gone. The lock of the run
    folder must be free as soon as the parent is gone.
    """
    kept = {0, 1, 2, *ends}
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - kept:
        with suppress(OSError):  # that of the listing itself is closed already
            os.close(descriptor)


def _settle_in() -> None:
    """Makes this process one of its own. Raises RuntimeError where it cannot train."""
    torch.set_num_threads(1)
    keep_memory()
    # No two children may go on from the same state of a generator. Ours are keyed anew each time.
    torch.seed()
    np.random.seed()  # noqa: NPY002 - the global one, which a user's model may draw from
    # After a fork torch refuses to differentiate if the parent did so and sees a GPU.
    torch.ones(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]


def _seldom(answers: int) -> OnStep:
    """Returns what tells the parent of steps, a few times a second at most."""
    last = -math.inf

    def tell(client: int, step: int, steps: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_STEPS:
            last = now
            os.write(answers, _ANSWER.pack(*Answer(Word.STEP, client, step, steps)))

    return tell
