"""The cost of a cell: its starts, and wall and CPU seconds by stage over all of them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import TracebackType
from typing import NamedTuple

from securefl.federation.profile import Profile
from securefl.runs.cell import Cell
from securefl.runs.timings import Timings


class Seconds(NamedTuple):
    """A time on two clocks."""

    wall: float
    cpu: float


class Stopwatch:
    """Adds the time between entry and exit to a cell's timings, as "total", and named stages."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        spent = cell.timings()
        self._starts = spent.starts + 1
        self._stages = dict(spent.stages)
        self._carried = dict(spent.carried)

    def __enter__(self) -> "Stopwatch":
        self._keep()  # a start that dies must be counted
        self._begun = _now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._add("total", self._begun)
        # The disk may be what failed: a second error would hide the first.
        with nullcontext() if error is None else suppress(OSError):
            self._keep()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage."""
        begun = _now()
        try:
            yield
        finally:
            self._add(name, begun)

    def add(self, profile: Profile) -> None:
        """Adds the stages of a profile."""
        for stage, cost in profile.costs.items():
            wall, cpu = self._stages.get(stage, (0.0, 0.0))
            self._stages[stage] = (wall + cost.wall, cpu + cost.cpu)
            if cost.bytes:
                self._carried[stage] = self._carried.get(stage, 0) + cost.bytes

    def _add(self, name: str, begun: Seconds) -> None:
        wall, cpu = self._stages.get(name, (0.0, 0.0))
        now = _now()
        self._stages[name] = (wall + now.wall - begun.wall, cpu + now.cpu - begun.cpu)

    def _keep(self) -> None:
        self._cell.note_timings(Timings(self._starts, self._stages, self._carried))


def _now() -> Seconds:
    """Returns both clocks; the processes that this one started count once they have ended."""
    children = os.times()
    cpu = time.process_time() + children.children_user + children.children_system
    return Seconds(time.perf_counter(), cpu)
