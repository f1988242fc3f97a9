"""The parts that all messages of a masked round share: a head, ids and tables.

Every length and count is checked before anything is allocated. Messages travel signed
(`keys.Identity.signature`), and are parsed here after their signature was verified. Tables are
ascending by client and name each client once, so that equal tables have equal bytes.
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
    """Returns a count, then id and bytes of each entry, ascending by id."""
    entries = [ID.pack(client) + table[client] for client in sorted(table)]
    return ID.pack(len(table)) + b"".join(entries)


def unpack_tables(
    body: memoryview, *, kind: int, entries: tuple[int, ...], most: int
) -> list[dict[int, bytes]]:
    """Returns the tables that fill `body`.

    Args:
        body: the bytes behind the fixed part of a message.
        kind: of the message, for errors.
        entries: bytes of an entry, one number for each table.
        most: entries that a table may have.

    Raises:
        ProtocolError: `body` does not hold exactly these tables.
    """
    tables: list[dict[int, bytes]] = []
    start = 0
    for entry in entries:
        count = _count(body, start, kind, most)
        start += ID.size
        end = start + count * (ID.size + entry)
        if end > len(body):
            raise ProtocolError(f"a message of kind {kind} is too short for its table")
        tables.append(_table(body[start:end], kind=kind, entry=entry))
        start = end
    if start != len(body):
        raise ProtocolError(f"a message of kind {kind} has bytes left over")
    return tables


def _count(body: memoryview, start: int, kind: int, most: int) -> int:
    """Returns the number of entries that a table says it has. Raises ProtocolError: too many."""
    if len(body) < start + ID.size:
        raise ProtocolError(f"a message of kind {kind} is too short for its table")
    count: int = ID.unpack_from(body, start)[0]
    if count > most:
        raise ProtocolError(f"a message of kind {kind} has {count} entries, the most is {most}")
    return count


def _table(entries: memoryview, *, kind: int, entry: int) -> dict[int, bytes]:
    """Returns one table from the bytes of its entries. Raises ProtocolError: ids out of order."""
    table: dict[int, bytes] = {}
    last = -1
    for start in range(0, len(entries), ID.size + entry):
        (client,) = ID.unpack_from(entries, start)
        if not last < client <= MAX_CLIENT:
            raise ProtocolError(
                f"a message of kind {kind} names clients out of order, twice or out of range"
            )
        content = start + ID.size
        table[client] = bytes(entries[content : content + entry])
        last = client
    return table


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
    """Returns session, round, sender or recipient, and the rest of a message of any length.

    Raises:
        ProtocolError: the message is too short, or of another kind.
    """
    length = max(len(data), HEAD_BYTES + ID.size)
    session, round, body = unpack_head(data, kind=kind, length=length)
    return session, round, ID.unpack_from(body)[0], body[ID.size :]
