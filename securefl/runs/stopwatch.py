"""What a cell costs: wall and CPU seconds by stage, and how often it was begun, over all its starts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import TracebackType

from securefl.runs.cell import Cell, Timings


class Stopwatch:
    """Adds the time between entry and exit, as "total", and that of named stages to a cell's timings."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        spent = cell.timings()
        self._starts = spent.starts + 1
        self._stages = dict(spent.stages)

    def __enter__(self) -> "Stopwatch":
        self._keep()  # so that a start that dies is counted
        self._begun = _now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._add("total", self._begun)
        with (
            suppress(OSError) if error is not None else nullcontext()
        ):  # the disk may be what failed
            self._keep()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        begun = _now()
        try:
            yield
        finally:
            self._add(name, begun)

    def _add(self, name: str, begun: tuple[float, float]) -> None:
        wall, cpu = self._stages.get(name, (0.0, 0.0))
        more_wall, more_cpu = _since(begun)
        self._stages[name] = (wall + more_wall, cpu + more_cpu)

    def _keep(self) -> None:
        self._cell.note_timings(Timings(self._starts, self._stages))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - begun[0], cpu - begun[1]
