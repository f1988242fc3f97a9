"""The direct link: TLS by the standard library, sites connect out, frames as in `frames`.

A length beyond the limit ends the connection before anything is allocated. What waits to be read or
sent does not grow with the sites, and what strangers can hold does not grow with their number.
"""

import asyncio
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any

from securefl.channels.protocol import Packet
from securefl.errors import RunFailed
from securefl.runs.deployed.envelope import Sealed
from securefl.runs.deployed.frames import (
    LENGTH,
    PIECE_BYTES,
    Arrival,
    Connection,
    Room,
    keep_alive,
    length_of_next,
    read_frame,
)
from securefl.runs.flower.gate import Doorway

ROOM_BYTES = 4 << 20
STALL_SECONDS = 20.0

_MAX_HANDSHAKES = 64  # under way at once; a site's ends with its certificate
_HANDSHAKE_SECONDS = 30.0
_SECONDS_BETWEEN_TRIES = 0.1
_MAX_SECONDS_BETWEEN_TRIES = 10.0  # where somebody else answers in the coordinator's place


class DirectLink:
    """The coordinator's end.

    A connection belongs to the site that its certificate names; a second one replaces the first.

    Guarantees:
        - Connections without a certificate are few, and end soon. Beyond that number the oldest one
          of the busiest address makes room, so that a flood does not keep sites out.
        - A site's next frame is read once its last one is taken: a site that floods waits, also
          one that connects again and again.
        - Large frames take turns in a bounded room. None may stop in the middle for long, nor come
          so slowly that others wait for long.
        - A site that does not take an envelope by the next trip is disconnected.

    Args:
        listener: a bound socket; the link closes it.
        context: asks for certificates of the deployment's CA.
        sites: whose connections are taken.
        limit: most bytes of a frame.
        room: bytes of large frames that may wait at once; a larger one waits alone.
        stall: seconds that a site may take for a piece of a large frame, and for each MiB of it.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        *,
        sites: Iterable[int],
        limit: int,
        room: int = ROOM_BYTES,
        stall: float = STALL_SECONDS,
    ) -> None:
        self._sites = frozenset(sites)
        self._limit = limit
        self._stall = stall
        self._inbox: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._arrivals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._connections: dict[int, Connection] = {}  # of sites, the latest of each
        self._turns = {site: asyncio.Lock() for site in self._sites}
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        # Failed handshakes of strangers end here, not on the terminal.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._room = Room(room)
        self._listener = listener
        self._wait(self._listen(context))

    def wait_for_sites(self, seconds: float) -> None:
        """Returns when every site is connected, or when the time is over."""
        end = time.monotonic() + seconds
        while self._sites - self._connections.keys() and time.monotonic() < end:
            with suppress(queue.Empty):
                self._arrivals.get(timeout=max(0.0, end - time.monotonic()))

    def carry(
        self, envelopes: dict[int, Sealed], seconds: float
    ) -> Generator[tuple[int, Packet], None, None]:
        """Sends all envelopes at once and yields frames as they come; see `desk.Link`."""
        while not self._inbox.empty():  # of an earlier trip: too late
            self._let_go(self._inbox.get())
        for site in list(envelopes):
            asyncio.run_coroutine_threadsafe(self._send(site, envelopes.pop(site)), self._loop)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                arrival = self._inbox.get(timeout=left)
            except queue.Empty:
                return
            try:
                yield arrival.site, arrival.frames.pop()
            finally:
                self._let_go(arrival)

    def close(self) -> None:
        """Ends all connections and the thread that serves them."""
        self._wait(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _let_go(self, arrival: Arrival) -> None:
        """Lets the site go on, whose frame was taken."""
        arrival.frames.clear()
        self._loop.call_soon_threadsafe(arrival.taken.set)

    async def _listen(self, context: ssl.SSLContext) -> None:
        keep_alive(self._listener)  # and so every connection that it takes
        doorway = Doorway(context, self._protocol, most=_MAX_HANDSHAKES, seconds=_HANDSHAKE_SECONDS)
        self._accepting = self._loop.create_task(doorway.serve(self._listener))

    def _protocol(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=PIECE_BYTES, loop=self._loop)
        return asyncio.StreamReaderProtocol(reader, self._serve, loop=self._loop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads one site's frames until its connection ends."""
        self._open.add(writer)
        writer.transport.set_write_buffer_limits(high=PIECE_BYTES)
        try:
            await self._serve_site(reader, writer)
        finally:
            writer.transport.abort()
            self._open.discard(writer)

    async def _serve_site(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        site = _site_of(writer.get_extra_info("peercert"))
        if site not in self._sites:
            return
        if site in self._connections:
            self._connections[site].replace()
        connection = Connection(writer)
        self._connections[site] = connection
        self._arrivals.put(site)
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            while (length := await length_of_next(reader)) <= self._limit:
                async with self._turns[site]:
                    connection.has_turn = True
                    await self._pass_on(site, reader, length)
                    connection.has_turn = False
        if self._connections.get(site) is connection:
            del self._connections[site]
            self._report_gone(site)

    async def _pass_on(self, site: int, reader: asyncio.StreamReader, length: int) -> None:
        """Reads a frame, and returns when the coordinator has taken it."""
        # Large frames take turns, so that memory does not grow with the sites. The others' bytes
        # wait on their own machines meanwhile.
        async with self._room.taken(length if length > PIECE_BYTES else 0):
            arrival = Arrival(site, [await read_frame(reader, length, stall=self._stall)])
            self._inbox.put(arrival)
            await arrival.taken.wait()

    async def _send(self, site: int, envelope: Sealed) -> None:
        connection = self._connections.get(site)
        if connection is None:
            self._report_gone(site)
        elif connection.is_sending:
            # It has not even taken its last envelope. A second one behind it would be held, too.
            connection.abort()
        else:
            await connection.send(envelope)

    def _report_gone(self, site: int) -> None:
        self._inbox.put(Arrival(site, [b""]))

    async def _hang_up(self) -> None:
        # Every reply has come or is too late: no farewell is waited for.
        for writer in self._open:
            writer.transport.abort()
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        self._listener.close()
        await asyncio.sleep(0)  # the loop closes aborted connections in its next turn


def _site_of(certificate: Mapping[str, Any]) -> int:
    """Returns the site that a verified certificate names; -1 where it names none."""
    names = dict(pair for rdn in certificate["subject"] for pair in rdn)
    name = names.get("commonName", "")
    return int(name) if name.isdecimal() else -1


def serve_coordinator(
    address: tuple[str, int],
    context: ssl.SSLContext,
    answer: Callable[[bytes], bytes | None],
    is_finished: Callable[[], bool],
    *,
    limit: int,
    patience: float,
) -> None:
    """Connects a site to its coordinator and answers its frames until the run is over.

    Args:
        address: of the coordinator.
        context: of the site.
        answer: frame -> reply; None for none.
        is_finished: whether the run is over.
        limit: most bytes of a frame.
        patience: seconds without a connection after which the site gives up.

    Raises:
        RunFailed: for so long the coordinator was not reached, or its certificate was refused.
    """
    host, port = address
    end = time.monotonic() + patience
    wait = _SECONDS_BETWEEN_TRIES
    while not is_finished():
        failure = f"no coordinator at {host}:{port} takes this site's certificate"
        try:
            with (
                socket.create_connection(address, timeout=_HANDSHAKE_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=host) as connection,
            ):
                connection.settimeout(None)
                keep_alive(connection)
                wait = _SECONDS_BETWEEN_TRIES
                if _answer_frames(connection, answer, is_finished, limit):
                    end = time.monotonic() + patience
        except ssl.SSLCertVerificationError as reason:
            # Perhaps somebody else answers for a moment. The coordinator comes back.
            failure = f"the coordinator's certificate is refused: {reason.verify_message}"
            wait = min(2 * wait, _MAX_SECONDS_BETWEEN_TRIES)
        except OSError:  # a connection that is refused ends without a word of TLS
            wait = _SECONDS_BETWEEN_TRIES
        left = end - time.monotonic()
        if left <= 0:
            raise RunFailed(failure)
        time.sleep(min(wait, left))


def _answer_frames(
    connection: ssl.SSLSocket,
    answer: Callable[[bytes], bytes | None],
    is_finished: Callable[[], bool],
    limit: int,
) -> bool:
    """Answers frames until the run is over, the connection ends or a frame is too large.

    Returns:
        Whether some frame was answered: who only lets a site connect is not its coordinator.
    """
    answered = False
    with connection.makefile("rb") as frames:
        while not is_finished():
            head = frames.read(LENGTH.size)
            length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else limit + 1
            if length > limit:
                break
            frame = frames.read(length)
            reply = answer(frame) if len(frame) == length else None
            if reply is not None:
                connection.sendall(LENGTH.pack(len(reply)))
                connection.sendall(reply)
                answered = True
    return answered
