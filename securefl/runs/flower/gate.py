"""The gate: the one port of the coordinator's machine, before Flower's SuperLink.

It ends TLS and passes on what SuperNodes say, which is `POST /v1/fleet/...` below a size limit.
All else gets 404, which bears the time: nobody submits an app from outside. Flower's Python runs
this file as a program with uvicorn; it imports nothing of ours.

    gate.py HOST PORT CERTIFICATE KEY SUPERLINK_PORT SUPERLINK_CA LIMIT
"""

import asyncio
import http.client
import ssl
import sys
from collections.abc import Awaitable, Callable, MutableMapping
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
_SECONDS_FOR_A_BODY = 600.0
_MAX_CONNECTIONS = 500
# Anybody may connect. Beyond its first bytes, a request takes from room that all requests share.
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


def main(arguments: list[str]) -> None:
    """Serves until it is killed."""
    import uvicorn

    host, port, certificate, key, superlink, ca, limit = arguments
    context = ssl.create_default_context(cafile=ca)
    uvicorn.run(
        Gate(forward(context, int(superlink)), limit=int(limit)),
        host=host,
        port=int(port),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=True,  # a site compares its clock with it
        limit_concurrency=_MAX_CONNECTIONS,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
