"""What sites send, or do not take, fills no memory of the coordinator and keeps no other site out.

The sites here are bare TLS connections, which can misbehave in ways that an agent does not.
"""

import errno
import itertools
import socket
import ssl
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from securefl.channels.protocol import Packet
from securefl.runs.deployed.certificates import Authority, server_context, site_context
from securefl.runs.deployed.envelope import Sealed
from securefl.runs.deployed.frames import PIECE_BYTES
from securefl.runs.deployed.links import DirectLink
from tests.runs.deployed.test_links import HOST, PATIENT, site_folder

SITES = 6
LARGE = 400_000
LIMIT = 8_000_000
STALL = 0.3

Connect = Callable[[int], ssl.SSLSocket]


@contextmanager
def link_of(folder: Path, **options: float) -> Iterator[tuple[DirectLink, Connect]]:
    """Yields a link for a few sites, and how they connect."""
    authority = Authority.generate()
    (folder / "server").mkdir()
    authority.certify_server(folder / "server", HOST)
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    context = server_context(folder / "server", [authority.pem])
    connections: list[ssl.SSLSocket] = []

    def connect(site: int) -> ssl.SSLSocket:
        path = folder / str(site)
        if not path.exists():
            site_folder(path, authority, site)
        plain = socket.create_connection((HOST, port), timeout=PATIENT)
        connections.append(site_context(path).wrap_socket(plain, server_hostname=HOST))
        return connections[-1]

    link = DirectLink(listener, context, sites=range(SITES), limit=LIMIT, **options)  # type: ignore[arg-type]
    with closing(link):
        try:
            yield link, connect
        finally:
            for connection in connections:
                connection.close()


@contextmanager
def flood_of(connect: Connect, *, address: str, count: int) -> Iterator[list[socket.socket]]:
    """Yields so many connections from an address that say nothing."""
    target = connect(0).getpeername()
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                socket.create_connection(target, timeout=PATIENT, source_address=(address, 0))
            )
            for _ in range(count)
        ]


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not ended a connection, on which nothing is said."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


