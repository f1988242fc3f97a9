"""Messages of a CKKS round: an encrypted update, and the encrypted sum with its survivors."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from securefl.channels.ckks.terms import KEY_ID_BYTES
from securefl.channels.ckks.wire import CIPHERTEXT_BYTES
from securefl.channels.messages import HEAD_BYTES, pack_head, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

_ID = struct.Struct("<I")


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
        """Returns head, sender, key id, ciphertexts."""
        head = pack_head(self.KIND, self.session, self.round)
        return b"".join([head, _ID.pack(self.sender), self.key_id, *self.ciphertexts])

    @classmethod
    def from_bytes(cls, data: Packet, *, chunks: int) -> "EncryptedUpdate":
        """Parses an update of `chunks` ciphertexts, which stay unread. Raises ProtocolError."""
        start = _ID.size + KEY_ID_BYTES
        length = HEAD_BYTES + start + chunks * CIPHERTEXT_BYTES
        session, round, body = unpack_head(data, kind=cls.KIND, length=length)
        (sender,) = _ID.unpack_from(body)
        key_id = bytes(body[_ID.size : start])
        return cls(session, round, sender, key_id, _split(body[start:]))


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
        """Returns head, key id, survivors (the length tells how many), ciphertexts."""
        head = pack_head(self.KIND, self.session, self.round)
        survivors = struct.pack(f"<{len(self.survivors)}I", *self.survivors)
        return b"".join([head, self.key_id, survivors, *self.ciphertexts])

    @classmethod
    def from_bytes(cls, data: Packet, *, chunks: int, most: int) -> "EncryptedSum":
        """Parses a sum over at most `most` clients. Raises ProtocolError."""
        least = HEAD_BYTES + KEY_ID_BYTES + chunks * CIPHERTEXT_BYTES
        count, remainder = divmod(len(data) - least, _ID.size)
        if remainder or not 0 <= count <= most:
            raise ProtocolError(
                f"a message of kind {cls.KIND} takes {least} bytes and 4 a client here, "
                f"got {len(data)}"
            )
        session, round, body = unpack_head(data, kind=cls.KIND, length=len(data))
        survivors = struct.unpack_from(f"<{count}I", body, KEY_ID_BYTES)
        if list(survivors) != sorted(set(survivors)):
            raise ProtocolError(f"a message of kind {cls.KIND} names clients out of order or twice")
        key_id = bytes(body[:KEY_ID_BYTES])
        ciphertexts = body[KEY_ID_BYTES + count * _ID.size :]
        return cls(session, round, key_id, survivors, _split(ciphertexts))


def _split(body: memoryview) -> list[memoryview]:
    """Returns the ciphertexts that fill body."""
    starts = range(0, len(body), CIPHERTEXT_BYTES)
    return [body[start : start + CIPHERTEXT_BYTES] for start in starts]
