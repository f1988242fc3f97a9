"""Federated learning: one round, and the run of many."""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Observation, Packet, View
from securefl.errors import BudgetExceeded, RoundAbandoned, RunFailed
from securefl.federation.record import RoundRecord
from securefl.federation.values import Attendance, Federation, Played, State

_LITTLE = 0.1  # of an equal share of the weight


def run(federation: Federation, state: State, *, rounds: int) -> Iterator[Played]:
    """Play the rounds that are left, one at a time.

    Raises:
        BudgetExceeded: too few clients may still spend; what was yielded before stands.
        RunFailed: no client is left for another reason.
    """
    spent: set[int] = set()  # budgets never recover
    while state.round < rounds:
        played = play_round(federation, state)
        spent |= played.attendance.out_of_budget
        yield played
        if played.record.abandoned:
            _stop_if_hopeless(federation, played, spent)
        state = played.state


def play_round(federation: Federation, state: State) -> Played:
    """Invite, broadcast, exchange, aggregate; an abandoned round changes neither weights nor server state."""
    started = time.perf_counter()
    cohort, attendance = federation.invite(state.round), Attendance()
    after, reason = replace(state, round=state.round + 1), ""
    survivors: tuple[int, ...] = ()
    screened: tuple[int, ...] = ()
    distrusted: tuple[int, ...] | None = None
    sums: tuple[Observation, ...] = ()
    try:
        model = ModelMessage(
            federation.session, state.round, federation.name_of(state), state.weights
        )
        federation.server.begin(state.round, cohort, model.name)
        broadcast(federation, model, cohort, attendance)
        view = exchange(federation, state.round, attendance)
        attendance.note_lost(cohort, view)
        after = replace(
            after, name=view.model_name
        )  # whatever the sum holds: the server sees the name
        sums = tuple(_sums_seen(view, attendance.openers))
        screened = set_aside(federation, view)
        after = aggregate(federation, view, after)
        distrusted = distrust(federation, view)
        survivors = view.clients
    except RoundAbandoned as abandoned:
        reason = str(abandoned)
    for client in survivors:
        federation.clients[client].confirm(state.round)
    record = RoundRecord(
        round=state.round,
        abandoned=bool(reason),
        reason=reason,
        cohort=cohort,
        survivors=survivors,
        absent=attendance.absent,
        screened=screened,
        rejected=attendance.rejected,
        bytes_up=attendance.bytes_up,
        bytes_down=attendance.bytes_down,
        accuracy=federation.evaluate(after.weights).accuracy,
        ledger_heads={
            c: p.ledger_head for c, p in federation.clients.items() if p.ledger_head is not None
        },
        seconds=time.perf_counter() - started,
        push=attendance.push,
        distrusted=distrusted,
    )
    seen = (
        *_models_seen(federation, state, cohort),
        *federation.server.observed(),
        *attendance.seen,
        *sums,
    )
    return Played(after, record, attendance, seen)


def broadcast(
    federation: Federation, model: ModelMessage, cohort: tuple[int, ...], attendance: Attendance
) -> None:
    """Send the global model to everyone invited."""
    message = model.to_bytes()
    for client in cohort:
        attendance.bytes_down += len(message)
        with attendance.excused(client):
            federation.clients[client].load(message)


def exchange(federation: Federation, round: int, attendance: Attendance) -> View:
    """Carry the channel's messages, stage after stage, until a view appears. Raises RoundAbandoned."""
    opened: View | None = None
    while opened is None:
        owned: dict[int, ClientUpdate] = {}
        others: dict[int, ClientUpdate] = {}
        attendance.taken.clear()
        for client, request in federation.server.requests().items():
            if client in attendance.absent:
                continue
            attendance.bytes_down += len(request)
            with attendance.excused(client):
                reply = federation.clients[client].receive(request)
                if isinstance(reply, View):
                    opened = reply
                    attendance.openers.append(client)
                elif reply is not None:
                    deliver(federation, client, reply, attendance)
                elif client in federation.adversary.clients:
                    owned[client] = federation.clients[client].train()
                else:
                    update = federation.clients[client].train()
                    attendance.seen.append(_own(client, update))
                    deliver(
                        federation, client, federation.clients[client].submit(update), attendance
                    )
                    if federation.adversary.omniscient and client in attendance.taken:
                        others[client] = update
        rewritten = federation.adversary.rewrite(owned, others, round=round)  # it moves last
        attendance.push = rewritten.push if owned else attendance.push
        attendance.seen += rewritten.observed
        for client, update in rewritten.updates.items():
            attendance.seen.append(_own(client, update))
            with attendance.excused(client):
                deliver(federation, client, federation.clients[client].submit(update), attendance)
        opened = federation.server.close_stage() or opened
    return opened


