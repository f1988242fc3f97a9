"""The messages of clients in the stages of a round that chooses the clients of its sum."""

import struct
from dataclasses import dataclass, field
from typing import ClassVar

from securefl.channels.masking.keys import SIGNATURE_BYTES
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.sketches.field import ELEMENT_BYTES, packed, unpacked
from securefl.channels.masking.wire import (
    ID,
    Named,
    Table,
    pack_table,
    unpack_party,
    unpack_tables,
)
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

_PLACES = struct.Struct("<Q")  # a bit for each place of a block
MAX_CHOICE = 8 * _PLACES.size  # clients of a block that chooses


@dataclass(frozen=True)
class PublicDealing(Named):
    """The part of a dealing that every client sees; it travels signed by its dealer.

    Args:
        sender: the dealer.
        context: digest of what the dealing is about.
        proof: shows that the shares lie on polynomials.
        table: holder -> digest of its shares.
    """

    KIND: ClassVar[int] = 49

    sender: int
    context: bytes
    proof: bytes
    table: Table

    def to_bytes(self) -> bytes:
        """Returns head, sender, context, proof and a table of digests."""
        return self.head + ID.pack(self.sender) + self.context + self.proof + pack_table(self.table)

    @classmethod
    def signed_length(cls, *, proof: int, holders: int) -> int:
        """Returns the bytes of a signed dealing with a proof of so many bytes."""
        table = ID.size + holders * (ID.size + HASH_BYTES)
        return HEAD_BYTES + ID.size + HASH_BYTES + proof + table + SIGNATURE_BYTES

    @classmethod
    def from_bytes(cls, data: Packet, *, proof: int, most: int) -> "PublicDealing":
        """Parses a dealing to at most `most` holders. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        fixed = HASH_BYTES + proof
        if len(body) < fixed:
            raise ProtocolError(f"a message of kind {cls.KIND} is too short for its proof")
        entries = (HASH_BYTES,)
        (table,) = unpack_tables(body[fixed:], kind=cls.KIND, entries=entries, most=most)
        context, shown = bytes(body[:HASH_BYTES]), bytes(body[HASH_BYTES:fixed])
        return cls(session, round, sender, context, shown, table)


@dataclass(frozen=True)
class SealedDealing(Named):
    """Stages 4 and 9: a dealing, its public part signed by itself, and a box for every holder.

    Args:
        sender: the dealer.
        signed: its `PublicDealing`, with a signature.
        boxes: holder -> its shares, sealed.
    """

    KIND: ClassVar[int] = 51

    sender: int
    signed: bytes
    boxes: Table = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns head, sender, signed dealing and a table of boxes."""
        return self.head + ID.pack(self.sender) + self.signed + pack_table(self.boxes)

    @classmethod
    def from_bytes(cls, data: Packet, *, signed: int, box: int, most: int) -> "SealedDealing":
        """Parses a dealing whose signed part has `signed` bytes and each box `box` bytes.

        Raises:
            ProtocolError: the message does not hold exactly these, or more than `most` boxes.
        """
        session, round, sender, body = unpack_party(data, cls.KIND)
        if len(body) < signed:
            raise ProtocolError(f"a message of kind {cls.KIND} is too short for its dealing")
        (boxes,) = unpack_tables(body[signed:], kind=cls.KIND, entries=(box,), most=most)
        return cls(session, round, sender, bytes(body[:signed]), boxes)


@dataclass(frozen=True)
class Acceptance(Named):
    """Stage 5: a signed account of all dealings; to the server and on to every client.

    Args:
        sender: its id.
        digest: of all dealings that the sender was shown.
        rejected: the dealers whose shares did not fit, as bits by place in the block.
    """

    KIND: ClassVar[int] = 53
    LENGTH: ClassVar[int] = HEAD_BYTES + ID.size + HASH_BYTES + _PLACES.size
    SIGNED_LENGTH: ClassVar[int] = LENGTH + SIGNATURE_BYTES

    sender: int
    digest: bytes
    rejected: int

    def to_bytes(self) -> bytes:
        """Returns head, sender, digest and bits."""
        return self.head + ID.pack(self.sender) + self.digest + _PLACES.pack(self.rejected)

    @classmethod
    def from_bytes(cls, data: Packet) -> "Acceptance":
        """Parses an acceptance. Raises ProtocolError."""
        session, round, body = unpack_head(data, kind=cls.KIND, length=cls.LENGTH)
        (sender,) = ID.unpack_from(body)
        digest = bytes(body[ID.size : ID.size + HASH_BYTES])
        return cls(session, round, sender, digest, _PLACES.unpack(body[-_PLACES.size :])[0])


