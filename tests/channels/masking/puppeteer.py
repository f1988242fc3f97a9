"""Tools of an attacker on a masked round.

A server can send any request it likes, correctly signed, to honest clients in its hands.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import Identity, RoundKey, open_signed
from securefl.channels.masking.replies import (
    Advertisement,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import (
    Addressed,
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError
from tests.channels.masking.parties import (
    HASH,
    SESSION,
    Session,
    agreement,
    identity,
    update,
)
from tests.paths import VECTORS

PUBLISHED = json.loads((VECTORS / "rfc7748.json").read_text())


SERVER_KEY = RoundKey(bytes(range(32))).public  # of a round's uploads


LOW_ORDER = [point["u"] for point in PUBLISHED["low_order"]]


def signed(message: Any, terms: Agreement, signer: Identity | None = None) -> bytes:
    """Returns a message as its signer (the server by default) would send it."""
    body: bytes = message.to_bytes()
    return body + (signer or identity(-1)).signature(body, terms=terms.digest)


def opened(packet: Packet, sender: int, terms: Agreement) -> memoryview:
    return open_signed(packet, identity(sender).public, terms=terms.digest)


@dataclass
class Puppets:
    """Honest clients in the hands of a server that sends any request it likes, correctly signed."""

    session: Session
    round: int = 0

    @property
    def terms(self) -> Agreement:
        return self.session.terms

    def say(self, client: int, message: Any) -> Packet:
        """Sends one request, addressed to this client, and returns the reply."""
        if isinstance(message, Addressed):
            message = replace(message, recipient=client)
        return self.session.answer(client, signed(message, self.terms))

    def invite(self, cohort: Sequence[int]) -> dict[int, bytes]:
        """Returns the advertisements of everyone in the cohort."""
        self.session.updates = {
            client: update(client, self.terms) for client in self.session.clients
        }
        invitation = Invitation(SESSION, self.round, SERVER_KEY, tuple(cohort))
        return {client: bytes(self.say(client, invitation)) for client in cohort}

    def share(self, keys: Mapping[int, bytes]) -> dict[int, Mapping[int, bytes]]:
        """Returns the sealed shares of all clients in the key table: sender -> recipient -> box."""
        table = KeyTable(SESSION, self.round, 0, keys)
        replies = {client: self.say(client, table) for client in keys}
        most = len(keys)
        bodies = {client: opened(reply, client, self.terms) for client, reply in replies.items()}
        return {
            client: SealedShares.from_bytes(body, most=most).sealed
            for client, body in bodies.items()
        }

    def upload(self, boxes: Mapping[int, Mapping[int, bytes]]) -> dict[int, bytes]:
        """Returns the masked inputs of all clients that shared."""
        return {client: bytes(self.say(client, self.delivery(client, boxes))) for client in boxes}

    def delivery(
        self, client: int, boxes: Mapping[int, Mapping[int, bytes]], model: bytes = HASH
    ) -> ShareDelivery:
        return ShareDelivery(
            SESSION, self.round, client, model, {c: boxes[c][client] for c in boxes if c != client}
        )

    def consent(self, client: int, survivors: Sequence[int]) -> bytes:
        return bytes(self.say(client, SurvivorList(SESSION, self.round, 0, tuple(survivors))))

    def reveal(self, client: int, consents: Mapping[int, bytes]) -> RevealedShares:
        reply = self.say(client, UnmaskRequest(SESSION, self.round, 0, consents))
        return RevealedShares.from_bytes(opened(reply, client, self.terms), most=200)


def puppets(
    n: int = 5, *, upto: int = 3, **changes: Any
) -> tuple[Puppets, dict[int, Mapping[int, bytes]]]:
    """Returns clients that answered the stages 1 to `upto`, and the boxes between them."""
    hands = Puppets(Session(agreement(n, **changes)))
    keys = hands.invite(range(n))
    boxes = hands.share(keys) if upto > 1 else {}
    if upto > 2:
        hands.upload(boxes)
    return hands, boxes


def is_erased(hands: Puppets, client: int) -> bool:
    """Whether the client answers no new request of this round any more."""
    requests = [
        KeyTable(SESSION, hands.round, 0, {}),
        ShareDelivery(SESSION, hands.round, client, HASH, {}),
        SurvivorList(SESSION, hands.round, 0, (0,)),
        UnmaskRequest(SESSION, hands.round, 0, {}),
    ]
    for message in requests:
        with pytest.raises(ProtocolError, match="is not in progress"):
            hands.say(client, message)
    with pytest.raises(ProtocolError, match="no update was asked for"):
        hands.session.clients[client].submit(hands.session.updates[client])
    return hands.session.clients[client]._state is None


def rebuilt(keys: bytes, terms: Agreement, signer: int, **changes: Any) -> bytes:
    """Returns an advertisement with other fields, signed by `signer`."""
    advertisement = Advertisement.from_bytes(memoryview(keys)[:-64])
    return signed(replace(advertisement, **changes), terms, identity(signer))


SHARE = bytes(32) + b"\5"
