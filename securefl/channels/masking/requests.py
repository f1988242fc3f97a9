"""The messages of the server in the five stages of a masked round."""

from dataclasses import dataclass
from typing import ClassVar

from securefl.channels.masking.keys import KEY_BYTES
from securefl.channels.masking.replies import Advertisement, Consent
from securefl.channels.masking.wire import (
    ID,
    SEALED_BYTES,
    Named,
    Table,
    pack_table,
    unpack_party,
    unpack_tables,
)
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError


@dataclass(frozen=True)
class Invitation(Named):
    """Stage 1, the same for everyone: the server's key for this round's uploads, and the cohort."""

    KIND: ClassVar[int] = 16

    key: bytes
    cohort: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """Returns head, key and a table of ids."""
        return self.head + self.key + pack_table({client: b"" for client in self.cohort})

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "Invitation":
        """Parses an invitation of at most `most` clients. Raises ProtocolError."""
        length = max(len(data), HEAD_BYTES + KEY_BYTES)
        session, round, body = unpack_head(data, kind=cls.KIND, length=length)
        content = body[KEY_BYTES:]
        (table,) = unpack_tables(content, kind=cls.KIND, entries=(0,), most=most)
        return cls(session, round, bytes(body[:KEY_BYTES]), tuple(table))


@dataclass(frozen=True)
class Addressed(Named):
    """A request for one client.

    It names its recipient, so that a request that the server signed for another client is not
    taken for this one's.
    """

    recipient: int

    @property
    def head(self) -> bytes:
        """The first bytes of the request."""
        return super().head + ID.pack(self.recipient)

    def to_bytes(self) -> bytes:
        """Returns the head; requests with a content add it."""
        return self.head


@dataclass(frozen=True)
class KeyTable(Addressed):
    """Stage 2: the signed advertisements of all clients that answered."""

    KIND: ClassVar[int] = 18

    advertisements: Table

    def to_bytes(self) -> bytes:
        """Returns head and a table of signed advertisements."""
        return self.head + pack_table(self.advertisements)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "KeyTable":
        """Parses a table of at most `most` entries. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        entries = (Advertisement.SIGNED_LENGTH,)
        (table,) = unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        return cls(session, round, recipient, table)


@dataclass(frozen=True)
class ShareDelivery(Addressed):
    """Stage 3: the shares that others sealed for the recipient, and the model to train on.

    The senders, with the recipient, are the clients between which masks are laid.
    """

    KIND: ClassVar[int] = 20

    model_hash: bytes
    sealed: Table

    def to_bytes(self) -> bytes:
        """Returns head, hash and a table of sealed shares."""
        return self.head + self.model_hash + pack_table(self.sealed)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "ShareDelivery":
        """Parses at most `most` sealed shares. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        if len(body) < HASH_BYTES:
            raise ProtocolError(f"a message of kind {cls.KIND} is too short for its hash")
        (table,) = unpack_tables(
            body[HASH_BYTES:], kind=cls.KIND, entries=(SEALED_BYTES,), most=most
        )
        return cls(session, round, recipient, bytes(body[:HASH_BYTES]), table)


@dataclass(frozen=True)
class SurvivorList(Addressed):
    """Stage 4: the clients whose masked inputs are in the sum."""

    KIND: ClassVar[int] = 22

    survivors: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """Returns head and a table of ids."""
        return self.head + pack_table({client: b"" for client in self.survivors})

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "SurvivorList":
        """Parses at most `most` ids. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        (table,) = unpack_tables(body, kind=cls.KIND, entries=(0,), most=most)
        return cls(session, round, recipient, tuple(table))


@dataclass(frozen=True)
class UnmaskRequest(Addressed):
    """Stage 5: the signed consents.

    It does not say which secret of which client to reveal: each holder computes that itself.
    """

    KIND: ClassVar[int] = 24

    consents: Table

    def to_bytes(self) -> bytes:
        """Returns head and a table of signed consents."""
        return self.head + pack_table(self.consents)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "UnmaskRequest":
        """Parses at most `most` consents. Raises ProtocolError."""
        session, round, recipient, body = unpack_party(data, cls.KIND)
        entries = (Consent.SIGNED_LENGTH,)
        (table,) = unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        return cls(session, round, recipient, table)
