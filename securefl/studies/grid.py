"""A study in its run folder: which cells are missing, what they will take, and running them."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securefl.errors import ScenarioError
from securefl.runs.cell import Cell, CellState
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.names import cell_hash
from securefl.runs.pool import Event, Finished, Job, Progressed, Started, play
from securefl.runs.results import write_results
from securefl.studies.costs import Costs
from securefl.studies.expand import Planned

Scenario = Mapping[str, Any]  # as resolved


@dataclass(frozen=True)
class Tally:
    """Cells by how they ended, those that run (cell -> rounds played), and the seconds left; None while unknown."""

    done: int = 0
    out_of_budget: int = 0
    failed: int = 0
    left: int = 0
    running: Mapping[str, int] = field(default_factory=dict)
    seconds_left: float | None = None

    def after(self, event: Event) -> "Tally":
        """The tally once event has happened; a cell that failed before and is tried again counts as left till then."""
        if isinstance(event, Started):
            return replace(
                self, left=self.left - 1, running={**self.running, event.job.cell.hash: 0}
            )
        if isinstance(event, Progressed):
            return replace(self, running={**self.running, event.job.cell.hash: event.round})
        if isinstance(event, Finished):
            count = event.state.replace(" ", "_")
            running = {
                name: played for name, played in self.running.items() if name != event.job.cell.hash
            }
            return replace(self, running=running, **{count: getattr(self, count) + 1})
        return self


def request_for(
    name: str, text: str, planned: tuple[Planned, ...], out: Path, accepted: tuple[str, ...]
) -> Request:
    """A study as a run folder is asked for it; a cell that ended under an accepted version of the code counts.

    Raises:
        ScenarioError: no cell of the study has ended under an accepted version.
    """
    uses, cells = [], {}
    ended = ended_under([one.scenario for one in planned], out)
    if strange := [code for code in accepted if code not in ended]:
        known = ", ".join(ended) or "none"
        raise ScenarioError(
            f"--accept-code {strange[0]}: no cell here ended under it; versions with ended cells: {known}"
        )
    for one in planned:
        code = _version(one.scenario, out, accepted)
        cell = cell_hash(one.scenario, code=code)
        cells[cell] = one.scenario
        uses.append(Use(cell, one.row, one.levels, one.part, one.seed, code))
    codes = dict.fromkeys([*_codes(out), *(use.code for use in uses)])
    return Request(text, cells, tuple(uses), name, tuple(codes))


def ended_under(scenarios: Sequence[Scenario], out: Path) -> dict[str, int]:
    """Version of the code -> how many of these cells ended under it, for every version that `out` has seen."""
    found = {code: sum(_has_ended(one, out, code) for one in scenarios) for code in _codes(out)}
    return {code: count for code, count in found.items() if count}


def _codes(out: Path) -> tuple[str, ...]:
    """The versions of the code that a folder has seen."""
    return RunFolder.open(out).request().codes if (out / "resolved.json").is_file() else ()


def title(use: Use) -> str:
    """How messages call a cell."""
    return " / ".join([use.label, *([use.part] if use.part else []), f"seed {use.seed}"])


@dataclass(frozen=True)
class Grid:
    """The cells of a study in a folder."""

    folder: RunFolder
    request: Request

    def first_uses(self) -> dict[str, Use]:
        """Cell -> its first use, in order."""
        found: dict[str, Use] = {}
        for use in self.request.uses:
            found.setdefault(use.cell, use)
        return found

    def missing(self) -> list[Use]:
        """The first use of every cell that has not ended: all rows with their first seed, then with the second, ..."""
        lacking = [use for use in self.first_uses().values() if not self._state(use.cell).ended]
        turn: dict[tuple[str, str], int] = {}
        order = []
        for use in lacking:
            turn[use.label, use.part] = turn.get((use.label, use.part), 0) + 1
            order.append(turn[use.label, use.part])
        return [
            use for _, use in sorted(zip(order, lacking, strict=True), key=lambda pair: pair[0])
        ]

    def tally(self, failed: Collection[str] = ()) -> Tally:
        """How things stand while nothing runs; `failed` names cells that could not even write so themselves."""
        found = {cell: self._state(cell) for cell in self.first_uses()}
        states = Counter(
            CellState.FAILED if cell in failed and not state.ended else state
            for cell, state in found.items()
        )
        done, spent, lost = (
            states[CellState.DONE],
            states[CellState.OUT_OF_BUDGET],
            states[CellState.FAILED],
        )
        return Tally(done, spent, lost, left=states.total() - done - spent - lost)

    def costs(self) -> Costs:
        """What the ended cells took."""
        costs = Costs()
        for name, use in self.first_uses().items():
            cell = self.folder.named(name)
            if self._state(name).ended and "total" in (stages := cell.timings().stages):
                costs.note(use.label, stages["total"][0])
                costs.note_size(_size(cell))
        return costs

    def run(
        self, *, jobs: int, limit: float, max_cells: int | None = None, fail_fast: bool = False
    ) -> Generator[tuple[Tally, Event], None, None]:
        """Run what is missing in a folder that is held; each event, with the tally after it.

        The results are written now and then and at the end, also when the iterator is closed early.

        Args:
            jobs: worker processes.
            limit: seconds a cell may take.
            max_cells: how many cells to run at most.
            fail_fast: stop after the first cell that fails.
        """
        todo = self.missing()[:max_cells]
        rows = {use.cell: use.label for use in todo}
        left = Counter(rows.values())
        costs, pace, before = self.costs(), _Pace(), self.tally()
        again = sum(self._state(use.cell) is CellState.FAILED for use in todo)
        tally = replace(
            before,
            failed=before.failed - again,
            left=len(todo),
            seconds_left=costs.seconds(left, jobs),
        )
        orders = [
            Job(self.folder.named(use.cell), self.request.cells[use.cell], use.code) for use in todo
        ]
        try:
            with closing(play(orders, workers=min(jobs, len(orders)), limit=limit)) as events:
                for event in events:
                    tally = tally.after(event)
                    if isinstance(event, Finished):
                        row = rows[event.job.cell.hash]
                        left[row] -= 1
                        costs.note(row, event.seconds)
                        pace.take(lambda: write_results(self.folder))
                        tally = replace(tally, seconds_left=costs.seconds(left, jobs))
                    yield tally, event
                    if (
                        fail_fast
                        and isinstance(event, Finished)
                        and event.state is CellState.FAILED
                    ):
                        return
        finally:
            write_results(self.folder)

    def _state(self, cell: str) -> CellState:
        return self.folder.named(cell).status().state


class _Pace:
    """Does a thing seldom enough that it takes a twentieth of the time at most."""

    def __init__(self) -> None:
        self._next = 0.0

    def take(self, step: Callable[[], object]) -> None:
        if (begun := time.monotonic()) >= self._next:
            step()
            self._next = time.monotonic() + max(2.0, 20 * (time.monotonic() - begun))


def _version(scenario: Scenario, out: Path, accepted: tuple[str, ...]) -> str:
    """The version of the code whose cell counts: an accepted one where the cell ended under it, else the present."""
    present = code_hash()
    for code in (present, *accepted):
        if _has_ended(scenario, out, code):
            return code
    return present


def _has_ended(scenario: Scenario, out: Path, code: str) -> bool:
    return Cell(out / "cells" / cell_hash(scenario, code=code)).status().state.ended


def _size(cell: Cell) -> int:
    return sum(file.stat().st_size for file in cell.folder.rglob("*") if file.is_file())
