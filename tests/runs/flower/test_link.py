"""The coordinator's end over Flower: relays come and go, and no envelope is lost with them."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from securefl.runs.deployed.envelope import Sealed
from securefl.runs.flower import link as module
from securefl.runs.flower.link import FlowerLink
from securefl.runs.flower.sockets import Frame, bound, receive, send

LIMIT = 1000
PATIENT = 20.0


class Relay:
    """What Flower would start: it takes frames, and answers as the test says."""

    open: ClassVar[list["Relay"]] = []

    def __init__(self) -> None:
        self.open.append(self)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(PATIENT)
        self.connection.connect("socket/a")

    def take(self) -> Frame:
        frame = receive(self.connection, LIMIT)
        assert frame is not None
        return frame

    def reply(self, frame: Frame, data: bytes) -> None:
        send(self.connection, frame.site, frame.tag, [data])

    def is_over(self) -> bool:
        return receive(self.connection, LIMIT) is None


@contextmanager
def link_of(
    submit: Callable[[], bool] = lambda: True, users: set[int] | None = None
) -> Iterator[FlowerLink]:
    users = {os.getuid()} if users is None else users
    link = FlowerLink(bound(Path("socket/a")), submit, limit=LIMIT, users=users)
    with closing(link):
        yield link


@pytest.fixture(autouse=True)
def _short_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _relays_end() -> Iterator[None]:
    yield
    while Relay.open:
        Relay.open.pop().connection.close()


def test_envelopes_go_out_together_and_replies_come_back() -> None:
    with (
        link_of() as link,
        closing(link.carry({0: Sealed((b"a",)), 1: Sealed((b"b",))}, PATIENT)) as replies,
    ):
        relay = Relay()
        link.wait_for_sites(PATIENT)

        def play() -> None:
            frames = [relay.take(), relay.take()]
            for frame in reversed(frames):
                relay.reply(frame, b"reply to " + bytes(frame.data))

        threading.Thread(target=play).start()
        assert [next(replies), next(replies)] == [(1, b"reply to b"), (0, b"reply to a")]


def test_a_new_relay_gets_what_had_no_reply_with_the_same_bytes() -> None:
    with link_of() as link:
        first = Relay()
        link.wait_for_sites(PATIENT)
        with closing(link.carry({0: Sealed((b"a",)), 1: Sealed((b"b",))}, PATIENT)) as replies:
            threading.Thread(target=lambda: first.reply(first.take(), b"done")).start()
            assert next(replies) == (0, b"done")
            sent = first.take()
            first.connection.close()
            second = Relay()
            assert second.take() == sent
            second.reply(sent, b"done too")
            assert next(replies) == (1, b"done too")


def test_a_second_relay_takes_the_place_of_the_first() -> None:
    with link_of() as link:
        first = Relay()
        link.wait_for_sites(PATIENT)
        second = Relay()
        assert first.is_over()
        with closing(link.carry({0: Sealed((b"a",))}, PATIENT)) as replies:
            threading.Thread(target=lambda: second.reply(second.take(), b"done")).start()
            assert next(replies) == (0, b"done")


def test_an_envelope_without_a_reply_goes_out_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SECONDS_UNTIL_SENT_AGAIN", 0.02)
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)

        def play() -> None:
            frames = [relay.take() for _ in range(3)]
            assert frames[0] == frames[1] == frames[2]
            relay.reply(frames[0], b"done")

        threading.Thread(target=play).start()
        assert next(link.carry({0: Sealed((b"a",))}, PATIENT)) == (0, b"done")


def test_an_envelope_goes_out_again_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_UNTIL_SENT_AGAIN", 0.02)
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)
        assert list(link.carry({0: Sealed((b"a",))}, 0.5)) == []
    frames = 0
    while receive(relay.connection, LIMIT) is not None:
        frames += 1
    assert 2 <= frames <= 6  # at once, then after 0.02, 0.06, 0.14 and 0.3 seconds


def test_a_late_reply_a_second_one_and_one_from_nowhere_change_nothing() -> None:
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)
        assert list(link.carry({0: Sealed((b"a",)), 1: Sealed((b"b",))}, 0.05)) == []
        late = relay.take()
        relay.take()
        with closing(link.carry({0: Sealed((b"c",))}, PATIENT)) as replies:

            def play() -> None:
                frame = relay.take()
                relay.reply(late, b"late")
                relay.reply(frame._replace(site=1), b"not asked")
                relay.reply(frame._replace(site=9), b"not a site")
                relay.reply(frame, b"done")
                relay.reply(frame, b"again")

            threading.Thread(target=play).start()
            assert next(replies) == (0, b"done")
        assert list(link.carry({}, 0.05)) == []


def test_a_trip_ends_when_its_time_is_over_without_any_relay() -> None:
    with link_of() as link:
        link.wait_for_sites(0.01)
        assert list(link.carry({0: Sealed((b"a",))}, 0.05)) == []


def test_a_site_whose_agent_is_gone_is_reported() -> None:
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)
        with closing(link.carry({0: Sealed((b"a",))}, PATIENT)) as replies:
            threading.Thread(target=lambda: relay.reply(relay.take(), b"")).start()
            assert next(replies) == (0, b"")


def test_a_relay_is_asked_for_until_one_connects_and_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SECONDS_AFTER_A_FAILURE", 0.01)
    asked: list[float] = []
    again = threading.Semaphore(0)

    def submit() -> bool:
        asked.append(time.monotonic())
        again.release()
        return len(asked) >= 3

    with link_of(submit) as link:
        for _ in range(3):
            assert again.acquire(timeout=PATIENT)
        relay = Relay()
        link.wait_for_sites(PATIENT)
        assert len(asked) == 3
        relay.connection.close()
        assert again.acquire(timeout=PATIENT)


def test_a_relay_of_a_foreign_account_is_refused() -> None:
    with link_of(users={os.getuid() + 1}):
        assert Relay().is_over()


def test_a_frame_beyond_the_limit_ends_the_relay() -> None:
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)
        relay.connection.sendall(struct.pack("<IIQ", LIMIT + 1, 0, 0))
        assert relay.is_over()


def test_a_reply_is_read_once_the_one_before_it_was_taken() -> None:
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)

        def play() -> None:
            frame = relay.take()
            for number in range(3):
                relay.reply(frame, bytes([number]))

        with closing(link.carry({0: Sealed((b"a",))}, PATIENT)) as replies:
            threading.Thread(target=play).start()
            for number in range(3):
                assert next(replies) == (0, bytes([number]))
                time.sleep(0.05)
                assert link._inbox.qsize() == 0


def test_a_relay_that_takes_nothing_does_not_hold_the_coordinator_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TIME_TO_SEND", struct.pack("ll", 0, 50_000))
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)
        assert list(link.carry({0: Sealed((bytes(10_000_000),))}, 0.1)) == []
        assert link._absent.wait(PATIENT)
        relay.connection.close()


def test_the_relay_ends_with_the_link() -> None:
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)
    assert relay.is_over()


def test_a_relay_that_takes_nothing_does_not_hold_up_the_end_of_a_trip() -> None:
    with link_of() as link:
        Relay()
        link.wait_for_sites(PATIENT)
        for _ in range(2):
            assert list(link.carry({0: Sealed((bytes(5_000_000),))}, 0.1)) == []
        # It is still there, and was not waited for.
        assert link._relay is not None


def test_relays_that_come_one_after_the_other_leave_no_more_replies_than_one() -> None:
    with link_of() as link:
        relay = Relay()
        link.wait_for_sites(PATIENT)

        def play() -> None:
            frame = relay.take()
            relay.reply(frame, b"first")
            for number in range(3):
                Relay().reply(frame, bytes([number]))

        with closing(link.carry({0: Sealed((b"a",))}, PATIENT)) as replies:
            thread = threading.Thread(target=play)
            thread.start()
            assert next(replies) == (0, b"first")
            thread.join()
            time.sleep(0.1)
            assert link._inbox.qsize() == 0
            assert next(replies)[0] == 0
