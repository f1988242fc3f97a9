"""Unix sockets: private, for known accounts, and with frames that have a limit."""

import os
import queue
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.runs.flower import sockets
from securefl.runs.flower.sockets import Frame, bound, receive, send, serve_relay, user_id

LIMIT = 1000
OURS = os.getuid()
PATIENT = 20.0


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose relative path fits into a socket's name, however deep it is."""
    monkeypatch.chdir(tmp_path_factory.mktemp("s"))
    return Path("folder")


@contextmanager
def served(
    path: Path, answer: Callable[[bytes], bytes | None], *, users: set[int] | None = None
) -> Iterator[None]:
    over = threading.Event()
    with closing(bound(path)) as listener:
        thread = threading.Thread(
            target=serve_relay,
            args=(listener, answer, over.is_set),
            kwargs={"limit": LIMIT, "users": {OURS} if users is None else users},
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def asked(path: Path, data: bytes) -> Frame | None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENT)
        connection.connect(str(path))
        send(connection, 3, 7, [data])
        return receive(connection, 10 * LIMIT)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_SECONDS_BETWEEN_LOOKS", 0.01)


def test_a_reply_repeats_site_and_tag(short: Path) -> None:
    with served(short / "a", lambda data: b"reply to " + data):
        assert asked(short / "a", b"x") == (3, 7, b"reply to x")
        assert asked(short / "a", b"") == (3, 7, b"reply to ")


def test_an_envelope_that_is_dropped_gets_no_reply(short: Path) -> None:
    with served(short / "a", lambda data: None if data == b"bad" else b"fine"):
        assert asked(short / "a", b"bad") is None
        assert asked(short / "a", b"good") == (3, 7, b"fine")


def test_a_socket_and_its_folder_are_private(short: Path) -> None:
    with closing(bound(short / "a")):
        assert stat.S_IMODE((short / "a").stat().st_mode) == 0o600
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    mask = os.umask(0o022)
    os.umask(mask)
    assert mask != 0o177


def test_a_relay_of_another_account_gets_the_socket_and_no_list_of_the_folder(short: Path) -> None:
    if OURS != 0:
        with pytest.raises(ScenarioError, match="only root can give a socket to relay_user"):
            bound(short / "a", relay=OURS + 1)
        return
    with closing(bound(short / "a", relay=65534)):
        assert (short / "a").stat().st_uid == 65534
        assert stat.S_IMODE((short / "a").stat().st_mode) == 0o600
        assert stat.S_IMODE(short.stat().st_mode) == 0o711


def test_the_kernel_names_the_account_at_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert sockets.peer_of(ours) == OURS


def test_a_foreign_account_is_refused_before_it_is_read(short: Path) -> None:
    seen: list[bytes] = []
    with (
        served(short / "a", lambda data: seen.append(data), users={OURS + 1}),
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(PATIENT)
        connection.connect(str(short / "a"))
        assert connection.recv(1) == b""
    assert seen == []


@pytest.mark.skipif(OURS != 0, reason="only root can become another account")
def test_a_process_of_a_foreign_account_is_refused_even_at_an_open_socket(short: Path) -> None:
    with served(short / "a", lambda data: b"secret"):
        Path.cwd().chmod(0o755)
        short.chmod(0o755)
        (short / "a").chmod(0o666)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(PATIENT)
                    connection.connect(str(short / "a"))
                    os.write(write, b"got " + connection.recv(10))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(write)
        with os.fdopen(read, "rb") as file:
            assert file.read() == b"got "


def test_a_frame_beyond_the_limit_ends_the_connection(short: Path) -> None:
    seen: list[bytes] = []
    with served(short / "a", lambda data: seen.append(data)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENT)
            connection.connect(str(short / "a"))
            connection.sendall(struct.pack("<IIQ", LIMIT + 1, 0, 0))
            assert connection.recv(1) == b""
        assert asked(short / "a", bytes(LIMIT)) is None
    assert seen == [bytes(LIMIT)]


def test_a_relay_that_hangs_does_not_hold_up_the_next(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_SECONDS_FOR_A_FRAME", 0.05)
    with (
        served(short / "a", lambda data: b"fine"),
        socket.socket(socket.AF_UNIX) as silent,
        socket.socket(socket.AF_UNIX) as halfway,
    ):
        silent.connect(str(short / "a"))
        halfway.connect(str(short / "a"))
        halfway.sendall(struct.pack("<IIQ", 5, 0, 0) + b"ab")
        assert asked(short / "a", b"x") == (3, 7, b"fine")


def test_a_relay_that_is_gone_before_its_reply_harms_nobody(short: Path) -> None:
    begun: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    gone = threading.Event()

    def answer(data: bytes) -> bytes:
        begun.put(data)
        gone.wait(PATIENT)
        return b"late"

    with served(short / "a", answer):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(short / "a"))
            send(connection, 0, 0, [b"x"])
            begun.get(timeout=PATIENT)
        gone.set()
        assert asked(short / "a", b"x") == (3, 7, b"late")


def test_a_socket_of_an_earlier_process_is_replaced(short: Path) -> None:
    bound(short / "a").close()
    with served(short / "a", lambda data: b"new"):
        assert asked(short / "a", b"x") == (3, 7, b"new")


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="too long for a socket: 107 bytes"):
        bound(tmp_path / ("a" * 108))
    assert not list(tmp_path.iterdir())


def test_an_account_that_is_none_is_refused() -> None:
    assert user_id("root") == 0
    with pytest.raises(ScenarioError, match="names no account of this machine"):
        user_id("no such account")
