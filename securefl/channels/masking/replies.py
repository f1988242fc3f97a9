"""What clients send in the five stages of a masked round."""

import struct
from dataclasses import dataclass, field
from typing import Any, ClassVar

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


@dataclass(frozen=True)
class Advertisement(Named):
    """Stage 1, client to server and on to everyone, signature included: this round's public keys.

    `block` is the digest of the clients it was told to be summed with; `commitment` fixes the self-mask seed; `proof`
    shows the server that the sender has the private keys to both public ones.
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

    def to_bytes(self) -> bytes:
        """148 bytes after the head."""
        keys = self.mask_key + self.sealing_key
        return self.head + ID.pack(self.sender) + keys + self.commitment + self.block + self.proof

    @classmethod
    def from_bytes(cls, data: Packet) -> "Advertisement":
        """Parse an advertisement. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.LENGTH)
        parts = [bytes(body[start : start + 32]) for start in range(ID.size, len(body), 32)]
        return cls(session, round, ID.unpack_from(body)[0], *parts)


@dataclass(frozen=True)
class SealedShares(Named):
    """Stage 2, client to server: for every other client, its two shares, sealed; and what fixes everyone's shares.

    `commitments`, 32 bytes a client and the sender's own among them, tell the server which revealed shares are those
    that were dealt. It keeps them; the boxes go on to their holders.
    """

    KIND: ClassVar[int] = 19
    COMMITMENTS: ClassVar[int] = (
        2 * SHARE_COMMITMENT_BYTES
    )  # of a share of the seed, of one of the mask key

    sender: int
    sealed: Table
    commitments: Table

    def to_bytes(self) -> bytes:
        """Head, sender, a table of sealed shares and one of commitments."""
        return (
            self.head
            + ID.pack(self.sender)
            + pack_table(self.sealed)
            + pack_table(self.commitments)
        )

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "SealedShares":
        """Parse at most `most` sealed shares, and as many commitments. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        entries = (SEALED_BYTES, cls.COMMITMENTS)
        return cls(
            session, round, sender, *unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        )


@dataclass(frozen=True)
class MaskedInput(Named):
    """Stage 3, client to server: the update under its masks, words (m,), and its weight, which no mask hides.

    `packet` is the upload that the words lie in, with room for its tag; empty where it was parsed. It is tagged with a
    key agreed with the server instead of signed, which reads millions of words ten times faster.
    """

    KIND: ClassVar[int] = 21
    _SENDER: ClassVar[struct.Struct] = struct.Struct(
        "<II7x"
    )  # and weight; filled up to 40 bytes: words lie aligned
    _OFFSET: ClassVar[int] = HEAD_BYTES + _SENDER.size

    sender: int
    weight: int
    words: NDArray[Any]
    packet: memoryview = field(default=memoryview(b""), repr=False)

    @classmethod
    def blank(
        cls, session: bytes, round: int, sender: int, weight: int, *, m: int, word: np.dtype[Any]
    ) -> "MaskedInput":
        """An upload with room for m words, which are to be filled in where they lie."""
        packet = memoryview(bytearray(cls.length(m, word) + TAG_BYTES))
        packet[: cls._OFFSET] = pack_head(cls.KIND, session, round) + cls._SENDER.pack(
            sender, weight
        )
        words = np.frombuffer(packet, dtype=word, count=m, offset=cls._OFFSET)
        return cls(session, round, sender, weight, words, packet)

    @classmethod
    def length(cls, m: int, word: np.dtype[Any]) -> int:
        """Bytes of an upload of m words, without its tag."""
        return cls._OFFSET + m * word.itemsize

    def tagged(self, key: bytes) -> memoryview:
        """The upload with its tag written behind the words."""
        self.packet[-TAG_BYTES:] = tag(key, self.packet[:-TAG_BYTES])
        return self.packet

    @classmethod
    def from_bytes(cls, data: Packet, *, m: int, word: np.dtype[Any]) -> "MaskedInput":
        """Parse exactly m words; they are a view of `data`, not a copy. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.length(m, word))
        words = np.frombuffer(body, dtype=word, count=m, offset=cls._SENDER.size)
        sender, weight = cls._SENDER.unpack_from(body)
        return cls(session, round, sender, weight, words)


@dataclass(frozen=True)
class Consent(Named):
    """Stage 4, client to server and on to everyone, signature included: what this client saw of the round.

    `statement` is the digest of the keys, both sets of clients and the model it trained on.
    """

    KIND: ClassVar[int] = 23
    LENGTH: ClassVar[int] = HEAD_BYTES + ID.size + HASH_BYTES
    SIGNED_LENGTH: ClassVar[int] = LENGTH + SIGNATURE_BYTES

    sender: int
    statement: bytes

    def to_bytes(self) -> bytes:
        """Head, sender and digest."""
        return self.head + ID.pack(self.sender) + self.statement

    @classmethod
    def from_bytes(cls, data: Packet) -> "Consent":
        """Parse a consent. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.LENGTH)
        return cls(session, round, ID.unpack_from(body)[0], bytes(body[ID.size :]))


@dataclass(frozen=True)
class RevealedShares(Named):
    """Stage 5, client to server: shares of the survivors' self-mask seeds and of the dropped clients' mask keys."""

    KIND: ClassVar[int] = 25

    sender: int
    seeds: Table = field(repr=False)
    mask_keys: Table = field(repr=False)

    def to_bytes(self) -> bytes:
        """Head, sender and two tables of shares."""
        return (
            self.head + ID.pack(self.sender) + pack_table(self.seeds) + pack_table(self.mask_keys)
        )

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "RevealedShares":
        """Parse two tables of at most `most` shares. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        entries = (SHARE_BYTES, SHARE_BYTES)
        return cls(
            session, round, sender, *unpack_tables(body, kind=cls.KIND, entries=entries, most=most)
        )
