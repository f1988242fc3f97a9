"""The coordinator's end of the link over Flower: a Unix socket that the relay connects to.

Flower's processes come and go. An envelope without a reply is sent again, with the same bytes: to
every new relay, and from time to time, since a killed SuperNode takes an envelope with it.

A reply is read once the one before it was taken.
"""

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import suppress

from securefl.channels.protocol import Packet
from securefl.runs.deployed.envelope import Sealed
from securefl.runs.flower import sockets

_SECONDS_UNTIL_SENT_AGAIN = 30.0  # doubled each time
_TIME_TO_SEND = struct.pack("ll", 60, 0)  # seconds and microseconds
_SECONDS_UNTIL_SUBMITTED_AGAIN = 30.0  # where a submitted relay does not connect
_SECONDS_AFTER_A_FAILURE = 2.0


class FlowerLink:
    """Carries envelopes through the relay that is connected, whichever that is.

    Args:
        listener: see `sockets.bound`; the link closes it.
        submit: asks Flower to start a relay; False if that failed.
        limit: most bytes of an envelope.
        users: accounts whose processes may be the relay.
    """

    def __init__(
        self,
        listener: socket.socket,
        submit: Callable[[], bool],
        *,
        limit: int,
        users: Collection[int],
    ) -> None:
        self._listener = listener
        self._submit = submit
        self._limit = limit
        self._users = frozenset(users)
        self._tag = 0
        self._sites: frozenset[int] = frozenset()  # of this trip
        self._waiting: dict[int, Sealed] = {}  # those without any reply -> their envelope
        self._inbox: queue.Queue[tuple[int, Packet]] = queue.Queue()
        self._relay: socket.socket | None = None
        self._lock = threading.Lock()  # over the five above it
        self._reading = threading.Lock()
        self._due = threading.Event()  # whether the relay lacks something
        self._closed = threading.Event()
        self._present = threading.Event()
        self._absent = threading.Event()
        self._absent.set()
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._accept, self._order, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for_sites(self, seconds: float) -> None:
        """Returns when a relay is connected, or when the time is over."""
        self._present.wait(seconds)

    def carry(
        self, envelopes: Mapping[int, Sealed], seconds: float
    ) -> Generator[tuple[int, Packet], None, None]:
        """Sends all envelopes at once and yields replies as they come; see `desk.Link`."""
        with self._lock:
            self._tag += 1
            self._sites = frozenset(envelopes)
            self._waiting = dict(envelopes)
        self._due.set()
        try:
            yield from self._replies(time.monotonic() + seconds)
        finally:
            with self._lock:
                self._sites = frozenset()
                self._waiting = {}
            while not self._inbox.empty():  # too late
                self._inbox.get()
                self._inbox.task_done()

    def _replies(self, end: float) -> Generator[tuple[int, Packet], None, None]:
        interval = _SECONDS_UNTIL_SENT_AGAIN
        again = time.monotonic() + interval
        while (left := end - time.monotonic()) > 0:
            try:
                arrival = [self._inbox.get(timeout=min(left, max(0.0, again - time.monotonic())))]
            except queue.Empty:
                if time.monotonic() >= again:
                    self._due.set()
                    interval *= 2
                    again = time.monotonic() + interval
                continue
            try:
                yield arrival.pop()
            finally:
                self._inbox.task_done()

    def close(self) -> None:
        """Ends the connection, with which the relay ends."""
        self._closed.set()
        self._drop(self._relay)
        self._due.set()
        self._present.set()
        self._absent.set()
        # A closed listener would not wake the thread that waits for it.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _send(self) -> None:
        """Sends what is due; a relay that takes it slowly holds up nothing but this thread."""
        while not self._closed.is_set():
            self._due.wait()
            self._due.clear()
            self._send_waiting()

    def _send_waiting(self) -> None:
        """Sends every envelope without a reply to the relay, if there is one."""
        with self._lock:
            relay, tag, waiting = self._relay, self._tag, dict(self._waiting)
        if relay is None:
            return
        try:
            for site, envelope in waiting.items():
                sockets.send(relay, site, tag, envelope.pieces)
        except OSError:
            self._drop(relay)

    def _accept(self) -> None:
        """Takes relays; a new one replaces the one before it."""
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if sockets.peer_of(connection) not in self._users:
                connection.close()
                continue
            # A relay that hangs does not hold the coordinator up.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME_TO_SEND)
            self._drop(self._relay)
            with self._lock:
                self._relay = connection
            self._absent.clear()
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()
            self._due.set()
            self._present.set()

    def _listen(self, relay: socket.socket) -> None:
        """Takes the replies of one relay until it is gone."""
        with relay:
            while self._take_reply(relay):
                pass
            self._drop(relay)

    def _take_reply(self, relay: socket.socket) -> bool:
        """Takes one reply, and waits until the desk has it; False if the relay is gone."""
        # One large reply at a time, also of relays that come one after the other.
        with self._reading:
            frame = sockets.receive(relay, self._limit)
            if frame is None:
                return False
            with self._lock:
                # Late, or from nowhere: nobody waits for it.
                if frame.tag == self._tag and frame.site in self._sites:
                    # Whether it is the site's reply only the desk can say.
                    self._waiting.pop(frame.site, None)
                    self._inbox.put((frame.site, frame.data))
            del frame
            self._inbox.join()
        return True

    def _drop(self, relay: socket.socket | None) -> None:
        """Ends a relay's connection, if it is the one in use."""
        if relay is None:
            return
        with self._lock:
            if self._relay is relay:
                self._relay = None
                self._present.clear()
                self._absent.set()
        with suppress(OSError):
            relay.shutdown(socket.SHUT_RDWR)  # wakes the thread that listens, which closes it

    def _order(self) -> None:
        """Asks Flower for a relay whenever there is none."""
        while not self._closed.is_set():
            self._absent.wait()
            if self._closed.is_set():
                return
            submitted = self._submit()
            wait = _SECONDS_UNTIL_SUBMITTED_AGAIN if submitted else _SECONDS_AFTER_A_FAILURE
            self._present.wait(wait)
