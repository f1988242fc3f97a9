"""The frames of the direct link: 4 bytes of length, little-endian, and that many bytes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from securefl.channels.protocol import Packet
from securefl.runs.deployed.envelope import Sealed

LENGTH = struct.Struct("<I")
PIECE_BYTES = 65536  # read or written at once
_MIB = 1 << 20
_SECONDS_UNTIL_ASKED = 60  # of silence
_SECONDS_UNTIL_ASKED_AGAIN = 20
_TIMES_ASKED = 3


@dataclass(frozen=True)
class Arrival:
    """A frame that waits for the coordinator.

    Attributes:
        site: its sender.
        frames: the frame, until somebody takes it.
        taken: set once the site may send its next one.
    """

    site: int
    frames: list[Packet]
    taken: asyncio.Event = field(default_factory=asyncio.Event)


class Connection:
    """What is sent to one site, and the task that reads from it, which makes this object.

    Attributes:
        is_sending: whether the site has not yet taken its last envelope.
        has_turn: whether a frame of it is read, or waits for the coordinator.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._task = asyncio.current_task()
        self.is_sending = False
        self.has_turn = False

    def abort(self) -> None:
        """Ends the connection at once."""
        self._writer.transport.abort()

    def replace(self) -> None:
        """Ends the connection and its task; a frame that has come whole still counts."""
        self.abort()
        if self._task is not None and not self.has_turn:
            self._task.cancel()

    async def send(self, envelope: Sealed) -> None:
        """Sends a frame piece by piece: no buffer holds a copy of a large model."""
        self.is_sending = True
        with suppress(OSError):
            for piece in _pieces_of(envelope):
                self._writer.write(piece)
                await self._writer.drain()
        self.is_sending = False


class Room:
    """The memory that the frames of all sites share.

    Args:
        size: in bytes; a larger frame takes all of it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, length: int) -> AsyncIterator[None]:
        """Waits for room, and gives it back at the end of the block."""
        share = min(length, self._size)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            yield
        finally:
            self._free += share
            async with self._changed:
                self._changed.notify_all()


def _pieces_of(envelope: Sealed) -> Iterator[Packet]:
    """Yields a frame in pieces that are views of a large envelope, and one piece of a small one."""
    head = LENGTH.pack(len(envelope))
    if len(envelope) <= PIECE_BYTES:
        yield head + bytes(envelope)
        return
    yield head
    for part in envelope.pieces:
        view = memoryview(part)
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]


def keep_alive(connection: socket.socket) -> None:
    """Lets the kernel find out within two minutes that the other end is gone without a word.

    Who only reads would otherwise wait for good, once a machine on the way has lost the connection.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SECONDS_UNTIL_ASKED)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SECONDS_UNTIL_ASKED_AGAIN)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _TIMES_ASKED)


async def length_of_next(reader: asyncio.StreamReader) -> int:
    """Returns the length that the next frame claims."""
    length: int = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
    return length


async def read_frame(reader: asyncio.StreamReader, length: int, *, stall: float) -> Packet:
    """Returns a frame, read piece by piece.

    Args:
        reader: of its sender.
        length: in bytes.
        stall: seconds for each piece, and for each MiB begun.

    Raises:
        TimeoutError: its sender fell silent, or keeps others waiting.
    """
    if length <= PIECE_BYTES:
        async with asyncio.timeout(stall):
            return await reader.readexactly(length)
    # In place: joined pieces would take the memory twice.
    frame = bytearray(length)
    async with asyncio.timeout(stall * -(-length // _MIB)):
        for start in range(0, length, PIECE_BYTES):
            size = min(PIECE_BYTES, length - start)
            async with asyncio.timeout(stall):
                frame[start : start + size] = await reader.readexactly(size)
    return frame
