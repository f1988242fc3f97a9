"""Run a scenario inside its cell: start or resume, play the rounds, keep what comes out."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

from securefl.data.download import OnBytes, quiet
from securefl.errors import BudgetExceeded, LedgerError, RunFailed, SecureflError
from securefl.federation import engine
from securefl.federation.record import RoundRecord
from securefl.federation.values import State
from securefl.privacy.events import ReleaseId
from securefl.privacy.remember import Remember, fresh
from securefl.runs.cell import Cell, CellState
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import RunMetrics, final_metrics
from securefl.runs.origin import origin_of
from securefl.runs.stopwatch import Stopwatch
from securefl.scenario.assemble.assemble import Assembled, assemble
from securefl.scenario.assemble.data import fetch_data
from securefl.scenario.scenario import Scenario

OnRound = Callable[[RoundRecord], None]
INTERRUPTED = "interrupted before it was complete; its reservations stand"


def run_cell(
    cell: Cell,
    scenario: Scenario,
    *,
    on_round: OnRound,
    on_bytes: OnBytes = quiet,
    remember: Remember = fresh,
) -> RunMetrics:
    """The final metrics of scenario; a finished cell is only read, an interrupted one goes on.

    Args:
        cell: where it runs.
        scenario: what to run.
        on_round: called with each round's record.
        on_bytes: told how a download of its data goes, where one is needed.
        remember: finds values that are dear to compute, such as `Cache.remember`.

    Raises:
        BudgetExceeded: the budget ended the run, now or when it was last tried; the last good model is kept.
        SecureflError: the run failed; the cell keeps the reason.
    """
    run = cell.open()
    status = cell.status()
    if status.state is CellState.DONE and (metrics := cell.metrics()) is not None:
        return with_marks(metrics, scenario.resolved(), cell)
    if status.state is CellState.OUT_OF_BUDGET:
        raise BudgetExceeded(status.reason)
    with _FailureKept(cell), Stopwatch(cell) as watch:
        with watch.stage("set_up"):
            fetch_data(scenario, on_bytes)
            origin = origin_of(scenario)
            assembled = assemble(
                scenario, run=run, ledgers=cell.ledgers, origin=origin, remember=remember
            )
        with watch.stage("rounds"):
            return _play(cell, scenario, assembled, on_round)


class _FailureKept:
    """Writes why a cell failed into its status on the way out; an interruption or a spent budget is no failure."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, BudgetExceeded):
            return
        reason = (
            str(error)
            if isinstance(error, SecureflError)
            else "".join(traceback.format_exception(error))
        )
        with suppress(OSError):  # the disk may be what failed
            self._cell.finish(CellState.FAILED, reason=reason)


def _play(cell: Cell, scenario: Scenario, assembled: Assembled, on_round: OnRound) -> RunMetrics:
    """Play what is left and write the metrics, also when the budget ends the run."""
    state = cell.last_good(assembled.start)
    _check_ledgers(cell, assembled)
    while (
        not scenario.repeatable
        and state.round < scenario.rounds
        and _was_paid_for(cell, assembled, state.round)
    ):
        state = _abandon_interrupted(cell, assembled, state, on_round)
    try:
        if state.round < scenario.rounds:
            cell.begin_round(state.round)
        for played in engine.run(assembled.federation, state, rounds=scenario.rounds):
            cell.finish_round(played)
            state = played.state
            on_round(played.record)
            if state.round < scenario.rounds:
                cell.begin_round(state.round)
    except BudgetExceeded as reason:
        cell.finish(
            CellState.OUT_OF_BUDGET,
            metrics=_final(cell, scenario, assembled, state),
            reason=str(reason),
        )
        raise
    if all(record.abandoned for record in cell.rounds()):
        raise RunFailed(
            f"all {scenario.rounds} rounds were abandoned; the model is the initial one"
        )
    metrics = _final(cell, scenario, assembled, state)
    cell.finish(CellState.DONE, metrics=metrics)
    return metrics


def _check_ledgers(cell: Cell, assembled: Assembled) -> None:
    """Every ledger holds every head that the records noted. Raises LedgerError."""
    for record in cell.rounds():
        for client, head in record.ledger_heads.items():
            if client not in assembled.ledgers:
                raise LedgerError(
                    f"a ledger of client {client} is noted in rounds.jsonl, but the scenario keeps none"
                )
            assembled.ledgers[client].require_head(head)


def _was_paid_for(cell: Cell, assembled: Assembled, round: int) -> bool:
    """Whether some client has reserved this round already."""
    run = cell.status().run
    return any(
        ReleaseId(run, client, round, attempt=0) in ledger
        for client, ledger in assembled.ledgers.items()
    )


def _abandon_interrupted(
    cell: Cell, assembled: Assembled, state: State, on_round: OnRound
) -> State:
    """Record the round that a crash cut short; under fresh noise it must not be released a second time."""
    record = RoundRecord(
        round=state.round,
        abandoned=True,
        reason=INTERRUPTED,
        cohort=assembled.federation.invite(state.round),
        survivors=(),
        absent={},
        screened=(),
        rejected=0,
        bytes_up=0,
        bytes_down=0,
        accuracy=assembled.federation.evaluate(state.weights).accuracy,
        ledger_heads={client: ledger.head for client, ledger in assembled.ledgers.items()},
        seconds=0.0,
    )
    after = replace(state, round=state.round + 1)
    cell.keep(after, record)
    on_round(record)
    return after


def _final(cell: Cell, scenario: Scenario, assembled: Assembled, state: State) -> RunMetrics:
    """The final metrics, with the mark of seeded noise."""
    metrics = final_metrics(cell.rounds(), scenario, assembled, state)
    return with_marks(metrics, scenario.resolved(), cell)
