"""Unix sockets between our processes and Flower's relay, and the frames on them.

A frame is length, site, tag (4, 4 and 8 bytes, little-endian) and as many bytes. `relay/relay.py`
has the same format, since Flower runs it in an environment of its own.
"""

import os
import pwd
import socket
import struct
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from securefl.channels.protocol import Packet
from securefl.errors import ScenarioError

_HEAD = struct.Struct("<IIQ")
_PEER = struct.Struct("iII")  # pid, uid, gid
_MAX_PATH_BYTES = 107
_SECONDS_FOR_A_FRAME = 60.0
_SECONDS_BETWEEN_LOOKS = 0.5  # at whether the run is over


class Frame(NamedTuple):
    """What travels on a socket.

    Attributes:
        site: that it goes to or comes from; 0 at a site, which knows its own number.
        tag: a request's, which its reply repeats.
        data: an envelope; no bytes where nobody listens at the site.
    """

    site: int
    tag: int
    data: Packet


def user_id(name: str) -> int:
    """Returns the number of an account. Raises ScenarioError: there is none of that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ScenarioError(f"relay_user = {name!r} names no account of this machine") from None


def bound(path: Path, *, relay: int | None = None) -> socket.socket:
    """Returns a listening socket that only its owner, or the relay's account, can connect to.

    Args:
        path: of the socket; its folder is made, and a socket of an earlier process is replaced.
        relay: the account that Flower's processes run under; None for this one.

    Raises:
        ScenarioError: the path is too long for a socket, or this account cannot give it away.
    """
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ScenarioError(f"{path} is too long for a socket: {_MAX_PATH_BYTES} bytes at most")
    foreign = relay is not None and relay != os.getuid()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o711 if foreign else 0o700)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)  # never open to others, not even for a moment
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    if relay is not None and foreign:
        try:
            os.chown(path, relay, -1)
        except PermissionError:
            listener.close()
            raise ScenarioError(
                "only root can give a socket to relay_user; run as root or remove relay_user"
            ) from None
    listener.listen(16)
    return listener


def peer_of(connection: socket.socket) -> int:
    """Returns the account of the process at the other end, as the kernel knows it."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[1])


def receive(connection: socket.socket, limit: int) -> Frame | None:
    """Returns the next frame; None where the connection ends, or the frame is beyond the limit."""
    head = _exactly(connection, _HEAD.size)
    if head is None:
        return None
    length, site, tag = _HEAD.unpack(head)
    if length > limit:
        return None
    data = _exactly(connection, length)
    return None if data is None else Frame(site, tag, data)


def send(connection: socket.socket, site: int, tag: int, pieces: Sequence[Packet]) -> None:
    """Sends a frame whose bytes come in pieces. Raises OSError: the connection is gone."""
    connection.sendall(_HEAD.pack(sum(map(len, pieces)), site, tag))
    for piece in pieces:
        if piece:  # the other end may have replied to the head alone, and be gone
            connection.sendall(piece)


def _exactly(connection: socket.socket, length: int) -> bytearray | None:
    """Returns so many bytes; None where the connection ends or falls silent before."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        try:
            count = connection.recv_into(view)
        except OSError:
            return None
        if count == 0:
            return None
        view = view[count:]
    return buffer


def serve_relay(
    listener: socket.socket,
    answer: Callable[[bytes], bytes | None],
    is_finished: Callable[[], bool],
    *,
    limit: int,
    users: Collection[int],
) -> None:
    """Answers the frames of a site's relay, one a connection, until the run is over.

    Frames are answered one after the other: the same envelope sent twice finds its reply made.

    Args:
        listener: see `bound`.
        answer: envelope -> reply; None for none, and the connection ends.
        is_finished: whether the run is over.
        limit: most bytes of an envelope.
        users: accounts whose processes are answered.
    """
    listener.settimeout(_SECONDS_BETWEEN_LOOKS)
    while not is_finished():
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection:
                if peer_of(connection) in users:
                    _answer_one(connection, answer, limit)


def _answer_one(
    connection: socket.socket, answer: Callable[[bytes], bytes | None], limit: int
) -> None:
    connection.settimeout(_SECONDS_FOR_A_FRAME)
    frame = receive(connection, limit)
    reply = None if frame is None else answer(bytes(frame.data))
    # A relay that is gone asks again; the same envelope gets the same reply.
    with suppress(OSError):
        if frame is not None and reply is not None:
            send(connection, frame.site, frame.tag, [reply])
