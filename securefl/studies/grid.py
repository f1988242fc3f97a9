"""A study in its run folder: which cells are missing, what they will take, and running them."""

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from securefl.runs.cell import Cell, CellState
from securefl.runs.cluster.parcel import heal
from securefl.runs.engines import Play
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.pool import Event, Finished, Job, Progressed, Started
from securefl.runs.pool import play as play_here
from securefl.runs.results import write_results
from securefl.studies.costs import Costs

States = Mapping[str, CellState]  # of cells, by name
MIN_SECONDS_BETWEEN_RESULTS = 2.0
MAX_SHARE_OF_TIME_FOR_RESULTS = 1 / 20


@dataclass(frozen=True)
class Tally:
    """How the cells of a study are doing.

    Args:
        done: cells that ended well.
        out_of_budget: cells that a privacy budget ended.
        failed: cells that failed the last time.
        left: cells that are still to run.
        running: cell -> rounds played.
        seconds_left: wall time that the remaining cells will take; None while unknown.
    """

    done: int = 0
    out_of_budget: int = 0
    failed: int = 0
    left: int = 0
    running: Mapping[str, int] = field(default_factory=dict)
    seconds_left: float | None = None

    def after(self, event: Event) -> "Tally":
        """Returns the tally once an event has happened."""
        if isinstance(event, Started):
            running = {**self.running, event.job.cell.hash: 0}
            return replace(self, left=self.left - 1, running=running)
        if isinstance(event, Progressed):
            running = {**self.running, event.job.cell.hash: event.round}
            return replace(self, running=running)
        if isinstance(event, Finished):
            running = dict(self.running)
            running.pop(event.job.cell.hash, None)
            stopped = replace(self, running=running)
            return stopped._with_ended(event.state)
        return self

    def _with_ended(self, state: CellState) -> "Tally":
        if state is CellState.DONE:
            return replace(self, done=self.done + 1)
        if state is CellState.OUT_OF_BUDGET:
            return replace(self, out_of_budget=self.out_of_budget + 1)
        return replace(self, failed=self.failed + 1)


def title(use: Use) -> str:
    """Returns the name of a cell in messages: its row, its part of the row, its seed."""
    part = [use.part] if use.part else []
    return " / ".join([use.label, *part, f"seed {use.seed}"])


