"""Buffered asynchronous aggregation: a server that waits for nobody.

    whenever nobody else is ready:   idle clients, drawn, begin on the current model
    the next update is ready:        into the buffer
    the buffer has K updates:        model <- step(rule of update_i / sqrt(1 + staleness_i))

Staleness counts the steps that the server has taken since the client got its model. The scales are
not normalised: the mean of a buffer of stale updates moves the model less. Updates that are ready
at the same simulated time come in first, by client id, before anybody begins again.

A training is numbered by a ticket, which rises with every dispatch. It takes the place of the round
in messages, in the ledger's releases and in noise. An update is computed when it is dispatched, and
lies in the server's state until it is ready.

Source: Nguyen et al., AISTATS 2022, algorithm 1 and section 3 (staleness scaling).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from securefl.channels.protocol import Observer, Seen
from securefl.errors import RoundAbandoned
from securefl.federation.engine import Play, aggregated
from securefl.federation.log import RoundLog
from securefl.federation.topologies.dispatch import dispatch, handed_in
from securefl.federation.topologies.traffic import Flight, Traffic
from securefl.federation.values import Federation, Played, State
from securefl.federation.written import written

# What each party sees, apart from what an adversary sees inside.
SEES = {
    "server": (Seen.GLOBAL_MODEL, Seen.CLEAR_UPDATE),
    "network": (Seen.GLOBAL_MODEL, Seen.CLEAR_UPDATE),
    "client": (Seen.GLOBAL_MODEL, Seen.OWN_UPDATE),
}


@dataclass(frozen=True)
class Buffering:
    """The constants of buffered aggregation.

    Attributes:
        size: updates that make a step, K.
        concurrency: clients that train at any time.
        max_updates: trainings of one client in the whole run.
        speed: the simulated time of one training, for each client.
        draw: ticket, n -> which of n idle clients gets it.
    """

    size: int
    concurrency: int
    max_updates: int
    speed: Sequence[int]
    draw: Callable[[int, int], int]


def fedbuff(terms: Buffering) -> Play:
    """Returns a way to play rounds, each of which fills one buffer and ends with its step."""

    def play(federation: Federation, state: State, observer: Observer) -> Played:
        started = time.perf_counter()
        log = RoundLog(observer)
        traffic, step_state = Traffic.of(state.step_state)
        # The server's step finds its own state alone, and only that must be finite.
        server = replace(state, step_state=step_state)
        buffer = _filled(federation, terms, server, traffic, log)
        after = server
        try:
            if len(buffer) < terms.size:
                raise RoundAbandoned(_out_of_clients(federation, terms, traffic, log, len(buffer)))
            view = handed_in(federation, buffer, traffic.version, state.round, log)
            after = aggregated(federation, view, server, log)
        except RoundAbandoned as abandoned:
            log.reason = str(abandoned)
        # An update counts, and its payment is settled, once it is in a step.
        paid = [] if log.reason else [(flight.client, flight.ticket) for flight in buffer]
        traffic.version += not log.reason
        log.clock = traffic.now
        after = replace(after, step_state={**after.step_state, **traffic.tensors()})
        cohort = tuple(flight.client for flight in buffer)
        return written(federation, state, after, cohort, log, started=started, paid=paid)

    return play


def _filled(
    federation: Federation, terms: Buffering, state: State, traffic: Traffic, log: RoundLog
) -> list[Flight]:
    """Returns the next K updates by client and ticket; fewer where no more can come."""
    buffer: list[Flight] = []
    while len(buffer) < terms.size:
        if not traffic.is_landing:
            _fill_up(federation, terms, state, traffic, log)
        if not traffic.flights:
            break
        buffer.append(traffic.land())
    return sorted(buffer, key=lambda flight: (flight.client, flight.ticket))


def _fill_up(
    federation: Federation, terms: Buffering, state: State, traffic: Traffic, log: RoundLog
) -> None:
    """Lets idle clients begin on the current model, until `concurrency` of them train."""
    while drawn := _drawn(federation, terms, traffic, log):
        # A client that failed is in log.absent, and is not drawn again in this round.
        for update in dispatch(federation, state, drawn, log):
            finish = traffic.now + terms.speed[update.client]
            traffic.start(
                Flight(update.client, update.ticket, traffic.version, finish, *update[2:])
            )


def _drawn(
    federation: Federation, terms: Buffering, traffic: Traffic, log: RoundLog
) -> dict[int, int]:
    """Returns client -> ticket for as many idle clients as may begin."""
    busy = {flight.client for flight in traffic.flights}
    idle = [
        client
        for client in sorted(federation.clients.keys() - busy - log.absent.keys())
        if traffic.begun.get(client, 0) < terms.max_updates
    ]
    tickets = {}
    for _ in range(min(terms.concurrency - len(busy), len(idle))):
        tickets[idle.pop(terms.draw(traffic.ticket, len(idle)))] = traffic.ticket
        traffic.ticket += 1
    return tickets


def _out_of_clients(
    federation: Federation, terms: Buffering, traffic: Traffic, log: RoundLog, came: int
) -> str:
    """Returns why a buffer stays short, and notes the clients that have given all they may."""
    for client in federation.clients:
        if traffic.begun.get(client, 0) >= terms.max_updates:
            log.absent[client] = f"client {client} has given its {terms.max_updates} updates"
            # As with a spent budget, so that the engine ends a run in which nobody is left.
            log.out_of_budget.add(client)
    return f"{came} updates came, a step takes {terms.size}"
