"""How single trainings leave a server without lockstep, and how their updates come back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.channels.messages import ModelMessage, PlainUpdate
from securefl.channels.protocol import Seen, View
from securefl.errors import ClientFailure, ReleasedBefore, RoundAbandoned
from securefl.federation.adversary import Rows
from securefl.federation.log import RoundLog
from securefl.federation.stages import Asked, ask, deliver, drawn_ahead
from securefl.federation.topologies.traffic import Flight
from securefl.federation.values import Federation, State


class Trained(NamedTuple):
    """A client's update, as it lies in its message.

    Attributes:
        client: its id.
        ticket: the number of the training.
        weight: of the client.
        row: (d,), the update.
    """

    client: int
    ticket: int
    weight: int
    row: Tensor


def dispatch(
    federation: Federation, state: State, tickets: Mapping[int, int], log: RoundLog
) -> Iterator[Trained]:
    """Lets clients train the current model, and yields the updates of those that did.

    Each pays before it trains. A client that has paid for its ticket before, under fresh noise,
    yields nothing and is not absent: another ticket is open to it.

    Args:
        federation: its parties.
        state: has the current model.
        tickets: client -> the number of its training.
        log: of the round; whoever fails is noted as absent.
    """
    name = federation.name_of(state)
    sent = federation.sent(state)
    for party in ("server", "network"):
        log.tell(party, Seen.GLOBAL_MODEL, (), sent)
    requests = (_asked(federation, name, sent, *item, log) for item in tickets.items())
    for asked in drawn_ahead(requests, federation.ahead):
        if isinstance(asked.failure, ReleasedBefore):
            continue
        trained = None
        with log.excused(asked.client):
            trained = _trained(federation, asked, tickets[asked.client], d=sent.numel())
        if trained is not None:
            yield trained


def _asked(
    federation: Federation, name: bytes, sent: Tensor, client: int, ticket: int, log: RoundLog
) -> Asked:
    """Sends the model and the request to one client, which pays and begins to train."""
    message = ModelMessage(federation.session, ticket, name, sent).to_bytes()
    log.tell(f"client {client}", Seen.GLOBAL_MODEL, (), sent)
    log.bytes_down += len(message)
    with log.excused(client):
        federation.clients[client].load(message)
    federation.server.begin(ticket, (client,), name)
    return ask(federation, client, federation.server.requests()[client], log)


def _trained(federation: Federation, asked: Asked, ticket: int, *, d: int) -> Trained:
    """Returns what a client has trained. Raises what it raises."""
    if asked.failure is not None:
        raise asked.failure
    if asked.reply is not None:
        raise ClientFailure("it answered where it should train")
    site = federation.clients[asked.client]
    update = PlainUpdate.from_bytes(site.submit(site.train()), d=d)
    return Trained(asked.client, ticket, update.weight, update.delta)


def handed_in(
    federation: Federation, buffer: Sequence[Flight], version: int, round: int, log: RoundLog
) -> View:
    """Hands a buffer of updates to the server, and returns them as rows scaled by staleness.

    An adversary rewrites its clients' rows first, before the server scales them.

    Args:
        federation: its parties.
        buffer: K updates that are ready.
        version: steps that the server has taken.
        round: number of the round.
        log: of the round.

    Raises:
        RoundAbandoned: the server did not accept an update.
    """
    rows = [flight.row for flight in buffer]
    adversary = federation.adversary
    corrupt = [place for place, one in enumerate(buffer) if one.client in adversary.clients]
    if corrupt:
        honest = [place for place in range(len(buffer)) if place not in corrupt]
        known = _rows(buffer, honest) if honest else None
        sent = adversary.rewrite_rows(_rows(buffer, corrupt), known, round=round, observer=log)
        log.push = sent.push
        for place, row in zip(corrupt, sent.values, strict=True):
            rows[place] = row
    views = [
        _hand_in(federation, flight, row, log) for flight, row in zip(buffer, rows, strict=True)
    ]
    scales = [1 / math.sqrt(1 + version - flight.version) for flight in buffer]
    return View(
        rows=torch.cat([view.rows for view in views]) * torch.tensor(scales)[:, None],  # (K, d)
        weights=torch.cat([view.weights for view in views]),
        members=tuple((flight.client,) for flight in buffer),
    )


def _rows(buffer: Sequence[Flight], places: Sequence[int]) -> Rows:
    values: Tensor = torch.stack([buffer[place].row for place in places])
    return Rows(tuple(buffer[place].client for place in places), values)


def _hand_in(federation: Federation, flight: Flight, row: Tensor, log: RoundLog) -> View:
    """Returns the view of an update whose row (d,) its client sends. Raises RoundAbandoned."""
    client, server = flight.client, federation.server
    log.tell(f"client {client}", Seen.OWN_UPDATE, (client,), row)
    message = PlainUpdate(federation.session, flight.ticket, client, flight.weight, row).to_bytes()
    server.begin(flight.ticket, (client,), b"", log)
    deliver(server, client, message, log)
    view = server.close_stage()
    if view is None:
        raise RoundAbandoned(f"the update of client {client} opened nothing")
    return view
