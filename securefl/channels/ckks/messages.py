"""Messages of a CKKS round: an encrypted update, and the encrypted sum with those whose updates it holds."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from securefl.channels.ckks.terms import DEGREE, KEY_ID_BYTES
from securefl.channels.messages import HEAD_BYTES, MAX_CLIENT, pack_head, unpack_head
from securefl.errors import ProtocolError
from securefl.types import Packet

MOST_BYTES = 2 * 8 * DEGREE + 1024  # of a ciphertext: two polynomials of 8-byte coefficients, and its head
_NUMBER = struct.Struct("<I")


@dataclass(frozen=True)
class EncryptedUpdate:
    """One client's update, client to server."""

    KIND: ClassVar[int] = 40

    session: bytes
    round: int
    sender: int
    key_id: bytes
    ciphertexts: Sequence[Packet] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Head, sender, key id, ciphertexts."""
        head = pack_head(self.KIND, self.session, self.round) + _NUMBER.pack(self.sender) + self.key_id
        return b"".join([head, *_packed(self.ciphertexts)])

    @classmethod
    def from_bytes(cls, data: Packet, *, chunks: int) -> "EncryptedUpdate":
        """Parse an update of exactly so many ciphertexts, themselves unread. Raises ProtocolError."""
        start = HEAD_BYTES + _NUMBER.size + KEY_ID_BYTES
        session, round, body = unpack_head(data, kind=cls.KIND, length=_bounded(data, start, chunks))
        (sender,) = _NUMBER.unpack_from(body)
        key_id = bytes(body[_NUMBER.size : _NUMBER.size + KEY_ID_BYTES])
        return cls(session, round, sender, key_id, _unpacked(body[_NUMBER.size + KEY_ID_BYTES :], chunks))


@dataclass(frozen=True)
class EncryptedSum:
    """The sum over the survivors (ascending), server to key holders."""

    KIND: ClassVar[int] = 41

    session: bytes
    round: int
    key_id: bytes
    survivors: tuple[int, ...]
    ciphertexts: Sequence[Packet] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Head, key id, survivors, ciphertexts."""
        head = pack_head(self.KIND, self.session, self.round) + self.key_id
        ids = struct.pack(f"<{1 + len(self.survivors)}I", len(self.survivors), *self.survivors)
        return b"".join([head, ids, *_packed(self.ciphertexts)])

    @classmethod
    def from_bytes(cls, data: Packet, *, chunks: int, most: int) -> "EncryptedSum":
        """Parse a sum over at most so many clients. Raises ProtocolError."""
        start = HEAD_BYTES + KEY_ID_BYTES + _NUMBER.size
        session, round, body = unpack_head(data, kind=cls.KIND, length=_bounded(data, start, chunks, 4 * most))
        key_id, body = bytes(body[:KEY_ID_BYTES]), body[KEY_ID_BYTES:]
        (count,) = _NUMBER.unpack_from(body)
        if count > most or len(body) < (end := _NUMBER.size * (1 + count)):
            raise ProtocolError(f"a message of kind {cls.KIND} names {count} clients, {most} at most")
        survivors = struct.unpack_from(f"<{count}I", body, _NUMBER.size)
        if list(survivors) != sorted(set(survivors)) or any(client > MAX_CLIENT for client in survivors):
            raise ProtocolError(f"a message of kind {cls.KIND} names clients out of order, twice or out of range")
        return cls(session, round, key_id, survivors, _unpacked(body[end:], chunks))


def _packed(ciphertexts: Sequence[Packet]) -> list[Packet]:
    """Length and bytes of each."""
    return [part for one in ciphertexts for part in (_NUMBER.pack(len(one)), one)]


def _bounded(data: Packet, start: int, chunks: int, extra: int = 0) -> int:
    """The length of data, where a message of so many ciphertexts can have it. Raises ProtocolError."""
    least, most = start + chunks * _NUMBER.size, start + extra + chunks * (_NUMBER.size + MOST_BYTES)
    if not least <= len(data) <= most:
        raise ProtocolError(f"a message of {chunks} ciphertexts takes {least} to {most} bytes here, got {len(data)}")
    return len(data)


def _unpacked(body: memoryview, chunks: int) -> list[memoryview]:
    """The ciphertexts that fill body. Raises ProtocolError."""
    found, at = [], 0
    for _ in range(chunks):
        if len(body) < at + _NUMBER.size:
            raise ProtocolError("a message of ciphertexts is too short")
        (length,) = _NUMBER.unpack_from(body, at)
        at += _NUMBER.size
        if length > MOST_BYTES or len(body) < at + length:
            raise ProtocolError(f"a message of ciphertexts has one of {length} bytes, more than there can be")
        found.append(body[at : at + length])
        at += length
    if at != len(body):
        raise ProtocolError("a message of ciphertexts has bytes left over")
    return found
