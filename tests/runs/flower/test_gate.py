"""The gate: what a SuperNode may ask goes through, and nothing else."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from securefl.runs.flower import gate
from securefl.runs.flower.gate import Answer, Gate, Headers

LIMIT = 100
ANSWER: Answer = (200, [("Content-Type", "application/protobuf"), ("Server", "x")], b"answer")


class Behind:
    """A SuperLink that notes what reaches it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Headers, bytes]] = []

    def __call__(self, path: str, headers: Headers, body: bytes) -> Answer:
        self.asked.append((path, headers, body))
        return ANSWER


def request(
    path: str = "/v1/fleet/pull-messages",
    *,
    method: str = "POST",
    chunks: tuple[bytes, ...] = (b"body",),
    headers: tuple[tuple[bytes, bytes], ...] = (),
    query: bytes = b"",
    broken: bool = False,
    kind: str = "http",
) -> tuple[Behind, list[dict[str, Any]]]:
    """Sends one request through a gate; returns what reached the SuperLink, and the answer."""
    behind = Behind()
    sent: list[Any] = []
    events = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    events[-1]["more_body"] = False
    if broken:
        events[-1] = {"type": "http.disconnect"}

    async def receive() -> Any:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query,
        "headers": headers,
    }
    asyncio.run(Gate(behind, limit=LIMIT)(scope, receive, send))
    return behind, sent


def test_a_supernodes_call_goes_through_with_flowers_headers_only() -> None:
    headers = (
        (b"Content-Type", b"application/protobuf"),
        (b"flwr-signature", b"signature"),
        (b"Host", b"outside"),
        (b"X-Forwarded-For", b"outside"),
        (b"Content-Length", b"99"),
    )
    behind, sent = request(chunks=(b"bo", b"dy"), headers=headers)
    passed = [("content-type", "application/protobuf"), ("flwr-signature", "signature")]
    assert behind.asked == [("/v1/fleet/pull-messages", passed, b"body")]
    lines = [(b"content-type", b"application/protobuf"), (b"content-length", b"6")]
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": lines},
        {"type": "http.response.body", "body": b"answer"},
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/acquire-task",
        "/v1/fleet",
        "/v1/fleet/",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/pull-messages/",
        "/V1/fleet/pull-messages",
        "//v1/fleet/pull-messages",
        "http://elsewhere/v1/fleet/pull-messages",
    ],
)
def test_every_other_path_is_not_found(path: str) -> None:
    behind, sent = request(path)
    assert (behind.asked, sent[0]["status"], sent[1]["body"]) == ([], 404, b"")


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "CONNECT", "OPTIONS", "post"])
def test_every_other_method_is_not_found(method: str) -> None:
    behind, sent = request(method=method)
    assert (behind.asked, sent[0]["status"]) == ([], 404)


def test_a_query_is_not_passed_on() -> None:
    behind, sent = request(query=b"a=b")
    assert (behind.asked, sent[0]["status"]) == ([], 404)


def test_a_request_beyond_the_limit_is_not_read_to_its_end() -> None:
    behind, sent = request(chunks=(bytes(LIMIT),))
    assert len(behind.asked) == 1
    behind, sent = request(chunks=(bytes(LIMIT), b"x", b""))
    assert (behind.asked, sent[0]["status"]) == ([], 404)


def test_a_request_that_breaks_off_is_not_passed_on() -> None:
    behind, sent = request(chunks=(b"half", b""), broken=True)
    assert (behind.asked, sent[0]["status"]) == ([], 404)


def test_a_request_that_takes_too_long_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_SECONDS_FOR_A_BODY", 0.01)
    behind = Behind()
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/fleet/get-run",
        "query_string": b"",
        "headers": (),
    }
    asyncio.run(Gate(behind, limit=LIMIT)(scope, receive, send))
    assert (behind.asked, sent[0]["status"]) == ([], 404)


def test_nothing_but_http_gets_an_answer() -> None:
    behind, sent = request(kind="websocket")
    assert (behind.asked, sent) == ([], [])


def test_a_superlink_that_is_gone_is_unavailable_which_a_supernode_tries_again() -> None:
    import socket
    import ssl

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ask = gate.forward(ssl.create_default_context(), port)
    assert ask("/v1/fleet/get-run", [], b"") == (503, [], b"")


def test_requests_of_strangers_share_a_bounded_room_and_give_it_back() -> None:
    limit = 1_000_000
    behind = Behind()
    served = Gate(behind, limit=limit)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/fleet/push-object",
        "query_string": b"",
        "headers": (),
    }

    async def status(chunk: bytes, *, then: asyncio.Event | None = None) -> int:
        """The answer to one chunk, whose sender then stops until it breaks off."""
        sent: list[Any] = []
        events = [{"type": "http.request", "body": chunk, "more_body": then is not None}]

        async def receive() -> Any:
            if events:
                return events.pop()
            assert then is not None
            await then.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            sent.append(event)

        await served(scope, receive, send)
        return int(sent[0]["status"])

    async def play() -> None:
        ended = asyncio.Event()
        floods = [asyncio.create_task(status(bytes(limit), then=ended)) for _ in range(20)]
        await asyncio.sleep(0)  # each of them has sent its chunk, and stops
        assert await status(bytes(700_000)) == 503
        assert await status(b"heartbeat") == 200
        ended.set()
        assert sorted(await asyncio.gather(*floods)) == [404] * 8 + [503] * 12
        assert await status(bytes(100_000)) == 200

    asyncio.run(play())


class Timer:
    """A call that a loop would make later."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds = seconds
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Parser:
    """As much of uvicorn's protocols as deadlines need; it is its own loop and transport."""

    def __init__(self) -> None:
        self.loop = self
        self.cycle: Any = None
        self.timers: list[Timer] = []
        self.is_aborted = False

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]

    def abort(self) -> None:
        self.is_aborted = True

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, reason: Exception | None) -> None:
        """Does nothing."""

    def on_response_complete(self) -> None:
        """Does nothing."""

    @property
    def due(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]


def made() -> Any:
    connection = gate.punctual(Parser)()
    connection.connection_made(connection)
    return connection


def test_a_connection_without_a_request_in_time_is_ended() -> None:
    connection = made()
    (timer,) = connection.due
    assert timer.seconds == 10
    timer.call()
    assert connection.is_aborted


def test_a_request_in_progress_has_its_own_deadline() -> None:
    connection = made()
    (timer,) = connection.due
    connection.cycle = SimpleNamespace(response_complete=False)
    timer.call()
    assert not connection.is_aborted
    assert connection.due[-1].seconds == 900
    connection.due[-1].call()
    assert connection.is_aborted


def test_each_response_begins_the_time_until_the_next_request() -> None:
    connection = made()
    connection.cycle = SimpleNamespace(response_complete=True)
    for _ in range(3):
        earlier = connection.due
        connection.on_response_complete()
        (timer,) = connection.due
        assert timer.seconds == 10
        assert timer not in earlier
    timer.call()
    assert connection.is_aborted


def test_a_connection_that_is_gone_has_no_deadline_and_does_not_count() -> None:
    connection = made()
    assert not connection.gone.is_set()
    connection.connection_lost(None)
    assert connection.due == []
    assert connection.gone.is_set()


def test_a_body_that_stops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_SECONDS_FOR_A_PIECE", 0.01)
    behind = Behind()

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def play() -> Answer:
        async with asyncio.timeout(20):
            scope = {"path": "/v1/fleet/get-run", "headers": ()}
            return await Gate(behind, limit=LIMIT)._asked(scope, receive)

    assert asyncio.run(play()) == (404, [], b"")
    assert behind.asked == []