@dataclass(frozen=True)
class DistanceShares(Named):
    """Stage 6: a field element for each pair of dealers that the sender accepted, ascending."""

    KIND: ClassVar[int] = 55

    sender: int
    elements: list[int] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns head, sender and elements."""
        return self.head + ID.pack(self.sender) + packed(self.elements)

    @classmethod
    def from_bytes(cls, data: Packet, *, count: int) -> "DistanceShares":
        """Parses exactly `count` elements. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        return cls(session, round, sender, unpacked(bytes(body), count))


@dataclass(frozen=True)
class OpeningShares(Named):
    """Stage 8: shares of seeds and mask keys, and of the sum of the chosen clients' sketches.

    Args:
        sender: its id.
        sketch: a field element for each coordinate of a sketch; empty where the sender rejected the
            dealing of a chosen client.
        seeds: of the self masks of the chosen clients.
        mask_keys: of all other clients.
    """

    KIND: ClassVar[int] = 57

    sender: int
    sketch: list[int] = field(repr=False)
    seeds: Table = field(repr=False)
    mask_keys: Table = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns head, sender, a count of elements, the elements and two tables of shares."""
        elements = ID.pack(len(self.sketch)) + packed(self.sketch)
        tables = pack_table(self.seeds) + pack_table(self.mask_keys)
        return self.head + ID.pack(self.sender) + elements + tables

    @classmethod
    def from_bytes(cls, data: Packet, *, size: int, most: int) -> "OpeningShares":
        """Parses no or `size` elements, and two tables of at most `most` shares.

        Raises:
            ProtocolError: the message does not hold exactly these.
        """
        session, round, sender, body = unpack_party(data, cls.KIND)
        if len(body) < ID.size:
            raise ProtocolError(f"a message of kind {cls.KIND} is too short for its sketch")
        (count,) = ID.unpack_from(body)
        end = ID.size + count * ELEMENT_BYTES
        if count not in (0, size) or len(body) < end:
            raise ProtocolError(f"a message of kind {cls.KIND} has no sketch of {size} elements")
        sketch = unpacked(bytes(body[ID.size : end]), count)
        entries = (SHARE_BYTES, SHARE_BYTES)
        tables = unpack_tables(body[end:], kind=cls.KIND, entries=entries, most=most)
        return cls(session, round, sender, sketch, *tables)


@dataclass(frozen=True)
class BlameShares(Named):
    """Stage 10: shares that show which member of the sum lied.

    Args:
        sender: its id.
        rejected: the dealers of pair sketches whose shares did not fit, as bits by place.
        elements: for each pair of members one share, then for each member one a coordinate; of
            those alone whose dealings the sender accepted.
    """

    KIND: ClassVar[int] = 59

    sender: int
    rejected: int
    elements: list[int] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns head, sender, bits, a count of elements, and the elements."""
        fixed = self.head + ID.pack(self.sender) + _PLACES.pack(self.rejected)
        return fixed + ID.pack(len(self.elements)) + packed(self.elements)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "BlameShares":
        """Parses at most `most` elements. Raises ProtocolError."""
        session, round, sender, body = unpack_party(data, cls.KIND)
        start = _PLACES.size + ID.size
        if len(body) < start:
            raise ProtocolError(f"a message of kind {cls.KIND} is too short for its elements")
        (rejected,) = _PLACES.unpack_from(body)
        (count,) = ID.unpack_from(body, _PLACES.size)
        if count > most:
            raise ProtocolError(f"a message of kind {cls.KIND} has {count} elements, too many")
        return cls(session, round, sender, rejected, unpacked(bytes(body[start:]), count))


def bits_of(places: set[int]) -> int:
    """Returns a number with a bit for each place."""
    return sum(1 << place for place in places)


def clients_of(bits: int, block: tuple[int, ...]) -> frozenset[int]:
    """Returns the clients at the places whose bits a number has.

    Raises:
        ProtocolError: a place is outside the block.
    """
    if bits >> len(block):
        raise ProtocolError("a place is outside the block")
    return frozenset(client for place, client in enumerate(block) if bits >> place & 1)
