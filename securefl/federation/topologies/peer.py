"""Peers: every node has a model of its own, trains it, and combines it with its neighbours'.

    for each node:   x_i = x_i + its training from x_i
    for each node:   x_i = rule(x_i, what its neighbours sent)

There is no server. A neighbour sees a whole model in each round, and local DP is the only
protection: the training is one release, paid for before a node trains, whatever the number of
neighbours that its model goes to. What a node makes of models that it was sent, and of its own,
is post-processing.

In `beside`, the order of D-PSGD, nodes send the models that they began with, and add their
training, from the unmixed model, to what the rule makes of these.

Sources: Lian et al., NeurIPS 2017 (D-PSGD); Farhadkhani et al., ICML 2023 (MoNNA's momentum).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Observer, Seen
from securefl.errors import ClientFailure, SecureflError
from securefl.federation.adversary import NOBODY, Adversary
from securefl.federation.engine import Play
from securefl.federation.log import RoundLog
from securefl.federation.stages import Asked, drawn_ahead
from securefl.federation.topologies.graphs import Graph
from securefl.federation.topologies.sites import hand
from securefl.federation.values import Federation, Played, State
from securefl.federation.written import written

# own row (d,), rows of neighbours (m, d), their weights (m,) -> own row (d,)
Around = Callable[[Tensor, Tensor, Tensor], Tensor]

# What each party sees.
SEES = {
    "network": (Seen.PEER_MODEL,),
    "client": (Seen.OWN_UPDATE, Seen.PEER_MODEL),
}
MODELS = "models"  # of all nodes, (n, d), in a state
MOMENTA = "momenta"  # of all nodes, (n, d), in a state


@dataclass(frozen=True)
class Meeting:
    """What nodes without a server agree on.

    Args:
        graph: who is whose neighbour.
        rule: combines a node's row with those of its neighbours.
        adversaries: node -> the adversary that writes the rows which this node is sent.
        momentum: share of the momentum before in that of a round; 0 without.
        beside: whether nodes send the models that they began with.
        statistics: the coordinate from which a model has running statistics and no parameters.
            These have no momentum, which could make a variance negative.
    """

    graph: Graph
    rule: Around
    adversaries: Mapping[int, Adversary]
    momentum: float = 0.0
    beside: bool = False
    statistics: int | None = None


def models_of(state: State, n: int) -> Tensor:
    """Returns (n, d), the models of all nodes; at first all have the same."""
    return state.step_state.get(MODELS, state.weights.expand(n, -1))


def honest(federation: Federation) -> list[int]:
    """Returns the nodes that no adversary owns, whose models a run is judged by."""
    return [node for node in federation.clients if node not in federation.adversary.clients]


def peer(meeting: Meeting) -> Play:
    """Returns a way to play rounds in which every node of the cohort trains and combines once."""

    def play(federation: Federation, state: State, observer: Observer) -> Played:
        started = time.perf_counter()
        log = RoundLog(observer)
        cohort = federation.invite(state.round)
        models = models_of(state, meeting.graph.n).clone()
        momenta = state.step_state.get(MOMENTA, torch.zeros_like(models)).clone()
        updates = dict(trained(federation, models, cohort, state.round, log))
        after = state
        if len(updates) < federation.min_cohort:
            log.reason = f"{len(updates)} nodes trained, it takes {federation.min_cohort}"
        else:
            log.survivors = tuple(sorted(updates))
            _add_momentum(updates, momenta, meeting)
            mixed = _combined(meeting, federation, models, updates, state.round, log)
            kept = {MODELS: mixed, **({MOMENTA: momenta} if meeting.momentum else {})}
            middle = mixed[honest(federation)].double().mean(dim=0).float()
            after = replace(state, weights=middle, step_state=kept)
        return written(federation, state, after, cohort, log, started=started)

    return play


def trained(
    federation: Federation, models: Tensor, cohort: tuple[int, ...], round: int, log: RoundLog
) -> Iterator[tuple[int, ClientUpdate]]:
    """Yields each node that trained its model, of (n, d), with its update."""

    def begun(node: int) -> Asked:
        try:
            hand(federation, node, models[node], round)
            federation.clients[node].begin()
        except SecureflError as failure:
            return Asked(node, failure=failure)
        return Asked(node)

    for asked in drawn_ahead(map(begun, cohort), federation.ahead):
        node = asked.client
        with log.excused(node):
            if asked.failure is not None:
                raise asked.failure
            update = federation.clients[node].train()
            federation.clients[node].submit(update)
            log.tell(f"client {node}", Seen.OWN_UPDATE, (node,), update.delta)
            if not vector.is_finite(models[node] + update.delta):
                raise ClientFailure("its model is not finite")
            yield node, update


def _add_momentum(updates: dict[int, ClientUpdate], momenta: Tensor, meeting: Meeting) -> None:
    """Replaces each update by the node's momentum, which it becomes a part of."""
    if not meeting.momentum:
        return
    for node, update in updates.items():
        momentum = momenta[node, : meeting.statistics]
        momentum.mul_(meeting.momentum)
        momentum.add_(update.delta[: meeting.statistics], alpha=1 - meeting.momentum)
        moved = update.delta.clone()
        moved[: meeting.statistics] = momentum
        updates[node] = replace(update, delta=moved)


