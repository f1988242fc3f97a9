"""The gate: the one port of the coordinator's machine, before Flower's SuperLink.

It ends TLS and passes on what SuperNodes say, which is `POST /v1/fleet/...` below a size limit.
All else gets 404, which bears the time: nobody submits an app from outside. Flower's Python runs
this file as a program with uvicorn; it imports nothing of ours.

Anybody may connect. A connection that does not ask for something soon is ended, and a flood of
connections ends its own oldest ones.

    gate.py HOST PORT CERTIFICATE KEY SUPERLINK_PORT SUPERLINK_CA LIMIT
"""

import asyncio
import http.client
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

HOST = "127.0.0.1"
# The SuperNode's calls. Nodes are registered on the coordinator's machine, not from outside.
CALLS = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "push-object",
    "pull-object",
    "confirm-message-received",
)
PATHS = frozenset(f"/v1/fleet/{call}" for call in CALLS)
# Flower's own headers begin with its name.
_PASSED = ("content-type", "accept")
_OURS = "flwr-"
_SECONDS = 120.0
_SECONDS_FOR_A_HEAD = 10.0  # from a connection, or from a response, to the next request's headers
_SECONDS_FOR_A_PIECE = 30.0  # of a body
_SECONDS_FOR_A_BODY = 600.0
_SECONDS_FOR_A_REQUEST = 900.0  # with its response, which the other side may not read
_SECONDS_AFTER_A_FAILURE = 0.1
_MAX_CONNECTIONS = 500
# Beyond its first bytes, a request takes from room that all requests share.
_BYTES_OF_ITS_OWN = 65536
_REQUESTS_IN_ROOM = 8  # of the largest size

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]
NOT_FOUND: Answer = (404, [], b"")
UNAVAILABLE: Answer = (503, [], b"")  # which a SuperNode takes as a reason to try again


def forward(context: ssl.SSLContext, port: int) -> Callable[[str, Headers, bytes], Answer]:
    """Returns a function that asks the SuperLink."""

    def ask(path: str, headers: Headers, body: bytes) -> Answer:
        connection = http.client.HTTPSConnection(HOST, port, timeout=_SECONDS, context=context)
        try:
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        except (OSError, http.client.HTTPException):
            return UNAVAILABLE
        finally:
            connection.close()

    return ask


class Gate:
    """An ASGI application that passes on what a SuperNode may ask.

    Args:
        ask: path, headers, body -> the SuperLink's answer.
        limit: most bytes of a request.
    """

    def __init__(self, ask: Callable[[str, Headers, bytes], Answer], *, limit: int) -> None:
        self._ask = ask
        self._limit = limit
        self._room = _REQUESTS_IN_ROOM * limit

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Answers one request; see the ASGI specification."""
        if scope["type"] != "http":
            return
        answer = NOT_FOUND
        if scope["method"] == "POST" and scope["path"] in PATHS and not scope["query_string"]:
            answer = await self._asked(scope, receive)
        status, headers, content = answer
        lines = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in passed(headers)
        ]
        lines.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": content})

    async def _asked(self, scope: Event, receive: Receive) -> Answer:
        """Returns the SuperLink's answer to a request, or why it is not passed on."""
        body = bytearray()
        try:
            async with asyncio.timeout(_SECONDS_FOR_A_BODY):
                refusal = await self._read(body, receive)
            if refusal is not None:
                return refusal
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            ]
            path = scope["path"]
            return await asyncio.to_thread(self._ask, path, passed(headers), bytes(body))
        except TimeoutError:
            return NOT_FOUND
        finally:
            self._room += _beyond(len(body))

    async def _read(self, body: bytearray, receive: Receive) -> Answer | None:
        """Reads a whole request; returns why not where it is too large or broken off."""
        while True:
            async with asyncio.timeout(_SECONDS_FOR_A_PIECE):
                event = await receive()
            size = len(body) + len(event.get("body", b""))
            if event["type"] != "http.request" or size > self._limit:
                return NOT_FOUND
            more = _beyond(size) - _beyond(len(body))
            if more > self._room:
                return UNAVAILABLE
            self._room -= more
            body += event.get("body", b"")
            if not event.get("more_body"):
                return None


def _beyond(size: int) -> int:
    """Returns the bytes of a request that take room."""
    return max(0, size - _BYTES_OF_ITS_OWN)


