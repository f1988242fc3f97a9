"""The server's requests as members read them: signatures verified, contents parsed.

Nothing here depends on who reads: members of one process may share a reader, which reads the same
bytes once (see `shared`). A member alone has a reader of its own. What a member has to compare with
its own secrets, keys and earlier answers is in `setup` and `stages`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.beacon import digest_of, opened_secret, with_beacon
from securefl.channels.masking.keys import open_signed
from securefl.channels.masking.replies import Advertisement, Consent
from securefl.channels.masking.requests import (
    Addressed,
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.setup_messages import REVEAL_BYTES, SetupReply, SetupTable
from securefl.channels.masking.shared import Kept
from securefl.channels.masking.statement import digest_of_clients
from securefl.channels.masking.wire import Table
from securefl.channels.messages import kind_of
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

Request = Invitation | Addressed


class RequestKind(Protocol):
    """A kind of request, and how one is read."""

    @property
    def KIND(self) -> int:  # noqa: N802
        """The number in the head of a message."""

    def from_bytes(self, data: Packet, *, most: int) -> Request:
        """Parses a request with tables of at most `most` entries. Raises ProtocolError."""


@dataclass(frozen=True)
class OpenedTable:
    """A request of the set-up, its signature verified.

    Attributes:
        message: its content.
        digest: SHA-256 of the whole request.
    """

    message: SetupTable
    digest: bytes

    @cached_property
    def members(self) -> bytes:
        """SHA-256 of the ids in the table."""
        return digest_of_clients(tuple(self.message.table))

    @cached_property
    def digest_of_table(self) -> bytes:
        """SHA-256 of the table; of all commitments, where it holds them."""
        return digest_of(self.message.table)


class SetupReader:
    """Reads the requests of a session's set-up."""

    def __init__(self) -> None:
        self._opened = Kept[OpenedTable]()
        self._within = Kept[bool]()
        self._agreed = Kept[Agreement]()

    def opened(self, request: bytes, terms: Agreement) -> OpenedTable:
        """Returns a request that the server signed under these terms. Raises ProtocolError."""

        def opened() -> OpenedTable:
            body = open_signed(request, terms.server, terms=terms.digest)
            message = SetupTable.from_bytes(body, most=len(terms.roster))
            return OpenedTable(message, hashlib.sha256(request).digest())

        return self._opened.get((request, terms.digest), opened)

    def is_within(self, later: OpenedTable, earlier: OpenedTable | None, terms: Agreement) -> bool:
        """Whether a table names members of an earlier one only; of the roster, if that is None."""
        before = terms.roster if earlier is None else earlier.message.table
        key = (later.members, terms.digest, None if earlier is None else earlier.members)
        return self._within.get(key, lambda: later.message.table.keys() <= before.keys())

    def agreed(self, reveals: OpenedTable, commitments: OpenedTable, terms: Agreement) -> Agreement:
        """Returns the terms with the beacon that the members drew.

        Args:
            reveals: the signed reveals of all members of an attempt.
            commitments: of the same members and attempt.
            terms: of the session.

        Raises:
            ProtocolError: a reveal is not signed by its member, does not open its commitment, or
                its member saw other commitments.
        """

        def agreed() -> Agreement:
            secrets: dict[int, bytes] = {}
            for client, signed in reveals.message.table.items():
                body = open_signed(signed, terms.roster[client], terms=terms.digest)
                secrets[client] = opened_secret(
                    SetupReply.from_bytes(body, content=REVEAL_BYTES),
                    client,
                    commitments.message.table[client],
                    reveals.message,
                    digest=commitments.digest_of_table,
                )
            return with_beacon(terms, reveals.message.round, secrets)

        key = (reveals.digest, commitments.digest, terms.session, terms.digest)
        return self._agreed.get(key, agreed)


@dataclass(frozen=True)
class OpenedRequest:
    """A request of a round, its signature verified.

    Attributes:
        message: its content.
        digest: SHA-256 of the whole request.
    """

    message: Request
    digest: bytes


