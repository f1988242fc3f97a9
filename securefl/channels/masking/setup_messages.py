"""The messages of a session's set-up; the round in their head is the number of the attempt."""

from dataclasses import dataclass, field
from typing import ClassVar

from securefl.channels.masking.keys import SIGNATURE_BYTES
from securefl.channels.masking.wire import ID, Named, Table, pack_table, unpack_tables
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

SECRET_BYTES = 32  # of a member's secret
REVEAL_BYTES = SECRET_BYTES + HASH_BYTES  # the secret and the digest of all commitments


@dataclass(frozen=True)
class SetupTable(Named):
    """Server to members: the members, then all commitments, then all signed reveals."""

    KIND: ClassVar[int] = 32
    # Bytes of an entry at each step. A reveal travels whole, so that every member can verify it.
    ENTRIES: ClassVar[tuple[int, ...]] = (
        0,
        HASH_BYTES,
        HEAD_BYTES + ID.size + REVEAL_BYTES + SIGNATURE_BYTES,
    )

    step: int
    table: Table

    def to_bytes(self) -> bytes:
        """Returns head, step and table."""
        return self.head + ID.pack(self.step) + pack_table(self.table)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "SetupTable":
        """Parses a table of at most `most` members. Raises ProtocolError."""
        length = max(len(data), HEAD_BYTES + ID.size)
        session, attempt, body = unpack_head(data, kind=cls.KIND, length=length)
        (step,) = ID.unpack_from(body)
        if step >= len(cls.ENTRIES):
            raise ProtocolError(f"a message of the set-up has no step {step}")
        entries = (cls.ENTRIES[step],)
        content = body[ID.size :]
        (table,) = unpack_tables(content, kind=cls.KIND, entries=entries, most=most)
        return cls(session, attempt, step, table)


@dataclass(frozen=True)
class SetupReply(Named):
    """Member to server: its commitment, or its secret and the digest of all commitments."""

    KIND: ClassVar[int] = 33

    sender: int
    content: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Returns head, sender and content."""
        return self.head + ID.pack(self.sender) + self.content

    @classmethod
    def from_bytes(cls, data: Packet, *, content: int) -> "SetupReply":
        """Parses a reply whose content takes `content` bytes. Raises ProtocolError."""
        length = HEAD_BYTES + ID.size + content
        session, attempt, body = unpack_head(data, kind=cls.KIND, length=length)
        (sender,) = ID.unpack_from(body)
        return cls(session, attempt, sender, bytes(body[ID.size :]))
