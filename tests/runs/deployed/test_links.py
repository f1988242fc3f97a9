"""The direct link, over TLS on this machine: strangers stay out, and nobody else notices."""

import itertools
import math
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from securefl.channels.protocol import Packet
from securefl.errors import RunFailed
from securefl.runs.deployed import links
from securefl.runs.deployed.certificates import Authority, install, server_context, site_context
from securefl.runs.deployed.envelope import Sealed
from securefl.runs.deployed.frames import keep_alive
from securefl.runs.deployed.keys import make_node_key, node_key_of
from securefl.runs.deployed.links import DirectLink, serve_coordinator

HOST = "127.0.0.1"
LIMIT = 1000
NO_COORDINATOR = "no coordinator at 127.0.0.1:{} takes this site's certificate"
PATIENT = 20.0  # seconds, of what ends long before
Ends = queue.SimpleQueue[str]


def site_folder(folder: Path, authority: Authority, site: int) -> Path:
    folder.mkdir()
    key = node_key_of(make_node_key(folder))
    install(folder, authority.certify_site(key, site), authority.pem)
    return folder


@contextmanager
def link_of(
    authority: Authority, folder: Path, admitted: Sequence[str] = ()
) -> Iterator[tuple[DirectLink, int]]:
    """Yields a link for the sites 0 and 1, and its port."""
    folder.mkdir()
    authority.certify_server(folder, HOST)
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    context = server_context(folder, admitted or [authority.pem])
    with closing(DirectLink(listener, context, sites=[0, 1], limit=LIMIT)) as link:
        yield link, port


def started(
    folder: Path,
    port: int,
    answer: Callable[[bytes], bytes | None] = lambda frame: b"reply to " + frame,
    patience: float = PATIENT,
) -> Ends:
    """Starts a site in a thread until it is sent "end"; the queue gets how it ended."""
    ends: Ends = queue.SimpleQueue()
    frames: list[bytes] = []

    def noted(frame: bytes) -> bytes | None:
        frames.append(frame)
        return answer(frame)

    def serve() -> None:
        try:
            serve_coordinator(
                (HOST, port),
                site_context(folder),
                noted,
                lambda: b"end" in frames,
                limit=LIMIT,
                patience=patience,
            )
            ends.put("over")
        except RunFailed as reason:
            ends.put(str(reason))

    threading.Thread(target=serve, daemon=True).start()
    return ends


def sealed(frames: Mapping[int, bytes]) -> dict[int, Sealed]:
    return {site: Sealed((frame,)) for site, frame in frames.items()}


def is_reply(event: tuple[int, Packet]) -> bool:
    return bool(event[1])


def test_frames_go_out_together_and_replies_come_back(tmp_path: Path) -> None:
    authority = Authority.generate()
    with link_of(authority, tmp_path / "server") as (link, port):
        ends = [
            started(site_folder(tmp_path / str(site), authority, site), port) for site in (0, 1)
        ]
        link.wait_for_sites(PATIENT)
        with closing(link.carry(sealed({0: b"a", 1: b"b"}), PATIENT)) as replies:
            assert {next(replies), next(replies)} == {(0, b"reply to a"), (1, b"reply to b")}
        with closing(link.carry(sealed({0: b"end", 1: b"end"}), PATIENT)) as replies:
            ended = [frame for _, frame in itertools.islice(filter(is_reply, replies), 2)]
            assert ended == [b"reply to end"] * 2
        assert [end.get(timeout=PATIENT) for end in ends] == ["over", "over"]


def test_a_trip_ends_when_its_time_is_over(tmp_path: Path) -> None:
    authority = Authority.generate()
    with link_of(authority, tmp_path / "server") as (link, port):
        started(site_folder(tmp_path / "0", authority, 0), port, answer=lambda frame: None)
        link.wait_for_sites(0.5)
        assert list(link.carry(sealed({0: b"a"}), 0.1)) == []