def frame_of(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def waits_for(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true in the time that patience allows."""
    end = time.monotonic() + PATIENT
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_a_site_that_floods_has_one_frame_in_memory_and_the_others_are_heard(
    tmp_path: Path,
) -> None:
    with link_of(tmp_path) as (link, connect):
        flood, honest = connect(0), connect(1)
        assert waits_for(lambda: len(link._connections) == 2)
        flood.settimeout(0.3)
        with pytest.raises(TimeoutError, match="timed out"):  # nobody reads any more
            flood.sendall(frame_of(bytes(1000)) * 100_000)
        assert link._inbox.qsize() == 1
        honest.sendall(frame_of(b"late"))
        assert waits_for(lambda: link._inbox.qsize() == 2)
        # Both are of no trip, and are thrown away with the next one; the flood goes on.
        with closing(link.carry({1: Sealed((b"a",))}, PATIENT)) as replies:
            assert next(replies)[0] == 0
            assert honest.makefile("rb").read(5) == frame_of(b"a")
            honest.sendall(frame_of(b"reply"))
            frames = [(site, bytes(data)) for site, data in itertools.islice(replies, 50)]
            assert (1, b"reply") in frames
            assert (1, b"late") not in frames
            assert {len(data) for site, data in frames if site == 0} == {1000}


def begun(link: DirectLink) -> Generator[tuple[int, Packet], None, None]:
    """Returns the replies of a trip that has begun, to a site that never came."""
    replies = link.carry({SITES - 1: Sealed((b"a",))}, PATIENT)
    assert next(replies) == (SITES - 1, b"")
    return replies


def test_large_frames_take_turns(tmp_path: Path) -> None:
    with link_of(tmp_path, room=LARGE) as (link, connect):
        frames = {site: bytes([site]) * LARGE for site in range(3)}
        senders = [
            threading.Thread(target=connect(site).sendall, args=[frame_of(frame)])
            for site, frame in frames.items()
        ]
        arrived: dict[int, bytes] = {}
        with closing(begun(link)) as replies:
            for sender in senders:
                sender.start()
            while len(arrived) < len(frames):
                site, data = next(replies)
                arrived[site] = bytes(data)
                time.sleep(0.1)  # in which another frame would come, were there room for it
                assert link._inbox.qsize() == 0
        for sender in senders:
            sender.join()
        assert arrived == frames


def test_a_site_that_stops_in_the_middle_of_a_frame_is_disconnected_and_the_next_is_heard(
    tmp_path: Path,
) -> None:
    with link_of(tmp_path, room=LARGE, stall=STALL) as (link, connect):
        stuck, honest = connect(0), connect(1)
        stuck.sendall(frame_of(bytes(LARGE))[: LARGE // 2])
        assert waits_for(lambda: link._room._free == 0)
        with closing(begun(link)) as replies:
            honest.sendall(frame_of(bytes(LARGE)))
            first, second = next(replies), next(replies)
        assert {first[0]: len(first[1]), second[0]: len(second[1])} == {0: 0, 1: LARGE}
        assert stuck.recv(1) == b""


def test_a_site_that_does_not_take_an_envelope_is_disconnected_with_the_next_one(
    tmp_path: Path,
) -> None:
    with link_of(tmp_path) as (link, connect):
        connect(0)
        assert waits_for(lambda: 0 in link._connections)
        model = Sealed((b"head", bytes(LIMIT), b"tail"))
        assert list(link.carry({0: model}, 0.1)) == []
        with closing(link.carry({0: Sealed((b"next",))}, PATIENT)) as replies:
            assert next(replies) == (0, b"")
        assert 0 not in link._connections


def test_envelopes_to_many_sites_share_one_model(tmp_path: Path) -> None:
    with link_of(tmp_path) as (link, connect):
        sites = [connect(site) for site in range(SITES)]
        assert waits_for(lambda: len(link._connections) == SITES)
        model = bytes(LIMIT)
        tracemalloc.start()
        try:
            envelopes = {site: Sealed((b"head", model, b"tail")) for site in range(SITES)}
            # Nobody takes anything: all that can wait somewhere does.
            assert list(link.carry(envelopes, 0.3)) == []
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < LIMIT / 4
        assert len(sites) == SITES


def test_a_large_envelope_arrives_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    with link_of(tmp_path) as (link, connect):
        site = connect(0)
        assert waits_for(lambda: 0 in link._connections)
        with closing(link.carry({0: Sealed((b"head", content, b"tail"))}, 0.01)) as replies:
            assert list(replies) == []
            expected = frame_of(b"head" + content + b"tail")
            assert site.makefile("rb").read(len(expected)) == expected


def test_a_site_that_connects_again_and_again_has_one_frame_in_memory(tmp_path: Path) -> None:
    with link_of(tmp_path) as (link, connect):
        for _ in range(10):
            connect(0).sendall(frame_of(bytes(1000)))
        last = connect(0)
        last.sendall(frame_of(b"last"))
        # The frame that came first holds its connection, and the newest one waits.
        assert waits_for(lambda: len(link._open) == 2)
        assert link._inbox.qsize() == 1
        with closing(begun(link)) as replies:
            assert bytes(next(replies)[1]) == b"last"


def test_a_site_that_sends_a_frame_slowly_does_not_keep_the_others_out(tmp_path: Path) -> None:
    with link_of(tmp_path, room=LARGE, stall=STALL) as (link, connect):
        slow, honest = connect(0), connect(1)
        slow.sendall(frame_of(bytes(LARGE))[:4])
        ended = threading.Event()

        def trickle() -> None:
            while not ended.wait(STALL / 5):
                try:
                    slow.sendall(bytes(PIECE_BYTES // 4))
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        assert waits_for(lambda: link._room._free == 0)
        with closing(begun(link)) as replies:
            honest.sendall(frame_of(bytes(LARGE)))
            sizes = dict((site, len(data)) for site, data in itertools.islice(replies, 2))
        ended.set()
        thread.join()
        assert sizes == {0: 0, 1: LARGE}


def test_strangers_hold_few_connections_and_a_site_gets_in_between_them(tmp_path: Path) -> None:
    with (
        link_of(tmp_path) as (link, connect),
        flood_of(connect, address=HOST, count=100) as flood,
    ):
        assert waits_for(lambda: sum(map(is_open, flood)) <= 64)
        connect(1)
        assert waits_for(lambda: set(link._connections) == {0, 1})
        # The site's own handshake has ended one more.
        assert waits_for(lambda: sum(map(is_open, flood)) <= 63)
        time.sleep(0.2)
        assert [is_open(one) for one in flood] == [False] * 37 + [True] * 63


def test_a_flood_from_one_address_ends_its_own_connections(tmp_path: Path) -> None:
    with link_of(tmp_path) as (link, connect):
        target = connect(0).getpeername()
        with (
            socket.create_connection(target, timeout=PATIENT) as slow,
            flood_of(connect, address="127.0.0.2", count=100) as flood,
        ):
            assert waits_for(lambda: sum(map(is_open, flood)) == 63)
            assert is_open(slow)
            slow.settimeout(PATIENT)
            connect(1).close()  # which makes the folder
            with site_context(tmp_path / "1").wrap_socket(slow, server_hostname=HOST):
                assert waits_for(lambda: set(link._connections) == {0, 1})


def test_a_process_without_descriptors_takes_connections_again_once_it_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with link_of(tmp_path) as (link, connect):
        accept = link._loop.sock_accept
        refusals = itertools.count()

        async def scarce(listener: socket.socket) -> tuple[socket.socket, object]:
            if next(refusals) < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return await accept(listener)

        monkeypatch.setattr(link._loop, "sock_accept", scarce)
        for site in (0, 1):
            connect(site)
        assert waits_for(lambda: set(link._connections) == {0, 1})
        assert next(refusals) > 3