def passed(headers: Headers) -> Headers:
    """Returns the headers that mean something to Flower, in lower case."""
    lower = [(name.lower(), value) for name, value in headers]
    return [(name, value) for name, value in lower if name in _PASSED or name.startswith(_OURS)]


@dataclass
class Doorway:
    """Takes TLS connections from anybody, a bounded number at once.

    A connection counts during its handshake, and while `stay` lasts. One too many ends the oldest
    connection of the address that has the most of them.

    Args:
        context: of the server.
        factory: makes the protocol of a connection.
        most: connections that may count at once.
        seconds: that a handshake may take.
        stay: waits with a protocol until its connection counts no more, and ends it; None where it
            counts during its handshake only.
    """

    context: ssl.SSLContext
    factory: Callable[[], asyncio.Protocol]
    most: int
    seconds: float
    stay: Callable[[Any], Awaitable[object]] | None = None
    # What looks after a connection -> its address; the oldest first.
    _inside: dict[asyncio.Task[None], str] = field(default_factory=dict, init=False)

    async def serve(self, listener: socket.socket) -> None:
        """Takes connections until it is cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                plain, address = await loop.sock_accept(listener)
            except OSError:  # gone already, or this process has no descriptor left
                await asyncio.sleep(_SECONDS_AFTER_A_FAILURE)
                continue
            task = loop.create_task(self._attend(plain))
            self._inside[task] = address[0]
            task.add_done_callback(lambda done: self._inside.pop(done, None))
            if len(self._inside) > self.most:
                self._make_room()
            await asyncio.sleep(0)  # a flood does not keep the loop for itself

    async def _attend(self, plain: socket.socket) -> None:
        """Shakes hands, and stays with the connection while it counts."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # of the handshake
            transport, protocol = await loop.connect_accepted_socket(
                self.factory, plain, ssl=self.context, ssl_handshake_timeout=self.seconds
            )
            if self.stay is None:
                return
            try:
                await self.stay(protocol)
            finally:
                transport.abort()

    def _make_room(self) -> None:
        [(crowd, _)] = Counter(self._inside.values()).most_common(1)
        oldest = next(task for task, address in self._inside.items() if address == crowd)
        del self._inside[oldest]
        oldest.cancel()


def punctual(protocol: type[Any]) -> type[Any]:
    """Returns one of uvicorn's protocols with deadlines, which uvicorn lacks.

    A connection is ended that has no request in progress for some seconds, and one whose request is
    in progress for very long. Its `gone` is set when it has ended.
    """

    class Punctual(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.gone = asyncio.Event()
            self._expect_a_head()

        def connection_lost(self, reason: Exception | None) -> None:
            super().connection_lost(reason)
            self._timer.cancel()
            self.gone.set()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._timer.cancel()
            self._expect_a_head()

        def _expect_a_head(self) -> None:
            self._timer = self.loop.call_later(_SECONDS_FOR_A_HEAD, self._require_a_head)

        def _require_a_head(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()
            else:
                self._timer = self.loop.call_later(_SECONDS_FOR_A_REQUEST, self.transport.abort)

    return Punctual


async def _served(server: Any, listener: socket.socket) -> None:
    """Serves with uvicorn, which takes no connections by itself here."""
    config = server.config
    config.load()

    made = partial(config.http_protocol_class, config, server.server_state, {})
    doorway = Doorway(
        config.ssl,
        made,
        most=_MAX_CONNECTIONS,
        seconds=_SECONDS_FOR_A_HEAD,
        stay=lambda connection: connection.gone.wait(),
    )
    accepting = asyncio.create_task(doorway.serve(listener))
    await server.serve(sockets=[])
    accepting.cancel()


def main(arguments: list[str]) -> None:
    """Serves until it is killed."""
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    host, port, certificate, key, superlink, ca, limit = arguments
    context = ssl.create_default_context(cafile=ca)
    config = uvicorn.Config(
        Gate(forward(context, int(superlink)), limit=int(limit)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http=punctual(AutoHTTPProtocol),
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=True,  # a site compares its clock with it
        timeout_graceful_shutdown=1,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, int(port)), family=family, backlog=_MAX_CONNECTIONS) as door:
        asyncio.run(_served(uvicorn.Server(config), door))


if __name__ == "__main__":
    main(sys.argv[1:])