def test_a_site_that_is_gone_or_never_came_is_reported_at_once(tmp_path: Path) -> None:
    authority = Authority.generate()
    with (
        link_of(authority, tmp_path / "server") as (link, _),
        closing(link.carry(sealed({0: b"a"}), PATIENT)) as replies,
    ):
        assert next(replies) == (0, b"")


def test_a_certificate_of_another_authority_is_refused_and_others_are_undisturbed(
    tmp_path: Path,
) -> None:
    authority, stranger = Authority.generate(), Authority.generate()
    with link_of(authority, tmp_path / "server") as (link, port):
        started(site_folder(tmp_path / "0", authority, 0), port)
        folder = site_folder(tmp_path / "1", stranger, 1)
        ends = started(folder, port, patience=0.3)
        assert "certificate is refused" in ends.get(timeout=PATIENT)
        # It takes the coordinator's authority for its own, and is refused by the coordinator.
        (folder / "ca.crt").write_bytes((tmp_path / "server" / "ca.crt").read_bytes())
        ends = started(folder, port, patience=0.3)
        assert ends.get(timeout=PATIENT) == NO_COORDINATOR.format(port)
        link.wait_for_sites(0.1)
        with closing(link.carry(sealed({0: b"a", 1: b"b"}), PATIENT)) as replies:
            assert {next(replies), next(replies)} == {(0, b"reply to a"), (1, b"")}


def test_nobody_connects_without_a_certificate(tmp_path: Path) -> None:
    authority = Authority.generate()
    with link_of(authority, tmp_path / "server") as (_, port):
        context = ssl.create_default_context(cafile=str(tmp_path / "server" / "ca.crt"))
        with (
            socket.create_connection((HOST, port), timeout=PATIENT) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
            suppress(ConnectionError, ssl.SSLError),  # but not a time-out
        ):
            assert connection.recv(1) == b""
    # asyncio ends a refused handshake without a word, so that the wire cannot tell.
    assert server_context(tmp_path / "server", [authority.pem]).verify_mode is ssl.CERT_REQUIRED


def test_a_coordinator_at_another_address_is_refused(tmp_path: Path) -> None:
    authority = Authority.generate()
    (tmp_path / "other").mkdir()
    authority.certify_server(tmp_path / "other", "127.0.0.2")
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    context = server_context(tmp_path / "other", [authority.pem])
    with closing(DirectLink(listener, context, sites=[0], limit=LIMIT)):
        ends = started(site_folder(tmp_path / "0", authority, 0), port, patience=0.3)
        assert "IP address mismatch" in ends.get(timeout=PATIENT)


def test_an_agent_waits_while_somebody_else_answers_in_its_coordinators_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, stranger = Authority.generate(), Authority.generate()
    for name, signer in (("server", authority), ("stranger", stranger)):
        (tmp_path / name).mkdir()
        signer.certify_server(tmp_path / name, HOST)
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    foreign.load_cert_chain(tmp_path / "stranger/tls.crt", tmp_path / "stranger/tls.pem")
    waits: list[float] = []
    sleep = time.sleep

    def noted(seconds: float) -> None:
        if seconds > 0.1:  # the agents of earlier tests look for theirs every 0.1 s
            waits.append(seconds)
        sleep(0.01)

    monkeypatch.setattr(time, "sleep", noted)
    folder = site_folder(tmp_path / "0", authority, 0)
    with socket.create_server((HOST, 0)) as listener:
        ends = started(folder, listener.getsockname()[1], patience=math.inf)
        # A connection that ends before the certificate is read begins the waits again.
        for _ in range(200):
            plain, _ = listener.accept()
            with plain, suppress(OSError):  # the agent refuses it
                foreign.wrap_socket(plain, server_side=True)
            if 10.0 in waits:
                break
        assert max(waits) == 10.0
        assert {0.2, 0.4, 0.8, 1.6, 3.2, 6.4} <= set(waits)
        context = server_context(tmp_path / "server", [authority.pem])
        with closing(DirectLink(listener, context, sites=[0], limit=LIMIT)) as link:
            link.wait_for_sites(PATIENT)
            with closing(link.carry(sealed({0: b"end"}), PATIENT)) as replies:
                assert next(replies) == (0, b"reply to end")
            assert ends.get(timeout=PATIENT) == "over"


