"""The gate's own process, under Flower's Python: a flood of connections shuts no site out."""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from securefl.runs.deployed.certificates import Authority
from securefl.runs.flower.commands import Flower
from securefl.runs.flower.stage import free_port

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]

HOST = "127.0.0.1"
HALF = b"POST /v1/fleet/pull-messages HTTP/1.1\r\n"
WHOLE = b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n"
SECONDS_FOR_A_HEAD = 10.0
MOST = 500
FLOOD = 600


@dataclass(frozen=True)
class Door:
    """Where a gate listens, and how to trust it."""

    port: int
    context: ssl.SSLContext

    def tcp(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=20)

    def tls(self, said: bytes = b"") -> ssl.SSLSocket:
        secured = self.context.wrap_socket(self.tcp(), server_hostname=HOST)
        secured.sendall(said)
        return secured

    def asked(self) -> http.client.HTTPResponse:
        """Returns the answer to a site that asks for something else than Flower does."""
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=20, context=self.context)
        with closing(connection):
            connection.request("GET", "/")
            return connection.getresponse()


@pytest.fixture
def door(programs: Path, tmp_path: Path) -> Iterator[Door]:
    """A gate whose SuperLink is not there."""
    authority = Authority.generate()
    authority.certify_server(tmp_path, HOST)
    ca = tmp_path / "ca.crt"
    flower = Flower(programs, tmp_path)
    port = free_port()
    command = flower.gate((HOST, port), free_port(), tls=tmp_path, ca=ca, limit=100_000)
    gate = subprocess.Popen(command, env=flower.environment)
    found = Door(port, ssl.create_default_context(cafile=str(ca)))
    try:
        wait_for(found, gate)
        yield found
    finally:
        gate.terminate()
        assert gate.wait(20) is not None


def wait_for(door: Door, gate: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while True:
        assert gate.poll() is None
        try:
            door.tcp().close()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)
        else:
            return


def seconds_until_it_ends(connection: socket.socket) -> float:
    """Returns when the gate ends a connection, whose answers are read."""
    start = time.monotonic()
    connection.settimeout(3 * SECONDS_FOR_A_HEAD)
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - start


def test_an_answer_bears_the_time_and_names_no_program(door: Door) -> None:
    answer = door.asked()
    there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    assert (answer.status, answer.headers["server"]) == (404, None)
    assert abs(time.time() - there) < 5


def test_half_requests_and_silent_connections_of_strangers_shut_no_site_out(door: Door) -> None:
    with ExitStack() as stack:
        for count in range(FLOOD):
            made = door.tls(HALF) if count % 2 else door.tcp()
            stack.enter_context(made)
        start = time.monotonic()
        assert door.asked().status == 404
        assert time.monotonic() - start < 5


def test_bodies_that_do_not_come_shut_no_site_out(door: Door) -> None:
    head = HALF + b"Host: gate\r\nContent-Length: 1000\r\n\r\n"
    with ExitStack() as stack:
        flood = [stack.enter_context(door.tls(head)) for _ in range(FLOOD)]
        assert door.asked().status == 404
        # The oldest have made room, the others stay.
        assert seconds_until_it_ends(flood[0]) < 5
        assert seconds_until_it_ends(flood[FLOOD - MOST]) < 5
        flood[-1].settimeout(0.5)
        with pytest.raises(TimeoutError, match="timed out"):
            flood[-1].recv(1)


def test_a_connection_ends_that_brings_no_whole_head_in_time(door: Door) -> None:
    with (
        door.tcp() as silent,
        door.tls() as secured,
        door.tls(HALF) as half,
        door.tls(WHOLE + HALF) as second,
        door.tls(WHOLE) as slow,
    ):
        # A few bytes end the time that uvicorn gives a connection between requests.
        time.sleep(2)
        slow.sendall(HALF)
        ends = [seconds_until_it_ends(one) for one in (silent, secured, half, second, slow)]
    # One after the other: those behind the first have ended with it.
    assert SECONDS_FOR_A_HEAD - 4 < ends[0] < SECONDS_FOR_A_HEAD + 2
    assert max(ends[1:]) < 5
