"""How far the reading of files is, for whoever shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Gets the steps that are done, and how many there are.
OnStep = Callable[[int, int], None]


def quiet(done: int, total: int) -> None:
    """Shows no progress."""


_watcher: ContextVar[OnStep] = ContextVar("dicom progress", default=quiet)


@contextmanager
def watched(on_step: OnStep) -> Iterator[None]:
    """Shows the progress of every source that is read meanwhile: a display lies far above it."""
    token = _watcher.set(on_step)
    try:
        yield
    finally:
        _watcher.reset(token)


class Steps:
    """Counts the steps of one reading.

    Args:
        total: of the reading.
    """

    def __init__(self, total: int) -> None:
        self._done = 0
        self._total = total

    def pass_by(self, steps: int = 1) -> None:
        """Counts steps that are done."""
        self._done += steps
        _watcher.get()(self._done, self._total)
