"""Runs a scenario inside its cell: start or resume, play the rounds, keep what comes out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Size

from securefl import vector
from securefl.data.download import OnBytes, quiet
from securefl.errors import BudgetExceeded, LedgerError, RunFailed
from securefl.federation import engine
from securefl.federation.crew import Steps
from securefl.federation.group_rank import with_rank
from securefl.federation.profile import Profile, profiled
from securefl.federation.record import RoundRecord, interrupted
from securefl.federation.values import Federation, Played, State
from securefl.federation.workers import Workers
from securefl.learning.device import device_called
from securefl.learning.plan import OnStep, unseen
from securefl.privacy.events import ReleaseId
from securefl.privacy.remember import Remember, fresh
from securefl.runs.best import BestModel, score
from securefl.runs.cell import Cell, CellState
from securefl.runs.ending import end_run, leave_the_model
from securefl.runs.failure import FailureKept
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import RunMetrics, final_metrics
from securefl.runs.nodes import keep_nodes, with_nodes
from securefl.runs.origin import origin_of
from securefl.runs.recall import recall_faults
from securefl.runs.stopwatch import Stopwatch
from securefl.scenario.assemble.assemble import Assembled, join
from securefl.scenario.assemble.data import fetch_data
from securefl.scenario.assemble.fit_files import FitFiles
from securefl.scenario.assemble.parts import parts
from securefl.scenario.plugins.loading import authors_blamed
from securefl.scenario.scenario import Scenario

OnRound = Callable[[RoundRecord], None]


def run_cell(
    cell: Cell,
    scenario: Scenario,
    *,
    on_round: OnRound,
    on_bytes: OnBytes = quiet,
    on_step: OnStep = unseen,
    remember: Remember = fresh,
    workers: int = 1,
    profile: Profile | None = None,
) -> RunMetrics:
    """Returns the final metrics of a scenario; an ended cell is only read, others are resumed.

    Args:
        cell: where it runs.
        scenario: what to run.
        on_round: called with each round's record.
        on_bytes: called with the progress of a download, where the data need one.
        on_step: called after every local step of a client.
        remember: caches expensive results, such as `Cache.remember`.
        workers: processes that train clients; results do not depend on it.
        profile: gets the cost of the rounds by stages; the cell's timings do, too.

    Raises:
        BudgetExceeded: the budget ended the run, now or the last time; the last good model is kept.
        SecureflError: the run failed; the cell keeps the reason.
    """
    run = cell.open()
    status = cell.status()
    # Metrics of a cell that has not ended are written again: damaged ones must not stop it.
    metrics = cell.metrics() if status.state is CellState.DONE else None
    if metrics is not None:
        return with_marks(metrics, scenario.resolved(), cell)
    if status.state is CellState.OUT_OF_BUDGET:
        leave_the_model(cell)
        raise BudgetExceeded(status.reason)
    blamed = authors_blamed(quoted=not scenario.claims_dp)
    with FailureKept(cell, scenario), Stopwatch(cell) as watch, blamed:
        with watch.stage("set_up"):
            fetch_data(scenario, on_bytes)
            origin = origin_of(scenario)
            steps = Steps(on_step)
            made = parts(
                scenario,
                run=run,
                ledgers=cell.ledgers,
                keeps=cell.keeps,
                fit=fit_files(cell),
                origin=origin,
                remember=remember,
                on_step=steps,
                device=device_called(scenario.device),
            )
            crew = Workers(
                made.trainers,
                d=vector.size(made.model),
                count=workers,
                lengths=made.local.records,
                steps=steps,
                stack=made.stack,
            )
            assembled = join(replace(made, trainers=crew.trainers), ahead=crew.ahead)
        if profile is not None:
            assembled = replace(assembled, federation=profiled(assembled.federation, profile))
        try:
            with watch.stage("rounds"), closing(crew):
                return _Session(cell, scenario, assembled, on_round).play()
        finally:
            if profile is not None:
                watch.add(profile)


def fit_files(cell: Cell) -> FitFiles:
    """Returns where a cell keeps the fit that precedes its rounds."""
    return FitFiles(cell.folder / "harmonise.json", cell.keeps, cell.note_fit)


def kept_rounds(
    cell: Cell,
    federation: Federation,
    state: State,
    *,
    rounds: int,
    shapes: Mapping[str, Size],
    play: engine.Play = engine.play_round,
) -> Iterator[Played]:
    """Plays the remaining rounds, and yields each once the cell has it.

    Raises:
        BudgetExceeded: see `engine.run`; so is RunFailed.
    """
    if state.round < rounds:
        cell.begin_round(state.round)
    rest = engine.run(federation, state, rounds=rounds, play=play)
    for played in with_rank(rest, cell.rounds()):
        cell.finish_round(played, shapes)
        yield played
        # Noted before the next round can release anything, see `_abandon_interrupted`.
        if played.state.round < rounds:
            cell.begin_round(played.state.round)


@dataclass(frozen=True)
class _Session:
    """A cell with its federation, ready to play."""

    cell: Cell
    scenario: Scenario
    assembled: Assembled
    on_round: OnRound

    @cached_property
    def _shapes(self) -> Mapping[str, Size]:
        return vector.shapes(self.assembled.model)

    @cached_property
    def _best(self) -> BestModel | None:
        """The best model so far; None where the run ends with the last one."""
        return BestModel(self.cell.best, self._shapes) if self.scenario.keeps_best else None

    def play(self) -> RunMetrics:
        """Plays the remaining rounds and keeps the metrics, also where the budget ends the run."""
        state = self.cell.last_good(self.assembled.start, self._shapes)
        state = with_nodes(self.cell.keeps, state)
        # Clients may have kept a state of a round that the server has not.
        for trainer in self.assembled.settled:
            trainer.forget(state.round)
        recall_faults(self.assembled.federation, self.cell.rounds())
        # A crash may have come before it was offered.
        self._offer(state, self.cell.rounds())
        # Before anything is trained: a cut ledger would let a client spend its budget twice.
        self._check_ledgers()
        state = self._abandon_interrupted(state)
        try:
            rounds = self.scenario.rounds
            federation = self.assembled.federation
            shapes = self._shapes
            play = self.assembled.play
            for played in kept_rounds(
                self.cell, federation, state, rounds=rounds, shapes=shapes, play=play
            ):
                self.on_round(played.record)
                state = played.state
                self._offer(state, [played.record])
        except BudgetExceeded as reason:
            # An early end is a result like any other: its model is released.
            self._end(self._chosen(state), CellState.OUT_OF_BUDGET, str(reason))
            raise
        if all(record.abandoned for record in self.cell.rounds()):
            raise RunFailed(
                f"all {self.scenario.rounds} rounds were abandoned; the model is the initial one"
            )
        return self._end(self._chosen(state), CellState.DONE)

    def _offer(self, state: State, records: Sequence[RoundRecord]) -> None:
        """Offers a state's model, which the last record measured if it was to be measured."""
        if self._best is not None and records:
            value = score(records[-1].accuracy, records[-1].rmse)
            self._best.offer(state.round, state.weights, value)

    def _chosen(self, state: State) -> State:
        """Returns the state that the run ends with."""
        if self._best is None:
            return state
        # A budget may end a run between two evaluations: the last model is measured all the same.
        quality = self.assembled.federation.evaluate(state)
        self._best.offer(state.round, state.weights, score(quality.accuracy, quality.rmse))
        return self._best.chosen(state)

    def _end(self, state: State, outcome: CellState, reason: str = "") -> RunMetrics:
        """Ends the cell with a model, and returns its metrics."""
        metrics = self._metrics(state)
        keep_nodes(self.cell.keeps, state, self._shapes)
        end_run(self.cell, state, self._shapes, outcome=outcome, metrics=metrics, reason=reason)
        return metrics

    def _check_ledgers(self) -> None:
        """Refuses ledgers that were cut or replaced since a round noted their heads."""
        ledgers = self.assembled.ledgers
        for record in self.cell.rounds():
            for client, head in record.ledger_heads.items():
                if client not in ledgers:
                    raise LedgerError(
                        f"a ledger of client {client} is noted in rounds.jsonl, "
                        "but the scenario keeps none"
                    )
                ledgers[client].require_head(head)

    def _abandon_interrupted(self, state: State) -> State:
        """Records the rounds that crashes cut short as abandoned, and returns the state after them.

        Under fresh noise, a round that some client has paid for must not be released again: the
        same data under a second draw of noise would cost a second time.
        """
        if self.scenario.repeatable:  # the same noise again costs nothing
            return state
        while state.round < self.scenario.rounds and self._was_paid_for(state.round):
            record = self._abandoned(state)
            state = replace(state, round=state.round + 1)
            self.cell.keep(state, record, self._shapes)
            self._offer(state, [record])
            self.on_round(record)
        return state

    def _was_paid_for(self, round: int) -> bool:
        """Whether some client has reserved this round already."""
        run = self.cell.status().run
        return any(
            ReleaseId(run, client, number, attempt=0) in ledger
            for client, ledger in self.assembled.ledgers.items()
            for number in self.scenario.facts.numbers_of(round)
        )

    def _abandoned(self, state: State) -> RoundRecord:
        federation = self.assembled.federation
        heads = {client: ledger.head for client, ledger in self.assembled.ledgers.items()}
        quality = federation.quality_after(state.round, state)
        cohort = federation.invite(state.round)
        figures: dict[str, Any] = {}
        if quality is not None:
            names = ("accuracy", "rmse", "auc", "worst", "consensus")
            figures = {name: getattr(quality, name) for name in names} | {"evaluated": True}
        clock = federation.end_of(state.round)
        return interrupted(state.round, cohort, ledger_heads=heads, clock=clock, **figures)

    def _metrics(self, state: State) -> RunMetrics:
        """The final metrics, with the mark of seeded noise."""
        metrics = final_metrics(self.cell.rounds(), self.scenario, self.assembled, state)
        if self._best is not None:
            metrics.update(self._best.facts())
        return with_marks(metrics, self.scenario.resolved(), self.cell)
