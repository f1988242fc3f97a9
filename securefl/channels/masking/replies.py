"""The messages of clients in the five stages of a masked round."""

import struct
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.keys import (
    KEY_BYTES,
    PROOF_BYTES,
    SHARE_COMMITMENT_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    tag,
)
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.wire import (
    ID,
    SEALED_BYTES,
    Named,
    Table,
    pack_table,
    unpack_party,
    unpack_tables,
)
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, pack_head, unpack_head
from securefl.channels.protocol import Packet


class Reply(Protocol):
    """A message of a client, which names its sender."""

    @property
    def session(self) -> bytes:
        """16 bytes that name the session."""

    @property
    def round(self) -> int:
        """The number of the round."""

    @property
    def sender(self) -> int:
        """The client's id."""


@dataclass(frozen=True)
class Advertisement(Named):
    """Stage 1: this round's public keys; to the server and on to every client, signature included.

    Args:
        sender: its id.
        mask_key: X25519, for pair masks.
        sealing_key: X25519, for sealed shares and for the upload's tag.
        commitment: fixes the self-mask seed.
        block: digest of the clients that the sender expects in its sum.
        proof: shows the server that the sender has both private keys.
    """

    KIND: ClassVar[int] = 17
    LENGTH: ClassVar[int] = HEAD_BYTES + ID.size + 2 * KEY_BYTES + 2 * HASH_BYTES + PROOF_BYTES
    SIGNED_LENGTH: ClassVar[int] = LENGTH + SIGNATURE_BYTES

    sender: int
    mask_key: bytes
    sealing_key: bytes
    commitment: bytes
    block: bytes
    proof: bytes

    @property
    def public_keys(self) -> tuple[bytes, bytes]:
        """The mask key and the sealing key."""
        return self.mask_key, self.sealing_key

    def to_bytes(self) -> bytes:
        """Returns the head and 148 bytes."""
        head = self.head + ID.pack(self.sender)
        keys = self.mask_key + self.sealing_key
        return head + keys + self.commitment + self.block + self.proof

    @classmethod
    def from_bytes(cls, data: Packet) -> "Advertisement":
        """Parses an advertisement. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.LENGTH)
        (sender,) = ID.unpack_from(body)
        # Four fields of 32 bytes, then the 16 of the proof.
        starts = range(ID.size, len(body), 32)
        parts = [bytes(body[start : start + 32]) for start in starts]
        return cls(session, round, sender, *parts)


@dataclass(frozen=True)
class SealedShares(Named):
    """Stage 2: for every other client its two shares, sealed; and commitments to all shares.

    The server passes the boxes on to their holders. It keeps the commitments, 32 bytes a client
    and the sender's own among them: by them it tells dealt shares from wrong ones later.
    """

    KIND: ClassVar[int] = 19
    # To a share of the seed, then to a share of the mask key.
    COMMITMENTS: ClassVar[int] = 2 * SHARE_COMMITMENT_BYTES

    sender: int
    sealed: Table
    commitments: Table

    def to_bytes(self) -> bytes:
        """Returns head, sender, a table of sealed shares and a table of commitments."""
        tables = pack_table(self.sealed) + pack_table(self.commitments)
        return self.head + ID.pack(self.sender) + tables

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "SealedShares":
        """Parses at most `most` sealed shares, and as many commitments. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        entries = (SEALED_BYTES, cls.COMMITMENTS)
        tables = unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        return cls(session, round, sender, *tables)


@dataclass(frozen=True)
class MaskedInput(Named):
    """Stage 3: the update under its masks, words (m,), and its weight, which no mask hides.

    The upload is tagged with a key agreed with the server instead of signed, which reads millions
    of words ten times faster.

    Args:
        sender: its id.
        weight: in the clear.
        words: (m,) words of the ring.
        packet: the upload that the words lie in, with room for its tag; empty where it was parsed.
    """

    KIND: ClassVar[int] = 21
    # Sender and weight, padded to 40 bytes with the head, so that the words lie aligned.
    _SENDER: ClassVar[struct.Struct] = struct.Struct("<II7x")
    _OFFSET: ClassVar[int] = HEAD_BYTES + _SENDER.size

    sender: int
    weight: int
    words: NDArray[Any]
    packet: memoryview = field(default=memoryview(b""), repr=False)

    @classmethod
    def blank(
        cls, session: bytes, round: int, sender: int, weight: int, *, m: int, word: np.dtype[Any]
    ) -> "MaskedInput":
        """Returns an upload with room for m words, to be written in place."""
        packet = memoryview(bytearray(cls.length(m, word) + TAG_BYTES))
        head = pack_head(cls.KIND, session, round) + cls._SENDER.pack(sender, weight)
        packet[: cls._OFFSET] = head
        words = np.frombuffer(packet, dtype=word, count=m, offset=cls._OFFSET)
        return cls(session, round, sender, weight, words, packet)

    @classmethod
    def length(cls, m: int, word: np.dtype[Any]) -> int:
        """Returns the bytes of an upload of m words, without its tag."""
        return cls._OFFSET + m * word.itemsize

    def tagged(self, key: bytes) -> memoryview:
        """Returns the upload with its tag, written behind the words."""
        self.packet[-TAG_BYTES:] = tag(key, self.packet[:-TAG_BYTES])
        return self.packet

    @classmethod
    def from_bytes(cls, data: Packet, *, m: int, word: np.dtype[Any]) -> "MaskedInput":
        """Parses exactly m words; they are a view of `data`, not a copy. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.length(m, word))
        words = np.frombuffer(body, dtype=word, count=m, offset=cls._SENDER.size)
        sender, weight = cls._SENDER.unpack_from(body)
        return cls(session, round, sender, weight, words)


@dataclass(frozen=True)
class Consent(Named):
    """Stage 4: a signed account of the round; to the server and on to every survivor.

    Args:
        sender: its id.
        statement: digest of the keys, of both sets of clients and of the model.
    """

    KIND: ClassVar[int] = 23
    LENGTH: ClassVar[int] = HEAD_BYTES + ID.size + HASH_BYTES
    SIGNED_LENGTH: ClassVar[int] = LENGTH + SIGNATURE_BYTES

    sender: int
    statement: bytes

    def to_bytes(self) -> bytes:
        """Returns head, sender and digest."""
        return self.head + ID.pack(self.sender) + self.statement

    @classmethod
    def from_bytes(cls, data: Packet) -> "Consent":
        """Parses a consent. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.LENGTH)
        (sender,) = ID.unpack_from(body)
        return cls(session, round, sender, bytes(body[ID.size :]))


@dataclass(frozen=True)
class RevealedShares(Named):
    """Stage 5: shares of the survivors' self-mask seeds and of the dropped clients' mask keys."""

    KIND: ClassVar[int] = 25

    sender: int
    seeds: Table = field(repr=False)
    mask_keys: Table = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns head, sender and two tables of shares."""
        tables = pack_table(self.seeds) + pack_table(self.mask_keys)
        return self.head + ID.pack(self.sender) + tables

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "RevealedShares":
        """Parses two tables of at most `most` shares. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        entries = (SHARE_BYTES, SHARE_BYTES)
        tables = unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        return cls(session, round, sender, *tables)
