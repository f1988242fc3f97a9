"""What `site check` sees of the coordinator: its certificate, the link, and its clock.

connection(folder)  # "fed.example.org:9092 answers on the direct link, ..."

Flower refuses a message whose time is 5 s ahead of its own clock, or 300 s behind, with the same
answer as a foreign key. So the check compares the clocks beforehand.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from securefl.errors import RunFailed
from securefl.runs.deployed.certificates import DIRECT, site_context
from securefl.runs.deployed.site_folder import Folder

# Flower 1.42, `flwr.common.constant`.
MAX_SECONDS_AHEAD = 5.0
MAX_SECONDS_BEHIND = 300.0

_SECONDS = 10.0  # for everything
_SECONDS_TO_REFUSE = 1.0
_HALF_A_SECOND = 0.5  # HTTP's time has no fraction
_MAX_BYTES_OF_A_HEAD = 65536


def connection(folder: Folder, clock: Callable[[], float] = time.time) -> str:
    """Shakes hands with the coordinator, if it answers; says what was found.

    The coordinator sees a certificate on the direct link. Over Flower it sees a request for a path
    that does not exist. Whoever answers in its place cannot make this take long.

    Args:
        folder: of the site, with its charter.
        clock: seconds since 1970, UTC.

    Raises:
        RunFailed: a certificate is refused, on either side, or Flower would refuse this clock.
    """
    host, port = folder.charter.host, folder.charter.port
    context = site_context(folder.path)
    end = time.monotonic() + _SECONDS
    try:
        with (
            socket.create_connection((host, port), timeout=_left(end)) as plain,
            _secured(plain, context, host, end) as secured,
        ):
            if secured.selected_alpn_protocol() == DIRECT:
                _require_taken(secured, host, port)
                return (
                    f"{host}:{port} answers on the direct link, with the invitation's certificate"
                )
            ahead = _seconds_ahead(secured, host, port, clock, end)
    except ssl.SSLCertVerificationError as reason:
        raise RunFailed(
            f"the certificate of {host}:{port} is refused: {reason.verify_message}"
        ) from None
    except OSError:
        return f"nobody answers at {host}:{port} now; the agent will try again until somebody does"
    require_clock(ahead)
    return (
        f"{host}:{port} answers over Flower, with the invitation's certificate: start with "
        f"--flower; this machine's clock is {abs(ahead):.0f} s "
        f"{'ahead of' if ahead > 0 else 'behind'} that of the coordinator"
    )


def require_clock(ahead: float) -> None:
    """Raises RunFailed: Flower would refuse a clock that is so many seconds ahead."""
    if not -MAX_SECONDS_BEHIND < ahead < MAX_SECONDS_AHEAD:
        raise RunFailed(
            f"this machine's clock is {abs(ahead):.0f} s "
            f"{'ahead of' if ahead > 0 else 'behind'} the coordinator's; Flower takes at most "
            f"{MAX_SECONDS_AHEAD:g} s ahead and {MAX_SECONDS_BEHIND:g} s behind: set the clock"
        )


def _seconds_ahead(
    secured: ssl.SSLSocket, host: str, port: int, clock: Callable[[], float], end: float
) -> float:
    """Returns how far this machine's clock is ahead of a gate's, within about a second.

    Raises:
        OSError: nobody answers in time.
        RunFailed: the answer is not HTTP, or bears no time.
    """
    start = clock()
    secured.settimeout(_left(end))
    secured.sendall(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    head = _head(secured, end)
    middle = (start + clock()) / 2
    try:
        status, _, lines = head.partition(b"\r\n")
        if not status.startswith(b"HTTP/1."):
            raise ValueError("not HTTP")
        date = http.client.parse_headers(io.BytesIO(lines)).get("date", "")
        there = parsedate_to_datetime(date).timestamp() + _HALF_A_SECOND
    except (http.client.HTTPException, ValueError, OverflowError):
        raise RunFailed(
            f"{host}:{port} has the certificate of the invitation's CA, and is no coordinator"
        ) from None
    return middle - there


def _head(secured: ssl.SSLSocket, end: float) -> bytes:
    """Returns an answer up to its empty line, or as far as it comes. Raises TimeoutError."""
    head = bytearray()
    while b"\r\n\r\n" not in head and len(head) < _MAX_BYTES_OF_A_HEAD:
        secured.settimeout(_left(end))
        piece = secured.recv(4096)
        if not piece:
            break
        head += piece
    return bytes(head)


def _secured(plain: socket.socket, context: ssl.SSLContext, host: str, end: float) -> ssl.SSLSocket:
    """Returns a connection after its handshake. Raises OSError."""
    plain.settimeout(_left(end))
    return context.wrap_socket(plain, server_hostname=host)


def _left(end: float) -> float:
    """Returns the seconds that are left. Raises TimeoutError: none."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the check has taken too long")
    return left


def _require_taken(secured: ssl.SSLSocket, host: str, port: int) -> None:
    """Raises RunFailed: the other side ends the connection.

    In TLS 1.3 it reads our certificate after the handshake.
    """
    secured.settimeout(_SECONDS_TO_REFUSE)
    try:
        is_ended = not secured.recv(1)
    except TimeoutError:
        is_ended = False
    except OSError:
        is_ended = True
    if is_ended:
        raise RunFailed(
            f"{host}:{port} does not take this site's certificate: ask whether it is admitted"
        )
