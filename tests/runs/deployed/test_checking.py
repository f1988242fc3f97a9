"""What a site notices before it starts."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from securefl.errors import RunFailed
from securefl.runs.deployed import connecting
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.certificates import TLS_CERTIFICATE, Authority, server_context
from securefl.runs.deployed.charter import Shared
from securefl.runs.deployed.connecting import connection, require_clock
from securefl.runs.deployed.federation import admit, found
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.keys import TLS_KEY
from securefl.runs.deployed.links import DirectLink
from securefl.runs.deployed.site_folder import Folder
from tests.runs.deployed.sites import DP

DAY_SECONDS = 86400.0


def approved_site(folder: Path, port: int) -> Folder:
    """Returns the folder of site 0, which has approved a charter with this port."""
    address = ("127.0.0.1", port)
    invitation = found(Shared(text=DP, overrides=()), address, folder / "fed")
    requests = [join(invitation, f"s{site}", folder / str(site)) for site in range(4)]
    charter = admit(folder / "fed", requests, days=3.0, deadline=5.0)
    approve_charter(folder / "0", charter)
    return Folder.read(folder / "0", charter)


class NotFound(BaseHTTPRequestHandler):
    """Answers like Flower's gate: 404, and the time."""

    def do_GET(self) -> None:  # the name is the library's
        self.send_error(404)

    def log_message(self, *words: object) -> None:
        """Says nothing."""


@contextmanager
def gate(folder: Path, listener: socket.socket) -> Iterator[None]:
    """Serves HTTP with the coordinator's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / TLS_CERTIFICATE, folder / TLS_KEY)
    server = HTTPServer(("127.0.0.1", 0), NotFound, bind_and_activate=False)
    server.socket.close()
    server.socket = context.wrap_socket(listener, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("left", ["0", "1"])
def test_a_site_whose_certificate_is_not_taken_is_refused(left: str, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])
    roster = folder.charter.roster
    admitted = [one.certificate for site, one in roster.items() if site != left]
    context = server_context(tmp_path / "fed", admitted)
    link = DirectLink(listener, context, sites=folder.charter.keys, limit=1000)
    try:
        if left == "0":
            with pytest.raises(RunFailed, match="does not take this site's certificate"):
                connection(folder)
        else:
            assert "answers on the direct link" in connection(folder)
    finally:
        link.close()


def test_over_flower_the_clocks_are_compared(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])

    def seen(seconds_ahead: float) -> str:
        return connection(folder, lambda: time.time() + seconds_ahead)

    with gate(tmp_path / "fed", listener):
        assert "answers over Flower" in seen(0.0)
        assert "behind that of the coordinator" in seen(-200.0)
        with pytest.raises(RunFailed, match=r"86(399|40[01]) s ahead of the coordinator's; Flower"):
            seen(DAY_SECONDS)
        with pytest.raises(RunFailed, match=r"86(399|40[01]) s behind the coordinator's; Flower"):
            seen(-DAY_SECONDS)
    assert "nobody answers" in seen(DAY_SECONDS)


def test_flower_takes_five_seconds_ahead_and_five_minutes_behind() -> None:
    for seconds in (4.9, -299.9):
        require_clock(seconds)
    for seconds in (5.0, -300.0):
        with pytest.raises(RunFailed, match="set the clock"):
            require_clock(seconds)


def test_a_port_of_something_else_is_told_from_a_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])
    monkeypatch.setattr(NotFound, "date_time_string", lambda self: "noon")
    with gate(tmp_path / "fed", listener), pytest.raises(RunFailed, match="is no coordinator"):
        connection(folder)


@contextmanager
def hostile(folder: Path, listener: socket.socket, pieces: Iterable[bytes]) -> Iterator[None]:
    """Answers one request with the coordinator's certificate, piece by piece."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / TLS_CERTIFICATE, folder / TLS_KEY)

    def serve() -> None:
        with suppress(OSError):
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(1000)
                for piece in pieces:
                    secured.sendall(piece)
                    time.sleep(0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    "date",
    [
        b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        b"Mon, 01 Jan 2026 00:00:00 +999999999999",
        b"Sat, 01 Jan 0001 00:00:00 -0000",
        b"Mon, 01 Jan " + b"9" * 5000 + b" 00:00:00 GMT",
        b"\xff\xfe",
        b"",
    ],
)
def test_a_time_that_is_none_is_told_from_a_gates(date: bytes, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])
    answer = b"HTTP/1.1 404 Not Found\r\nDate: " + date + b"\r\n\r\n"
    refusal = pytest.raises(RunFailed, match=r"is no coordinator|set the clock")
    with hostile(tmp_path / "fed", listener, [answer]), refusal:
        connection(folder)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"garbage ", b"\r\n\r\n"])
def test_an_answer_without_end_or_time_ends_the_check(piece: bytes, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])
    pieces = itertools.repeat(1000 * piece if piece == b"garbage " else piece)
    refusal = pytest.raises(RunFailed, match="is no coordinator")
    with hostile(tmp_path / "fed", listener, pieces), refusal:
        connection(folder)


def test_a_check_ends_at_its_deadline_while_somebody_goes_on_talking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_SECONDS", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])
    start = time.monotonic()
    with hostile(tmp_path / "fed", listener, itertools.repeat(b"a")):
        assert "nobody answers" in connection(folder)
    assert time.monotonic() - start < 5.0


def test_a_certificate_of_a_foreign_ca_is_refused_by_the_check(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    folder = approved_site(tmp_path, listener.getsockname()[1])
    (tmp_path / "foreign").mkdir()
    Authority.generate().certify_server(tmp_path / "foreign", "127.0.0.1")
    refusal = pytest.raises(RunFailed, match=r"the certificate of 127\.0\.0\.1:\d+ is refused: ")
    with hostile(tmp_path / "foreign", listener, []), refusal:
        connection(folder)
