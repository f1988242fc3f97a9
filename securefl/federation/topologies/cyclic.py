"""Cyclic weight transfer: one site after another trains the model, and hands it on.

    x = the model
    for each site in the order:   x = the site's training, from x

There is no server and no rule: nobody compares a site's update with those of others, and the last
site of a round can write anything. The next site sees the whole model. Of a site whose neighbours
in the order work together they learn exactly its update. With two sites that is always so. Local DP
is the only protection: each visit is one release, and is paid for before the site trains.

Source: Chang et al., JAMIA 2018, cyclical weight transfer.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from securefl import vector
from securefl.channels.protocol import Observer, Seen
from securefl.errors import ClientFailure
from securefl.federation.engine import Play
from securefl.federation.log import RoundLog
from securefl.federation.topologies.sites import hand
from securefl.federation.values import Federation, Played, State
from securefl.federation.written import written

# round, cohort -> the cohort in the order of the visits
Order = Callable[[int, tuple[int, ...]], tuple[int, ...]]

# What each party sees, apart from a site that sees its own update.
SEES = {
    "network": (Seen.GLOBAL_MODEL,),
    "client": (Seen.GLOBAL_MODEL, Seen.OWN_UPDATE),
}


def fixed(round: int, cohort: tuple[int, ...]) -> tuple[int, ...]:
    """Visits the sites in the order of their numbers."""
    return cohort


def cyclic(order: Order) -> Play:
    """Returns a way to play rounds in which each site of the cohort is visited once."""

    def play(federation: Federation, state: State, observer: Observer) -> Played:
        started = time.perf_counter()
        log = RoundLog(observer)
        cohort = federation.invite(state.round)
        weights = state.weights
        visited = []
        for client in order(state.round, cohort):
            with log.excused(client):
                weights = visit(federation, client, weights, state.round, log)
                visited.append(client)
        if len(visited) < federation.min_cohort:
            log.reason = f"{len(visited)} sites trained, it takes {federation.min_cohort}"
            weights = state.weights
        else:
            log.survivors = tuple(sorted(visited))
        after = replace(state, weights=weights)
        return written(federation, state, after, cohort, log, started=started)

    return play


def visit(
    federation: Federation, client: int, weights: Tensor, round: int, log: RoundLog
) -> Tensor:
    """Hands the model (d,) to a site, and returns the one that it hands on.

    Raises:
        BudgetExceeded: the site's budget does not allow it.
        ClientFailure: the site is silent, or its model is not finite: the model goes on without it.
    """
    for party in ("network", f"client {client}"):
        log.tell(party, Seen.GLOBAL_MODEL, (), weights)
    log.bytes_down += hand(federation, client, weights, round)
    site = federation.clients[client]
    update = site.train()
    site.submit(update)
    log.tell(f"client {client}", Seen.OWN_UPDATE, (client,), update.delta)
    after = weights + update.delta
    if not vector.is_finite(after):
        raise ClientFailure("the model that it would hand on is not finite")
    log.answered.add(client)
    return after
