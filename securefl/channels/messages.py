"""Messages that every channel shares: versioned, bounds checked before anything is allocated."""

import struct
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from securefl import vector
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

VERSION = 1
SESSION_BYTES = 16
HASH_BYTES = 32
MAX_WEIGHT = 2**31 - 1
MAX_ROUND = 2**32 - 1
MAX_CLIENT = 2**31 - 1

_HEAD = struct.Struct("<3sBB16sI")  # magic, version, kind, session, round
HEAD_BYTES = _HEAD.size
_MAGIC = b"sfl"


def pack_head(kind: int, session: bytes, round: int) -> bytes:
    """The first bytes of every message."""
    return _HEAD.pack(_MAGIC, VERSION, kind, session, round)


def unpack_head(data: Packet, *, kind: int, length: int) -> tuple[bytes, int, memoryview]:
    """Session, round and body of a message of exactly `length` bytes in all.

    Raises:
        ProtocolError: wrong length, magic, version or kind.
    """
    if len(data) != length:
        raise ProtocolError(f"a message of kind {kind} takes {length} bytes here, got {len(data)}")
    found, session, round = _unpacked(data)
    if found != kind:
        raise ProtocolError(f"expected a message of kind {kind}, got kind {found}")
    return session, round, memoryview(data)[HEAD_BYTES:]


def kind_of(data: Packet) -> int:
    """The kind of a message, its body left unread. Raises ProtocolError."""
    if len(data) < HEAD_BYTES:
        raise ProtocolError(f"a message of any kind takes {HEAD_BYTES} bytes, got {len(data)}")
    return _unpacked(data)[0]


def _unpacked(data: Packet) -> tuple[int, bytes, int]:
    magic, version, kind, session, round = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != VERSION:
        raise ProtocolError(f"this is not a message of version {VERSION}")
    return kind, session, round


@dataclass(frozen=True)
class ModelMessage:
    """The global model of a round, from whoever holds it to a client: its name and weights (d,).

    The name is the hash of the weights, or, where the server must not learn anything about them, a
    hash of how they came about (`securefl.channels.ckks.names`).
    """

    KIND: ClassVar[int] = 1

    session: bytes
    round: int
    name: bytes
    weights: Tensor

    def to_bytes(self) -> bytes:
        """Head, 32 bytes of name and 4 d bytes."""
        return (
            pack_head(self.KIND, self.session, self.round)
            + self.name
            + vector.to_bytes(self.weights)
        )

    @classmethod
    def from_bytes(cls, data: Packet, *, d: int) -> "ModelMessage":
        """Parse a model of exactly d coordinates. Raises ProtocolError."""
        session, round, body = unpack_head(
            data, kind=cls.KIND, length=HEAD_BYTES + HASH_BYTES + 4 * d
        )
        return cls(
            session, round, bytes(body[:HASH_BYTES]), vector.from_bytes(body[HASH_BYTES:], d=d)
        )

    @classmethod
    def round_of(cls, data: bytes) -> int:
        """The round of a model message, its weights left unread. Raises ProtocolError."""
        return unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES))[1]


@dataclass(frozen=True)
class UpdateRequest:
    """Asks for this round's update, server to client; names the model to train on by its hash."""

    KIND: ClassVar[int] = 2

    session: bytes
    round: int
    model_hash: bytes

    def to_bytes(self) -> bytes:
        """Head and 32 bytes."""
        return pack_head(self.KIND, self.session, self.round) + self.model_hash

    @classmethod
    def from_bytes(cls, data: bytes) -> "UpdateRequest":
        """Parse a request. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=HEAD_BYTES + HASH_BYTES)
        return cls(session, round, bytes(body))


@dataclass(frozen=True)
class PlainUpdate:
    """One client's update in the clear, client to server: weight and delta (d,)."""

    KIND: ClassVar[int] = 3
    _BODY: ClassVar[struct.Struct] = struct.Struct("<II")  # sender, weight

    session: bytes
    round: int
    sender: int
    weight: int
    delta: Tensor

    def to_bytes(self) -> bytes:
        """Head, sender, weight and 4 d bytes."""
        head = pack_head(self.KIND, self.session, self.round)
        return head + self._BODY.pack(self.sender, self.weight) + vector.to_bytes(self.delta)

    @classmethod
    def from_bytes(cls, data: Packet, *, d: int) -> "PlainUpdate":
        """Parse an update of exactly d coordinates; the weight must be 1 to 2^31 - 1. Raises ProtocolError."""
        session, round, body = unpack_head(
            data, kind=cls.KIND, length=HEAD_BYTES + cls._BODY.size + 4 * d
        )
        sender, weight = cls._BODY.unpack_from(body)
        if not 1 <= weight <= MAX_WEIGHT:
            raise ProtocolError(f"a weight must be 1 to {MAX_WEIGHT}, got {weight}")
        return cls(session, round, sender, weight, vector.from_bytes(body[cls._BODY.size :], d=d))
