"""What the server sends in the five stages of a masked round."""

from dataclasses import dataclass
from typing import ClassVar

from securefl.channels.masking.replies import Advertisement, Consent
from securefl.channels.masking.wire import ID, SEALED_BYTES, Named, Table, pack_table, unpack_tables
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, unpack_head
from securefl.types import Packet


@dataclass(frozen=True)
class Invitation(Named):
    """Stage 1, server to client: the whole cohort of the round."""

    KIND: ClassVar[int] = 16

    cohort: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """Head and a table of ids."""
        return self.head + pack_table({client: b"" for client in self.cohort})

    @classmethod
    def from_bytes(cls, data: Packet | memoryview, *, most: int) -> "Invitation":
        """Parse an invitation of at most `most` clients. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES))
        return cls(session, round, tuple(unpack_tables(body, kind=cls.KIND, entries=(0,), most=most)[0]))


@dataclass(frozen=True)
class KeyTable(Named):
    """Stage 2, server to client: the signed advertisements of everyone who answered."""

    KIND: ClassVar[int] = 18

    advertisements: Table

    def to_bytes(self) -> bytes:
        """Head and a table of signed advertisements."""
        return self.head + pack_table(self.advertisements)

    @classmethod
    def from_bytes(cls, data: Packet | memoryview, *, most: int) -> "KeyTable":
        """Parse a table of at most `most` entries. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES))
        entries = (Advertisement.SIGNED_LENGTH,)
        return cls(session, round, *unpack_tables(body, kind=cls.KIND, entries=entries, most=most))


@dataclass(frozen=True)
class ShareDelivery(Named):
    """Stage 3, server to client: what the others sealed for it, and the hash of the model to train on.

    The senders, with the recipient, are the clients between which masks are laid.
    """

    KIND: ClassVar[int] = 20

    recipient: int
    model_hash: bytes
    sealed: Table

    def to_bytes(self) -> bytes:
        """Head, recipient, hash and a table of sealed shares."""
        return self.head + ID.pack(self.recipient) + self.model_hash + pack_table(self.sealed)

    @classmethod
    def from_bytes(cls, data: Packet | memoryview, *, most: int) -> "ShareDelivery":
        """Parse at most `most` sealed shares. Raises ProtocolError."""
        start = ID.size + HASH_BYTES
        session, round, body = unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES + start))
        tables = unpack_tables(body[start:], kind=cls.KIND, entries=(SEALED_BYTES,), most=most)
        return cls(session, round, ID.unpack_from(body)[0], bytes(body[ID.size : start]), *tables)


@dataclass(frozen=True)
class SurvivorList(Named):
    """Stage 4, server to client: whose masked inputs are in the sum."""

    KIND: ClassVar[int] = 22

    survivors: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """Head and a table of ids."""
        return self.head + pack_table({client: b"" for client in self.survivors})

    @classmethod
    def from_bytes(cls, data: Packet | memoryview, *, most: int) -> "SurvivorList":
        """Parse at most `most` ids. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES))
        return cls(session, round, tuple(unpack_tables(body, kind=cls.KIND, entries=(0,), most=most)[0]))


@dataclass(frozen=True)
class UnmaskRequest(Named):
    """Stage 5, server to client: the signed consents; it names no client to reveal, each holder knows whom."""

    KIND: ClassVar[int] = 24

    consents: Table

    def to_bytes(self) -> bytes:
        """Head and a table of signed consents."""
        return self.head + pack_table(self.consents)

    @classmethod
    def from_bytes(cls, data: Packet | memoryview, *, most: int) -> "UnmaskRequest":
        """Parse at most `most` consents. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES))
        return cls(session, round, *unpack_tables(body, kind=cls.KIND, entries=(Consent.SIGNED_LENGTH,), most=most))
