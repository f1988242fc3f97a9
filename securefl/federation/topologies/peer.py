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
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Observer, Seen
from securefl.errors import ClientFailure, SecureflError
from securefl.federation.adversary import NOBODY
from securefl.federation.engine import Play
from securefl.federation.log import RoundLog
from securefl.federation.stages import Asked, drawn_ahead
from securefl.federation.topologies.meeting import (
    MODELS,
    MOMENTA,
    Meeting,
    add_momentum,
    heard_by,
    mixed_by,
    models_of,
)
from securefl.federation.topologies.sites import hand
from securefl.federation.values import Federation, Played, State
from securefl.federation.written import written

# What each party sees.
SEES = {
    "network": (Seen.PEER_MODEL,),
    "client": (Seen.OWN_UPDATE, Seen.PEER_MODEL),
}


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
            add_momentum(updates, momenta, meeting)
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
        heard = heard_by(meeting.adversaries.get(node, NOBODY), node, own, around, round, log)
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


def _size(federation: Federation, weights: Tensor, round: int) -> int:
    """Returns the bytes of a message with a model (d,)."""
    return len(ModelMessage(federation.session, round, b"\0" * 32, weights).to_bytes())
