"""What travels between coordinator and site: a signed envelope around opaque parts.

    head | a line for each part | the parts' bytes | Ed25519 signature over all of this

Numbers are little-endian. The head has magic (4 bytes), version (1), direction (1), the SHA-256 of
the charter (32), site (4), number (8) and the count of parts (1). A part's line has kind (1), lane
(1), round (4) and length (4).

A site answers each request in a part of its own, with the round and the lane of the request. So one
trip can carry requests of two rounds, and of two sums that go side by side.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

VERSION = 1
DIGEST_BYTES = 32
SIGNATURE_BYTES = 64
MAX_PARTS = 8
COUNTS_LANE = 1  # of the sum that judges models; updates have lane 0

_COPIED_BYTES = 65536  # of a part; a larger one is not copied
_MAGIC = b"sfle"
_HEAD = struct.Struct("<4sBB32sIQB")
_LINE = struct.Struct("<BBII")
_LABEL = b"securefl envelope 1"
# One sentence for every refusal: a reason would help whoever forges.
_REFUSED = "this is no envelope for this party under this charter"


class Direction(IntEnum):
    """The way that an envelope goes, so that none can be sent back to its author."""

    TO_SITE = 1
    TO_COORDINATOR = 2


class Kind(IntEnum):
    """What a part is; those below 16 go to a site, the others come back."""

    SET_UP = 1
    CONFIRM = 2
    MODEL = 3
    REQUEST = 4
    FINISH = 5
    RETURNED_RECEIPT = 6
    SESSION = 7
    ANSWER = 16
    DONE = 17
    DECLINED = 18
    OUT_OF_BUDGET = 19
    NOT_READY = 20
    RECEIPT = 21


@dataclass(frozen=True)
class Part:
    """One message inside an envelope.

    Args:
        kind: what it is.
        round: of the federation; 0 where there is none.
        content: its bytes, which the envelope does not look into. A large part that came is a view
            of its envelope, and no copy.
        lane: 0 for the updates; a sum that travels next to theirs has another.
    """

    kind: Kind
    round: int = 0
    content: Packet = b""
    lane: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Round and lane, which a request and its answer have in common."""
        return self.round, self.lane


@dataclass(frozen=True)
class Envelope:
    """One message of the coordinator to a site, or the site's reply.

    Args:
        charter: SHA-256 of the charter that both work under.
        direction: whose message it is.
        site: the site that it goes to or comes from.
        number: grows with each message to a site; a reply repeats it.
        parts: at most MAX_PARTS.
    """

    charter: bytes
    direction: Direction
    site: int
    number: int
    parts: tuple[Part, ...]

    def sealed(self, key: Ed25519PrivateKey) -> bytes:
        """Returns the envelope's bytes, signed. Raises ValueError: too many parts."""
        return bytes(self.seal(key))

    def seal(self, key: Ed25519PrivateKey) -> "Sealed":
        """Returns the signed envelope around its parts. Raises ValueError: too many parts."""
        if len(self.parts) > MAX_PARTS:
            raise ValueError(f"an envelope has at most {MAX_PARTS} parts, got {len(self.parts)}")
        head = _HEAD.pack(
            *(_MAGIC, VERSION, self.direction, self.charter, self.site, self.number),
            len(self.parts),
        )
        lines = [
            _LINE.pack(part.kind, part.lane, part.round, len(part.content)) for part in self.parts
        ]
        pieces = (head + b"".join(lines), *(part.content for part in self.parts))
        return Sealed((*pieces, key.sign(_digest(*pieces))))


@dataclass(frozen=True)
class Sealed:
    """The bytes of an envelope in pieces, so that many envelopes can share one model.

    Args:
        pieces: joined, they are what the other party opens.
    """

    pieces: tuple[Packet, ...]

    def __bytes__(self) -> bytes:
        """Returns the pieces in one."""
        return b"".join(self.pieces)

    def __len__(self) -> int:
        """Returns the number of bytes."""
        return sum(map(len, self.pieces))


def opened(
    data: Packet, public: bytes, *, charter: bytes, direction: Direction, site: int, limit: int
) -> Envelope:
    """Returns the content of an envelope, once everything about it is checked.

    Args:
        data: the bytes that came.
        public: the Ed25519 public key of the expected sender.
        charter: SHA-256 of the charter in force.
        direction: the expected one.
        site: the expected one.
        limit: most bytes of an envelope.

    Raises:
        ProtocolError: the envelope is malformed, too large, forged or meant for somebody else.
    """
    lines = _checked_lines(data, (charter, direction, site), limit)
    body = memoryview(data)[:-SIGNATURE_BYTES]
    try:
        signature = bytes(data[-SIGNATURE_BYTES:])
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _digest(body))
        kinds = [Kind(kind) for kind, *_ in lines]
    except (InvalidSignature, ValueError):
        raise ProtocolError(_REFUSED) from None
    parts = []
    start = _HEAD.size + len(lines) * _LINE.size
    for kind, (_, lane, round, length) in zip(kinds, lines, strict=True):
        content: Packet = body[start : start + length]
        if length <= _COPIED_BYTES:
            content = bytes(content)
        parts.append(Part(kind, round, content, lane))
        start += length
    number = _HEAD.unpack_from(data)[5]
    return Envelope(charter, direction, site, number, tuple(parts))


def _checked_lines(
    data: Packet, expected: tuple[bytes, Direction, int], limit: int
) -> list[tuple[int, int, int, int]]:
    """Returns the lines of the parts, whose lengths fill the envelope. Raises ProtocolError."""
    if not _HEAD.size + SIGNATURE_BYTES <= len(data) <= limit:
        raise ProtocolError(_REFUSED)
    magic, version, direction, charter, site, _, count = _HEAD.unpack_from(data)
    if (magic, version, charter, direction, site) != (_MAGIC, VERSION, *expected):
        raise ProtocolError(_REFUSED)
    fixed = _HEAD.size + count * _LINE.size + SIGNATURE_BYTES
    if count > MAX_PARTS or len(data) < fixed:
        raise ProtocolError(_REFUSED)
    lines = [_LINE.unpack_from(data, _HEAD.size + place * _LINE.size) for place in range(count)]
    if len(data) != fixed + sum(length for *_, length in lines):
        raise ProtocolError(_REFUSED)
    return lines


def _digest(*pieces: Packet) -> bytes:
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return _LABEL + hashed.digest()
