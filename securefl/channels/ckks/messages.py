"""Messages of a CKKS round: an encrypted update, and the encrypted sum with those whose updates it holds."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from securefl.channels.ckks.terms import KEY_ID_BYTES
from securefl.channels.ckks.wire import CIPHERTEXT_BYTES
from securefl.channels.messages import HEAD_BYTES, pack_head, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

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
        head = (
            pack_head(self.KIND, self.session, self.round) + _NUMBER.pack(self.sender) + self.key_id
        )
        return b"".join([head, *self.ciphertexts])

    @classmethod
    def from_bytes(cls, data: Packet, *, chunks: int) -> "EncryptedUpdate":
        """Parse an update of exactly so many ciphertexts, themselves unread. Raises ProtocolError."""
        before = _NUMBER.size + KEY_ID_BYTES
        length = HEAD_BYTES + before + chunks * CIPHERTEXT_BYTES
        session, round, body = unpack_head(data, kind=cls.KIND, length=length)
        (sender,) = _NUMBER.unpack_from(body)
        return cls(session, round, sender, bytes(body[_NUMBER.size : before]), _cut(body[before:]))


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
        """Head, key id, survivors (their number follows from the length), ciphertexts."""
        head = pack_head(self.KIND, self.session, self.round) + self.key_id
        return b"".join(
            [head, struct.pack(f"<{len(self.survivors)}I", *self.survivors), *self.ciphertexts]
        )

    @classmethod
    def from_bytes(cls, data: Packet, *, chunks: int, most: int) -> "EncryptedSum":
        """Parse a sum over at most so many clients. Raises ProtocolError."""
        least = HEAD_BYTES + KEY_ID_BYTES + chunks * CIPHERTEXT_BYTES
        count, odd = divmod(len(data) - least, _NUMBER.size)
        if odd or not 0 <= count <= most:
            raise ProtocolError(
                f"a message of kind {cls.KIND} takes {least} bytes and 4 a client here, got {len(data)}"
            )
        session, round, body = unpack_head(data, kind=cls.KIND, length=len(data))
        survivors = struct.unpack_from(f"<{count}I", body, KEY_ID_BYTES)
        if list(survivors) != sorted(set(survivors)):
            raise ProtocolError(f"a message of kind {cls.KIND} names clients out of order or twice")
        key_id, ciphertexts = (
            bytes(body[:KEY_ID_BYTES]),
            body[KEY_ID_BYTES + count * _NUMBER.size :],
        )
        return cls(session, round, key_id, survivors, _cut(ciphertexts))


def _cut(body: memoryview) -> list[memoryview]:
    """The ciphertexts that fill body."""
    return [body[at : at + CIPHERTEXT_BYTES] for at in range(0, len(body), CIPHERTEXT_BYTES)]
