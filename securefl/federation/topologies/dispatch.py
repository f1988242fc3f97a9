"""How single trainings leave a server without lockstep, and how their updates come back."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from securefl.channels.messages import ModelMessage, PlainUpdate
from securefl.channels.protocol import Seen, View
from securefl.errors import ClientFailure, ReleasedBefore, RoundAbandoned
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


def hand_in(federation: Federation, flight: Flight, row: Tensor, log: RoundLog) -> View:
    """Hands an update that is ready to the server, and returns it as a view of one row.

    Args:
        federation: its parties.
        flight: the update.
        row: (d,), as its client sends it.
        log: of the round.

    Raises:
        RoundAbandoned: the server did not accept it.
    """
    client, server = flight.client, federation.server
    log.tell(f"client {client}", Seen.OWN_UPDATE, (client,), row)
    message = PlainUpdate(federation.session, flight.ticket, client, flight.weight, row).to_bytes()
    server.begin(flight.ticket, (client,), b"", log)
    deliver(server, client, message, log)
    view = server.close_stage()
    if view is None:
        raise RoundAbandoned(f"the update of client {client} opened nothing")
    return view
