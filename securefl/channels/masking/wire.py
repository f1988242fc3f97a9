"""What all messages of a masked round are made of: a head, ids, and tables checked before anything is allocated.

Messages travel signed (`keys.Identity.signature`); what is parsed here has been verified. Tables are ascending by
client, each client once.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from securefl.channels.masking.keys import NONCE_BYTES, TAG_BYTES
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.messages import HEAD_BYTES, MAX_CLIENT, pack_head, unpack_head
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

SEALED_BYTES = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES
ID = struct.Struct("<I")

Table = Mapping[int, bytes]  # client -> bytes, ascending


def pack_table(table: Table) -> bytes:
    """A count, then id and bytes of each entry, ascending by id."""
    return ID.pack(len(table)) + b"".join(
        ID.pack(client) + table[client] for client in sorted(table)
    )


def unpack_tables(
    body: memoryview, *, kind: int, entries: tuple[int, ...], most: int
) -> list[dict[int, bytes]]:
    """The tables that fill `body`, one for each entry size, of at most `most` entries each. Raises ProtocolError."""
    tables: list[dict[int, bytes]] = []
    at = 0
    for entry in entries:
        count = _count(body, at, kind, most)
        at += ID.size
        end = at + count * (ID.size + entry)
        if end > len(body):
            raise ProtocolError(f"a message of kind {kind} is too short for its table")
        table: dict[int, bytes] = {}
        last = -1
        for start in range(at, end, ID.size + entry):
            client = ID.unpack_from(body, start)[0]
            if not last < client <= MAX_CLIENT:
                raise ProtocolError(
                    f"a message of kind {kind} names clients out of order, twice or out of range"
                )
            table[client] = bytes(body[start + ID.size : start + ID.size + entry])
            last = client
        tables.append(table)
        at = end
    if at != len(body):
        raise ProtocolError(f"a message of kind {kind} has bytes left over")
    return tables


def _count(body: memoryview, at: int, kind: int, most: int) -> int:
    if len(body) < at + ID.size:
        raise ProtocolError(f"a message of kind {kind} is too short for its table")
    count: int = ID.unpack_from(body, at)[0]
    if count > most:
        raise ProtocolError(f"a message of kind {kind} has {count} entries, the most is {most}")
    return count


@dataclass(frozen=True)
class Named:
    """A message: its kind, session and round."""

    KIND: ClassVar[int]

    session: bytes
    round: int

    @property
    def head(self) -> bytes:
        """The first bytes of the message."""
        return pack_head(self.KIND, self.session, self.round)


def unpack_party(data: Packet, kind: int) -> tuple[bytes, int, int, memoryview]:
    """Session, round, sender or recipient, and the rest of a message of any length. Raises ProtocolError."""
    session, round, body = unpack_head(data, kind=kind, length=max(len(data), HEAD_BYTES + ID.size))
    return session, round, ID.unpack_from(body)[0], body[ID.size :]
