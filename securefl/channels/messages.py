"""Messages that every channel shares: versioned, bounds checked before anything is allocated."""

import struct
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

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
    """Returns the first bytes of every message."""
    return _HEAD.pack(_MAGIC, VERSION, kind, session, round)


def unpack_head(data: Packet, *, kind: int, length: int) -> tuple[bytes, int, memoryview]:
    """Returns session, round and body of a message of exactly `length` bytes in all.

    Raises:
        ProtocolError: wrong length, magic, version or kind.
    """
    if len(data) != length:
        raise ProtocolError(f"a message of kind {kind} takes {length} bytes here, got {len(data)}")
    actual_kind, session, round = _fields(data)
    if actual_kind != kind:
        raise ProtocolError(f"expected a message of kind {kind}, got kind {actual_kind}")
    return session, round, memoryview(data)[HEAD_BYTES:]


def kind_of(data: Packet) -> int:
    """Returns the kind of a message; its body stays unread. Raises ProtocolError."""
    if len(data) < HEAD_BYTES:
        raise ProtocolError(f"a message of any kind takes {HEAD_BYTES} bytes, got {len(data)}")
    return _fields(data)[0]


def _fields(data: Packet) -> tuple[int, bytes, int]:
    """Returns kind, session and round of a head."""
    magic, version, kind, session, round = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != VERSION:
        raise ProtocolError(f"this is not a message of version {VERSION}")
    return kind, session, round


@dataclass(frozen=True)
class ModelMessage:
    """The global model of a round, from its holder to a client: its name and weights (d,).

    The name is the hash of the weights. Where the server must not learn anything about the weights,
    it is a hash of how they came about (`securefl.channels.ckks.names`).
    """

    KIND: ClassVar[int] = 1

    session: bytes
    round: int
    name: bytes
    weights: Tensor

    def to_bytes(self) -> bytes:
        """Returns the head, 32 bytes of name and 4 d bytes."""
        head = pack_head(self.KIND, self.session, self.round)
        return head + self.name + vector.to_bytes(self.weights)

    @classmethod
    def from_bytes(cls, data: Packet, *, d: int) -> "ModelMessage":
        """Parses a model of exactly d coordinates. Raises ProtocolError."""
        length = HEAD_BYTES + HASH_BYTES + 4 * d
        session, round, body = unpack_head(data, kind=cls.KIND, length=length)
        weights = vector.from_bytes(body[HASH_BYTES:], d=d)
        return cls(session, round, bytes(body[:HASH_BYTES]), weights)

    @classmethod
    def round_of(cls, data: bytes) -> int:
        """Returns the round of a model message; its weights stay unread. Raises ProtocolError."""
        return unpack_head(data, kind=cls.KIND, length=max(len(data), HEAD_BYTES))[1]


@dataclass(frozen=True)
class UpdateRequest:
    """Asks for this round's update, server to client; names the model to train on by its hash."""

    KIND: ClassVar[int] = 2

    session: bytes
    round: int
    model_hash: bytes

    def to_bytes(self) -> bytes:
        """Returns the head and 32 bytes."""
        return pack_head(self.KIND, self.session, self.round) + self.model_hash

    @classmethod
    def from_bytes(cls, data: bytes) -> "UpdateRequest":
        """Parses a request. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=HEAD_BYTES + HASH_BYTES)
        return cls(session, round, bytes(body))


class UnreadUpdate(NamedTuple):
    """An update in the clear, whose coordinates are still the 4 d bytes of the message."""

    session: bytes
    round: int
    sender: int
    weight: int
    coordinates: memoryview


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
        """Returns head, sender, weight and 4 d bytes."""
        head = pack_head(self.KIND, self.session, self.round)
        numbers = self._BODY.pack(self.sender, self.weight)
        # In one copy: the coordinates are almost all of a round's traffic.
        return b"".join((head, numbers, vector.view_of_bytes(self.delta)))

    @classmethod
    def from_bytes(cls, data: Packet, *, d: int) -> "PlainUpdate":
        """Parses an update of exactly d coordinates. Raises ProtocolError: see `unread`."""
        session, round, sender, weight, coordinates = cls.unread(data, d=d)
        return cls(session, round, sender, weight, vector.from_bytes(coordinates, d=d))

    @classmethod
    def unread(cls, data: Packet, *, d: int) -> UnreadUpdate:
        """Parses all but the coordinates, of which there are exactly d.

        Raises:
            ProtocolError: the message is malformed, or its weight is not 1 to 2^31 - 1.
        """
        length = HEAD_BYTES + cls._BODY.size + 4 * d
        session, round, body = unpack_head(data, kind=cls.KIND, length=length)
        sender, weight = cls._BODY.unpack_from(body)
        coordinates = body[cls._BODY.size :]
        # The mean divides by the sum of the weights, which must not be zero.
        if not 1 <= weight <= MAX_WEIGHT:
            raise ProtocolError(f"a weight must be 1 to {MAX_WEIGHT}, got {weight}")
        return UnreadUpdate(session, round, sender, weight, coordinates)