def test_a_site_outside_the_roster_gives_up(tmp_path: Path) -> None:
    authority = Authority.generate()
    with link_of(authority, tmp_path / "server") as (_, port):
        ends = started(site_folder(tmp_path / "7", authority, 7), port, patience=0.3)
        assert ends.get(timeout=PATIENT) == NO_COORDINATOR.format(port)


def test_a_site_that_left_does_not_take_the_place_of_the_one_with_its_number(
    tmp_path: Path,
) -> None:
    authority = Authority.generate()
    member, former = (site_folder(tmp_path / name, authority, 0) for name in ("member", "former"))
    admitted = [(member / "tls.crt").read_text()]
    with link_of(authority, tmp_path / "server", admitted) as (link, port):
        with (
            socket.create_connection((HOST, port), timeout=2.0) as plain,
            site_context(former).wrap_socket(plain, server_hostname=HOST) as connection,
            suppress(ConnectionError, ssl.SSLError),  # but not a time-out: then it was taken
        ):
            assert connection.recv(1) == b""
        started(member, port)
        link.wait_for_sites(0.3)
        with closing(link.carry(sealed({0: b"a"}), PATIENT)) as replies:
            assert next(replies) == (0, b"reply to a")


def test_frames_beyond_the_limit_end_the_connection_on_either_side(tmp_path: Path) -> None:
    authority = Authority.generate()
    with link_of(authority, tmp_path / "server") as (link, port):
        folder = site_folder(tmp_path / "0", authority, 0)
        context = site_context(folder)
        with (
            socket.create_connection((HOST, port)) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            connection.sendall(struct.pack("<I", LIMIT + 1))
            assert connection.recv(1) == b""
        seen: list[bytes] = []
        started(folder, port, answer=lambda frame: seen.append(frame))
        link.wait_for_sites(0.5)
        with closing(link.carry(sealed({0: bytes(LIMIT + 1)}), PATIENT)) as replies:
            assert next(replies) == (0, b"")
        assert seen == []


def test_a_second_connection_of_a_site_takes_the_place_of_the_first(tmp_path: Path) -> None:
    authority = Authority.generate()
    with link_of(authority, tmp_path / "server") as (link, port):
        context = site_context(site_folder(tmp_path / "0", authority, 0))
        with (
            socket.create_connection((HOST, port)) as one,
            context.wrap_socket(one, server_hostname=HOST) as first,
        ):
            link.wait_for_sites(0.2)
            with (
                socket.create_connection((HOST, port)) as two,
                context.wrap_socket(two, server_hostname=HOST) as second,
            ):
                assert first.recv(1) == b""
                list(link.carry(sealed({0: b"a"}), 0.01))
                assert second.makefile("rb").read(5) == b"\x01\0\0\0a"


def test_an_agent_gives_up_where_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    authority = Authority.generate()
    ends = started(site_folder(tmp_path / "0", authority, 0), port, patience=0.2)
    assert ends.get(timeout=PATIENT) == NO_COORDINATOR.format(port)


def test_both_ends_find_out_that_the_other_one_is_gone_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.generate()
    made: list[ssl.SSLSocket] = []

    def kept(connection: socket.socket) -> None:
        keep_alive(connection)
        if isinstance(connection, ssl.SSLSocket):
            made.append(connection)

    monkeypatch.setattr(links, "keep_alive", kept)
    with link_of(authority, tmp_path / "server") as (link, port):
        ends = started(site_folder(tmp_path / "0", authority, 0), port)
        link.wait_for_sites(0.0)
        while 0 not in link._connections or not made:
            link.wait_for_sites(0.1)
        accepted = link._connections[0]._writer.get_extra_info("socket")
        for connection in (accepted, made[0]):
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            again = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            times = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert idle + again * times <= 120
        with closing(link.carry({0: Sealed((b"end",))}, PATIENT)) as replies:
            next(replies)
        assert ends.get(timeout=PATIENT) == "over"