@dataclass(frozen=True)
class OpenedKeys:
    """The key table of a block, all signatures verified.

    Attributes:
        signed: client -> its advertisement as bytes, with its signature.
        peers: client -> its advertisement.
    """

    signed: Table
    peers: Mapping[int, Advertisement]


class RoundReader:
    """Reads the requests of masked rounds.

    Args:
        blocks: whose members share this reader.

    Attributes:
        kinds: the requests that clients answer, the invitation first.
    """

    kinds: ClassVar[tuple[RequestKind, ...]] = (
        Invitation,
        KeyTable,
        ShareDelivery,
        SurvivorList,
        UnmaskRequest,
    )

    def __init__(self, blocks: int = 1) -> None:
        self._opened = Kept[OpenedRequest]()
        self._keys = Kept[OpenedKeys](blocks)
        self._consents = Kept[None](blocks)

    def opened(self, request: bytes, terms: Agreement) -> OpenedRequest:
        """Returns a request that the server signed under these terms. Raises ProtocolError."""

        def opened() -> OpenedRequest:
            body = open_signed(request, terms.server, terms=terms.digest)
            message = self._parsed(body, most=len(terms.roster))
            return OpenedRequest(message, hashlib.sha256(request).digest())

        return self._opened.get((request, terms.digest), opened)

    def keys(self, table: KeyTable, *, block: bytes, terms: Agreement) -> OpenedKeys:
        """Returns the keys of a block's clients.

        Args:
            table: of this session and round.
            block: digest of the clients that the reader expects in its sum.
            terms: of the session.

        Raises:
            ProtocolError: an advertisement is not signed by its client, or is of another session,
                round or block; or a public key appears twice.
        """

        def opened() -> OpenedKeys:
            peers = {
                client: _advertised(client, signed, table, block=block, terms=terms)
                for client, signed in table.advertisements.items()
            }
            _check_distinct(peers)
            return OpenedKeys(table.advertisements, peers)

        signed = tuple(table.advertisements.items())
        return self._keys.get((signed, table.session, table.round, block, terms.digest), opened)

    def check_consents(self, request: UnmaskRequest, statement: bytes, terms: Agreement) -> None:
        """Raises ProtocolError unless each client that consents signed this statement."""

        def check() -> None:
            for client, signed in request.consents.items():
                body = open_signed(signed, terms.roster[client], terms=terms.digest)
                consent = Consent(request.session, request.round, client, statement)
                if body != consent.to_bytes():
                    raise ProtocolError(
                        f"client {client} agreed to other keys, other survivors or another model"
                    )

        signed = tuple(request.consents.items())
        key = (signed, request.session, request.round, statement, terms.digest)
        self._consents.get(key, check)

    def _parsed(self, body: memoryview, *, most: int) -> Request:
        """Returns the request in a body whose signature was verified. Raises ProtocolError."""
        for kind in self.kinds:
            if kind_of(body) == kind.KIND:
                return kind.from_bytes(body, most=most)
        raise ProtocolError("a message of this kind is not for a client")


def _advertised(
    client: int, signed: bytes, table: KeyTable, *, block: bytes, terms: Agreement
) -> Advertisement:
    """Returns an advertisement, if its client signed it for this session, round and block."""
    body = open_signed(signed, terms.roster[client], terms=terms.digest)
    keys = Advertisement.from_bytes(body)
    if (keys.session, keys.round, keys.sender) != (table.session, table.round, client):
        raise ProtocolError(f"the keys of client {client} are of another session, round or sender")
    # Clients that were invited into different blocks would compute different thresholds.
    if keys.block != block:
        raise ProtocolError(f"client {client} was invited into another block")
    return keys


def _check_distinct(peers: Mapping[int, Advertisement]) -> None:
    """Raises ProtocolError if two of all public keys are equal.

    A dropped client's mask key is reconstructed: whatever else the same key protects would open.
    """
    keys = {key for peer in peers.values() for key in (peer.mask_key, peer.sealing_key)}
    if len(keys) < 2 * len(peers):
        raise ProtocolError("a public key appears twice in the key table")
