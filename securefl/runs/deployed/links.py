"""The direct link: TLS by the standard library, sites connect out, frames with their length first.

A frame is 4 bytes of length, little-endian, and that many bytes. A length beyond the limit ends the
connection before anything is allocated.
"""

import asyncio
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any

from securefl.errors import RunFailed

_LENGTH = struct.Struct("<I")
_HANDSHAKE_SECONDS = 30.0
_SECONDS_BETWEEN_TRIES = 0.1


class DirectLink:
    """The coordinator's end.

    A connection belongs to the site that its certificate names; a second one replaces the first.

    Args:
        listener: a bound socket; the link closes it.
        context: asks for certificates of the deployment's CA.
        sites: whose connections are taken.
        limit: most bytes of a frame.
    """

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, *, sites: Iterable[int], limit: int
    ) -> None:
        self._sites = frozenset(sites)
        self._limit = limit
        self._inbox: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._arrivals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._writers: dict[int, asyncio.StreamWriter] = {}  # of sites, the latest of each
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        # Failed handshakes of strangers end here, not on the terminal.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._wait(self._listen(listener, context))

    def wait_for_sites(self, seconds: float) -> None:
        """Returns when every site is connected, or when the time is over."""
        end = time.monotonic() + seconds
        while self._sites - self._writers.keys() and time.monotonic() < end:
            with suppress(queue.Empty):
                self._arrivals.get(timeout=max(0.0, end - time.monotonic()))

    def carry(
        self, envelopes: Mapping[int, bytes], seconds: float
    ) -> Generator[tuple[int, bytes], None, None]:
        """Sends all envelopes at once and yields frames as they come; see `desk.Link`."""
        while not self._inbox.empty():  # of an earlier trip: too late
            self._inbox.get()
        for site, envelope in envelopes.items():
            asyncio.run_coroutine_threadsafe(self._send(site, envelope), self._loop)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                yield self._inbox.get(timeout=left)
            except queue.Empty:
                return

    def close(self) -> None:
        """Ends all connections and the thread that serves them."""
        self._wait(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(
        self, listener: socket.socket, context: ssl.SSLContext
    ) -> asyncio.AbstractServer:
        return await asyncio.start_server(
            self._serve, sock=listener, ssl=context, ssl_handshake_timeout=_HANDSHAKE_SECONDS
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads one site's frames until its connection ends."""
        self._open.add(writer)
        await self._serve_site(reader, writer)
        writer.transport.abort()
        self._open.discard(writer)

    async def _serve_site(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        site = _site_of(writer.get_extra_info("peercert"))
        if site not in self._sites:
            return
        if site in self._writers:
            self._writers[site].transport.abort()
        self._writers[site] = writer
        self._arrivals.put(site)
        with suppress(OSError, asyncio.IncompleteReadError):
            while (frame := await self._read(reader)) is not None:
                self._inbox.put((site, frame))
        if self._writers.get(site) is writer:
            del self._writers[site]
            self._inbox.put((site, b""))

    async def _read(self, reader: asyncio.StreamReader) -> bytes | None:
        """Returns the next frame; None where it would be too large."""
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length) if length <= self._limit else None

    async def _send(self, site: int, frame: bytes) -> None:
        writer = self._writers.get(site)
        if writer is None:
            self._inbox.put((site, b""))
            return
        with suppress(OSError):
            writer.writelines((_LENGTH.pack(len(frame)), frame))
            await writer.drain()

    async def _hang_up(self) -> None:
        self._server.close()
        # Every reply has come or is too late: no farewell is waited for.
        for writer in self._open:
            writer.transport.abort()
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
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
        RunFailed: the coordinator cannot be reached, or a certificate is refused.
    """
    end = time.monotonic() + patience
    while not is_finished():
        try:
            with (
                socket.create_connection(address, timeout=_HANDSHAKE_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=address[0]) as connection,
            ):
                connection.settimeout(None)
                if _answer_frames(connection, answer, is_finished, limit):
                    end = time.monotonic() + patience
        except ssl.SSLCertVerificationError as reason:
            raise RunFailed(
                f"the coordinator's certificate is refused: {reason.verify_message}"
            ) from None
        except OSError:  # asyncio closes a connection that it refuses without a word of TLS
            pass
        if time.monotonic() >= end:
            host, port = address
            raise RunFailed(f"no coordinator at {host}:{port} takes this site's certificate")
        time.sleep(_SECONDS_BETWEEN_TRIES)


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
            head = frames.read(_LENGTH.size)
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else limit + 1
            if length > limit:
                break
            frame = frames.read(length)
            reply = answer(frame) if len(frame) == length else None
            if reply is not None:
                connection.sendall(_LENGTH.pack(len(reply)))
                connection.sendall(reply)
                answered = True
    return answered
