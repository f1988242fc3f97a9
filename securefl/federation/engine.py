"""Federated learning: one round, and the run of many."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import UNWATCHED, Observer, Seen, View
from securefl.errors import BudgetExceeded, RoundAbandoned, RunFailed
from securefl.federation.log import RoundLog
from securefl.federation.stages import play_stage
from securefl.federation.values import Federation, Played, State
from securefl.federation.written import written

# Plays the round of a state, in this process or between others.
Play = Callable[[Federation, State, Observer], Played]

DISTRUSTED_SHARE = 0.1  # of an equal share of the weight: rows below are reported as distrusted


def play_round(federation: Federation, state: State, observer: Observer = UNWATCHED) -> Played:
    """Plays one round: invite, broadcast, exchange, conclude."""
    started = time.perf_counter()
    cohort = federation.invite(state.round)
    log = RoundLog(observer)
    view = None
    try:
        broadcast(federation, state, cohort, log)
        view = exchange(federation, state.round, log)
    except RoundAbandoned as abandoned:
        log.abandon(abandoned)
    return conclude(federation, state, cohort, view, log, started=started)


def run(
    federation: Federation,
    state: State,
    *,
    rounds: int,
    observer: Observer = UNWATCHED,
    play: Play = play_round,
) -> Iterator[Played]:
    """Plays the remaining rounds, one at a time.

    Raises:
        BudgetExceeded: too few clients may still spend; the rounds yielded before are valid.
        RunFailed: no client remains for another reason.
    """
    spent: set[int] = set()  # clients without budget; budgets never recover
    while state.round < rounds:
        played = play(federation, state, observer)
        spent |= played.out_of_budget
        yield played
        if played.record.abandoned:
            _stop_if_hopeless(federation, played, spent)
        state = played.state


def broadcast(federation: Federation, state: State, cohort: tuple[int, ...], log: RoundLog) -> None:
    """Announces the round to the channel and sends the global model to everyone invited."""
    name = federation.name_of(state)
    federation.server.begin(state.round, cohort, name, log)
    sent = federation.sent(state)
    message = model_message(federation, state, name, log)
    for client in cohort:
        log.tell(f"client {client}", Seen.GLOBAL_MODEL, (), sent)
        log.bytes_down += len(message)
        with log.excused(client):
            federation.clients[client].load(message)


def model_message(federation: Federation, state: State, name: bytes, log: RoundLog) -> bytes:
    """Returns the global model as it goes to each client, past server and network."""
    sent = federation.sent(state)
    if federation.server_holds_model:
        for party in ("server", "network"):
            log.tell(party, Seen.GLOBAL_MODEL, (), sent)
    return ModelMessage(federation.session, state.round, name, sent).to_bytes()


def exchange(federation: Federation, round: int, log: RoundLog) -> View:
    """Plays the channel's stages until a view appears. Raises RoundAbandoned."""
    view = None
    while view is None:
        view = play_stage(federation, round, log)
    return view


def conclude(
    federation: Federation,
    state: State,
    cohort: tuple[int, ...],
    view: View | None,
    log: RoundLog,
    *,
    started: float,
) -> Played:
    """Aggregates the view of a round, settles its payments, and writes it down.

    An abandoned round changes neither the weights nor the state of the server's step.

    Args:
        federation: its parties.
        state: before the round.
        cohort: the invited clients.
        view: the outcome of the channel; None where the log says why the round was abandoned.
        log: of the round.
        started: when the round began, by `time.perf_counter`.
    """
    after = state
    log.clock = federation.end_of(state.round)
    if view is not None:
        log.note_lost(cohort, view, grouped=federation.grouped)
        log.note_choice(view)
        if federation.grouped:
            log.groups = view.members  # they were opened, whatever the rule makes of them
        # The server has seen the next model's name, so the name counts even if its sum is refused.
        after = aggregated(federation, view, replace(state, name=view.model_name), log)
    if federation.memory is not None:
        log.note_barred(cohort, federation.memory.named)
    return written(federation, state, after, cohort, log, started=started)


def aggregated(federation: Federation, view: View, state: State, log: RoundLog) -> State:
    """Returns the state after a view; the same state where its aggregate is refused."""
    log.screened = set_aside(federation, view)
    try:
        counted = len(view.clients) - len(log.screened)
        after = aggregate(federation, view, state, counted=counted)
        log.distrusted = distrust(federation, view)
    except RoundAbandoned as abandoned:
        log.reason = str(abandoned)
        log.paired = ()  # in doubt for this round only; in an abandoned one it would be for good
        return state
    log.survivors = view.clients
    return after


def set_aside(federation: Federation, view: View) -> tuple[int, ...]:
    """Returns the clients behind rows that are not finite or absurdly large."""
    return _clients_behind(view, federation.screen(view.rows))


def distrust(federation: Federation, view: View) -> tuple[int, ...] | None:
    """Returns the clients behind rows with next to no weight; None without attack or weights."""
    if federation.weigh is None or not federation.adversary.clients:
        return None
    return _clients_behind(view, federation.weigh(view.rows) < DISTRUSTED_SHARE / len(view.rows))


def _clients_behind(view: View, marked: Tensor) -> tuple[int, ...]:
    """Returns the clients behind the marked rows (m,)."""
    rows = zip(view.members, marked.tolist(), strict=True)
    return tuple(client for members, is_marked in rows if is_marked for client in members)


def aggregate(federation: Federation, view: View, state: State, *, counted: int) -> State:
    """Applies the rule to the view, and the step to its estimate. Raises RoundAbandoned.

    Args:
        federation: its parties.
        view: the outcome of the channel.
        state: before the round.
        counted: clients whose updates are not set aside.
    """
    try:
        estimate = federation.estimate(view, state.round)
    except ValueError as reason:  # too few rows came, or too many were set aside
        raise RoundAbandoned(str(reason)) from None
    weights, step_state = federation.algorithm.move(
        federation.step,
        state.weights,
        estimate,
        state.step_state,
        round=state.round,
        share=counted / len(federation.clients),
    )
    if not all(vector.is_finite(value) for value in step_state.values()):
        raise RoundAbandoned("the step would leave a state that is not finite")
    if not vector.is_finite(weights):
        raise RoundAbandoned("the step would leave a model that is not finite")
    return replace(state, weights=weights, step_state=step_state)


def _stop_if_hopeless(federation: Federation, played: Played, spent: set[int]) -> None:
    """Ends the run when an abandoned round shows that later ones can do no better."""
    record, number = played.record, len(federation.clients)
    able = federation.clients.keys() - spent
    if played.out_of_budget and not federation.makes_a_round(able):
        reasons = "; ".join(record.absent[client] for client in sorted(played.out_of_budget))
        raise BudgetExceeded(
            f"round {record.round}: {len(able)} of {number} clients may still spend: {reasons}"
        )
    if len(record.absent) == number:
        reasons = "; ".join(dict.fromkeys(record.absent.values()))
        raise RunFailed(f"round {record.round}: no clients left: {reasons}")
