"""The messages of the server in the stages of a round that chooses the clients of its sum.

Stages 2, 3, 7 and 8 use the requests of any masked round: `KeyTable`, `ShareDelivery`,
`SurvivorList` for the chosen clients, and `UnmaskRequest`.
"""

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from securefl.channels.masking.keys import KEY_BYTES
from securefl.channels.masking.requests import Addressed, Invitation
from securefl.channels.masking.sketches.replies import Acceptance
from securefl.channels.masking.wire import Table, pack_table, unpack_party, unpack_tables
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

NONCE_BYTES = 32
CHALLENGE_BYTES = 32

_LENGTHS = struct.Struct("<II")  # of a signed dealing, and of a box


@dataclass(frozen=True)
class PromisedInvitation(Invitation):
    """Stage 1: an invitation, and a promise of the nonce that stage 4 shows.

    Args:
        promise: SHA-256 of the nonce. The server chose it before it saw an update, so that it
            cannot choose the matrix of the sketches.
    """

    KIND: ClassVar[int] = 48

    promise: bytes

    def to_bytes(self) -> bytes:
        """Returns head, key, promise and a table of ids."""
        table = pack_table({client: b"" for client in self.cohort})
        return self.head + self.key + self.promise + table

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "PromisedInvitation":
        """Parses an invitation of at most `most` clients. Raises ProtocolError."""
        fixed = KEY_BYTES + HASH_BYTES
        length = max(len(data), HEAD_BYTES + fixed)
        session, round, body = unpack_head(data, kind=cls.KIND, length=length)
        (table,) = unpack_tables(body[fixed:], kind=cls.KIND, entries=(0,), most=most)
        key, promise = bytes(body[:KEY_BYTES]), bytes(body[KEY_BYTES:fixed])
        return cls(session, round, key, tuple(table), promise)


@dataclass(frozen=True)
class UploadList(Addressed):
    """Stage 4: SHA-256 of each client's masked words, and the nonce.

    Both decide the matrix of the sketches. A client that finds its own digest knows that the matrix
    depends on its upload.
    """

    KIND: ClassVar[int] = 50

    nonce: bytes
    digests: Table

    def to_bytes(self) -> bytes:
        """Returns head, nonce and a table of digests."""
        return self.head + self.nonce + pack_table(self.digests)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "UploadList":
        """Parses at most `most` digests. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        content = _after(body, NONCE_BYTES, cls.KIND)
        (table,) = unpack_tables(content, kind=cls.KIND, entries=(HASH_BYTES,), most=most)
        return cls(session, round, recipient, bytes(body[:NONCE_BYTES]), table)


@dataclass(frozen=True)
class DealingList(Addressed):
    """Stage 5: the public parts of all dealings, signed, and the boxes for the recipient."""

    KIND: ClassVar[int] = 52

    dealings: Table
    boxes: Table

    def to_bytes(self) -> bytes:
        """Returns head, two lengths, a table of signed dealings and a table of boxes."""
        return self.head + _packed_dealings(self.dealings, self.boxes)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "DealingList":
        """Parses at most `most` dealings and as many boxes. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        return cls(session, round, recipient, *_dealings(body, kind=cls.KIND, most=most))


@dataclass(frozen=True)
class AcceptanceList(Addressed):
    """Stage 6: the signed acceptances of equal digests."""

    KIND: ClassVar[int] = 54

    acceptances: Table

    def to_bytes(self) -> bytes:
        """Returns head and a table of signed acceptances."""
        return self.head + pack_table(self.acceptances)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> Self:
        """Parses at most `most` acceptances. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        entries = (Acceptance.SIGNED_LENGTH,)
        (table,) = unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        return cls(session, round, recipient, table)


@dataclass(frozen=True)
class BlameRequest(Addressed):
    """Stage 9, only where the sum and the sketches did not agree; asks for pair sketches.

    It has no content: whom it concerns was fixed by the consents.
    """

    KIND: ClassVar[int] = 56

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "BlameRequest":
        """Parses a request. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        if len(body):
            raise ProtocolError(f"a message of kind {cls.KIND} has bytes left over")
        return cls(session, round, recipient)


@dataclass(frozen=True)
class Challenge(Addressed):
    """Stage 10: the dealings of pair sketches, and a challenge drawn after they were made."""

    KIND: ClassVar[int] = 58

    challenge: bytes
    dealings: Table
    boxes: Table

    def to_bytes(self) -> bytes:
        """Returns head, challenge, two lengths and two tables."""
        return self.head + self.challenge + _packed_dealings(self.dealings, self.boxes)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "Challenge":
        """Parses at most `most` dealings and as many boxes. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        content = _after(body, CHALLENGE_BYTES, cls.KIND)
        tables = _dealings(content, kind=cls.KIND, most=most)
        return cls(session, round, recipient, bytes(body[:CHALLENGE_BYTES]), *tables)


def _after(body: memoryview, length: int, kind: int) -> memoryview:
    """Returns the bytes behind the first `length`. Raises ProtocolError: there are fewer."""
    if len(body) < length:
        raise ProtocolError(f"a message of kind {kind} is too short")
    return body[length:]


def _packed_dealings(dealings: Table, boxes: Table) -> bytes:
    """Returns the lengths of the entries of both tables, then the tables."""
    lengths = [len(next(iter(table.values()), b"")) for table in (dealings, boxes)]
    return _LENGTHS.pack(*lengths) + pack_table(dealings) + pack_table(boxes)


def _dealings(body: memoryview, *, kind: int, most: int) -> list[dict[int, bytes]]:
    """Returns two tables, of entries as long as the body says.

    Nothing is allocated that is not in the body. Whether the entries are as long as the terms want
    them is checked where each is read.
    """
    content = _after(body, _LENGTHS.size, kind)
    entries = _LENGTHS.unpack_from(body)
    return unpack_tables(content, kind=kind, entries=entries, most=most)