@dataclass(frozen=True)
class Grid:
    """The cells of a study in a folder.

    Attributes:
        folder: where they lie.
        request: the cells, and the rows that use them.
        skipped: labels of rows that are not to be run now; their ended cells count all the same.
    """

    folder: RunFolder
    request: Request
    skipped: frozenset[str] = frozenset()

    def first_uses(self) -> dict[str, Use]:
        """Returns cell -> its first use, in order; rows can share a cell."""
        uses: dict[str, Use] = {}
        for use in self.request.uses:
            uses.setdefault(use.cell, use)
        return uses

    def states(self) -> dict[str, CellState]:
        """Returns cell -> its state, read from the folder now."""
        return {cell: self._state(cell) for cell in self.first_uses()}

    def set_aside(self, states: States | None = None) -> set[str]:
        """Returns the cells of skipped rows alone that have not ended.

        Args:
            states: as `states` returned them; read again if None.
        """
        states = self.states() if states is None else states
        wanted = {use.cell for use in self.request.uses if use.label not in self.skipped}
        return {cell for cell, state in states.items() if cell not in wanted and not state.ended}

    def missing(self, states: States | None = None) -> list[Use]:
        """Returns the first use of every cell that is to be run, in the order to run them.

        All rows come with their first missing seed, then all with their second: a study that is
        stopped early compares rows on equal seeds.

        Args:
            states: as `states` returned them; read again if None.
        """
        states = self.states() if states is None else states
        aside = self.set_aside(states)
        missing = [
            use
            for cell, use in self.first_uses().items()
            if not (states[cell].ended or cell in aside)
        ]
        seeds_before: Counter[tuple[str, str]] = Counter()
        turns = []
        for use in missing:
            row = (use.label, use.part)
            turns.append(seeds_before[row])
            seeds_before[row] += 1
        in_turn = sorted(zip(turns, missing, strict=True), key=lambda pair: pair[0])
        return [use for _, use in in_turn]

    def tally(
        self,
        failed: Collection[str] = (),
        *,
        among: Collection[str] | None = None,
        states: States | None = None,
    ) -> Tally:
        """Counts the cells while nothing runs, without those that are set aside.

        Args:
            failed: cells that failed without being able to write so themselves.
            among: the cells that are to be run; only they can be left. None for all.
            states: as `states` returned them; read again if None.
        """
        states = dict(self.states() if states is None else states)
        for cell in self.set_aside(states):
            del states[cell]
        for cell in failed:
            if not states[cell].ended:
                states[cell] = CellState.FAILED
        counts = Counter(states.values())
        to_run = [cell for cell in states if among is None or cell in among]
        left = sum(states[cell] in (CellState.NEW, CellState.RUNNING) for cell in to_run)
        return Tally(
            done=counts[CellState.DONE],
            out_of_budget=counts[CellState.OUT_OF_BUDGET],
            failed=counts[CellState.FAILED],
            left=left,
        )

    def costs(self, states: States | None = None) -> Costs:
        """Returns what the ended cells took. `states` are read again if None."""
        states = self.states() if states is None else states
        costs = Costs()
        for name, use in self.first_uses().items():
            if not states[name].ended:
                continue
            cell = self.folder.named(name)
            stages = cell.timings().stages
            if "total" in stages:
                wall, _ = stages["total"]
                costs.note(use.label, wall)
                costs.note_size(_size(cell))
        return costs

    def run(
        self,
        *,
        jobs: int,
        limit: float,
        max_cells: int | None = None,
        fail_fast: bool = False,
        play: Play = play_here,
    ) -> Generator[tuple[Tally, Event], None, None]:
        """Runs the missing cells of a folder that is held; yields each event and the tally then.

        The results are written now and then and at the end, also when the iterator is closed early.

        Args:
            jobs: worker processes.
            limit: seconds a cell may take.
            max_cells: how many cells to run at most.
            fail_fast: stop after the first cell that fails.
            play: runs the cells, by default in processes of this machine.
        """
        # Before any engine looks: a cell begun afresh would forget what its clients have paid.
        for cell in self.first_uses():
            heal(self.folder.named(cell).folder)
        states = self.states()
        todo = self.missing(states)[:max_cells]
        rows = {use.cell: use.label for use in todo}
        left = Counter(rows.values())
        costs = self.costs(states)
        tally = replace(self._tally_before(todo, states), seconds_left=costs.seconds(left, jobs))
        orders = []
        for use in todo:
            scenario = self.request.cells[use.cell]
            orders.append(Job(self.folder.named(use.cell), scenario, use.code))
        pace = _Pace()
        # A process takes seconds to import, so there are never more of them than cells.
        workers = min(jobs, len(orders))
        try:
            # Closing kills the workers, whether the caller stops early, Ctrl-C or an error does.
            with closing(play(orders, workers=workers, limit=limit)) as events:
                for event in events:
                    tally = tally.after(event)
                    if isinstance(event, Finished):
                        row = rows[event.job.cell.hash]
                        left[row] -= 1
                        costs.note(row, event.seconds)
                        pace.take(lambda: write_results(self.folder))
                        tally = replace(tally, seconds_left=costs.seconds(left, jobs))
                    yield tally, event
                    if fail_fast and _has_failed(event):
                        return
        finally:
            write_results(self.folder)

    def _tally_before(self, todo: Sequence[Use], states: States) -> Tally:
        """The tally before cells are run: one that failed and is tried again counts as left."""
        tally = self.tally(states=states)
        again = sum(states[use.cell] is CellState.FAILED for use in todo)
        return replace(tally, failed=tally.failed - again, left=len(todo))

    def _state(self, cell: str) -> CellState:
        return self.folder.named(cell).status().state


class _Pace:
    """Does a thing so seldom that it takes a small share of the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def take(self, step: Callable[[], object]) -> None:
        begun = time.monotonic()
        if begun < self._next:
            return
        step()
        # Writing takes longer the larger the study is, so the pause grows with it.
        taken = time.monotonic() - begun
        pause = max(MIN_SECONDS_BETWEEN_RESULTS, taken / MAX_SHARE_OF_TIME_FOR_RESULTS)
        self._next = time.monotonic() + pause


def _has_failed(event: Event) -> bool:
    return isinstance(event, Finished) and event.state is CellState.FAILED


def _size(cell: Cell) -> int:
    """Bytes on disk."""
    folders = os.walk(cell.folder)
    return sum(
        os.path.getsize(os.path.join(path, name)) for path, _, names in folders for name in names
    )