def deliver(federation: Federation, client: int, message: Packet, attendance: Attendance) -> None:
    """Hand one reply to the server; a client counts as absent while nothing of its was taken in this stage."""
    attendance.bytes_up += len(message)
    if federation.server.absorb(client, message):
        attendance.taken.add(client)
        attendance.absent.pop(client, None)
        return
    attendance.rejected += 1
    if client not in attendance.taken:
        attendance.absent[client] = "its message was dropped: malformed, foreign or late"


def set_aside(federation: Federation, view: View) -> tuple[int, ...]:
    """The clients behind rows that are not finite or absurdly large."""
    marked = federation.screen(view.rows).tolist()
    return tuple(
        client for row, bad in zip(view.members, marked, strict=True) if bad for client in row
    )


def distrust(federation: Federation, view: View) -> tuple[int, ...] | None:
    """The clients behind rows that got next to no weight; looked at where somebody attacks and the rule weighs rows."""
    if federation.weigh is None or not federation.adversary.clients:
        return None
    little = (federation.weigh(view.rows) < _LITTLE / len(view.rows)).tolist()
    return tuple(
        client
        for row, is_little in zip(view.members, little, strict=True)
        if is_little
        for client in row
    )


def aggregate(federation: Federation, view: View, state: State) -> State:
    """Apply the rule to the view and the server's step to its estimate. Raises RoundAbandoned."""
    try:
        estimate = federation.rule(view.rows, view.weights)
    except ValueError as reason:  # too few rows came, or too many were set aside
        raise RoundAbandoned(str(reason)) from None
    weights, step_state = federation.step(state.weights, estimate, state.step_state)
    if not bool(torch.isfinite(weights).all()):
        raise RoundAbandoned("the step would leave a model that is not finite")
    return replace(state, weights=weights, step_state=step_state)


def _models_seen(
    federation: Federation, state: State, cohort: tuple[int, ...]
) -> Iterator[Observation]:
    """Every invited client sees the global model; where the server holds it, so do the server and the network."""
    d = state.weights.numel()
    holders = ("server", "network") if federation.server_holds_model else ()
    for party in (*holders, *(f"client {client}" for client in cohort)):
        yield Observation(party, "global model", (), (d,), 4 * d, state.weights)


def _own(client: int, update: ClientUpdate) -> Observation:
    """A client sees what it sends itself."""
    d = update.delta.numel()
    return Observation(f"client {client}", "own update", (client,), (d,), 4 * d, update.delta)


def _sums_seen(view: View, openers: list[int]) -> Iterator[Observation]:
    """Key holders see what they open."""
    for client in openers:
        for row, members in zip(view.rows, view.members, strict=True):
            yield Observation(
                f"client {client}", "opened sum", members, tuple(row.shape), 4 * row.numel(), row
            )


def _stop_if_hopeless(federation: Federation, played: Played, spent: set[int]) -> None:
    """End the run when an abandoned round shows that later ones can do no better."""
    record, able = played.record, len(federation.clients) - len(spent)
    if played.attendance.out_of_budget and able < federation.min_cohort:
        reasons = "; ".join(
            record.absent[client] for client in sorted(played.attendance.out_of_budget)
        )
        raise BudgetExceeded(
            f"round {record.round}: {able} of {len(federation.clients)} clients may still spend: {reasons}"
        )
    if len(record.absent) == len(federation.clients):
        reasons = "; ".join(dict.fromkeys(record.absent.values()))
        raise RunFailed(f"round {record.round}: no clients left: {reasons}")