def _combined(
    meeting: Meeting,
    federation: Federation,
    models: Tensor,
    updates: Mapping[int, ClientUpdate],
    round: int,
    log: RoundLog,
) -> Tensor:
    """Returns (n, d), the models after the nodes that trained have heard each other."""
    sent = {
        node: replace(update, delta=models[node] + (0 if meeting.beside else update.delta))
        for node, update in updates.items()
    }
    after = models.clone()
    for node, own in sent.items():
        around = {other: sent[other] for other in meeting.graph.neighbors[node] if other in sent}
        heard = _heard(meeting.adversaries.get(node, NOBODY), node, own, around, round, log)
        log.bytes_up += len(heard) * _size(federation, models[node], round)
        rows = torch.stack([own.delta, *heard.values()])[1:]
        marked = federation.screen(rows).tolist() if len(rows) else []
        bad = {other for other, mark in zip(heard, marked, strict=True) if mark}
        log.screened = tuple(sorted(bad.union(log.screened)))
        mixed = mixed_by(meeting, node, own.delta, heard)
        mixed = mixed + (updates[node].delta if meeting.beside else 0)
        if vector.is_finite(mixed):
            after[node] = mixed
    return after


def mixed_by(meeting: Meeting, node: int, own: Tensor, heard: Mapping[int, Tensor]) -> Tensor:
    """Returns what a node's rule makes of its own row (d,) and of those that it heard.

    Args:
        meeting: what nodes agree on.
        node: whose rows these are.
        own: its row.
        heard: neighbour -> its row, ascending.
    """
    weights = [meeting.graph.metropolis(node, other) for other in heard]
    rows = torch.stack([own, *heard.values()])[1:]
    try:
        return meeting.rule(own, rows, torch.tensor(weights, dtype=torch.float64))
    except ValueError:  # it heard too few, and goes on by itself
        return own


def _heard(
    adversary: Adversary,
    node: int,
    own: ClientUpdate,
    around: Mapping[int, ClientUpdate],
    round: int,
    log: RoundLog,
) -> dict[int, Tensor]:
    """Returns neighbour -> the row (d,) that a node is sent, as the adversary rewrites it.

    A corrupt node may send every neighbour another row. What an omniscient adversary knows are the
    honest rows that this node puts together.
    """
    owned = {other: row for other, row in around.items() if other in adversary.clients}
    others = {other: row for other, row in around.items() if other not in owned}
    rewritten = adversary.rewrite(owned, {**others, node: own}, round=round, observer=log)
    if rewritten.push is not None:
        log.push = max(rewritten.push, log.push or 0.0)
    rows = {other: row.delta for other, row in sorted({**others, **rewritten.updates}.items())}
    for other, row in rows.items():
        for party in ("network", f"client {node}"):
            log.tell(party, Seen.PEER_MODEL, (other,), row)
    return rows


def _size(federation: Federation, weights: Tensor, round: int) -> int:
    """Returns the bytes of a message with a model (d,)."""
    return len(ModelMessage(federation.session, round, b"\0" * 32, weights).to_bytes())
