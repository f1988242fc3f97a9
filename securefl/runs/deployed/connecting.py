"""What `site check` sees of the coordinator: its certificate, the link, and its clock.

connection(folder)  # "fed.example.org:9092 answers on the direct link, ..."

Flower refuses a message whose time is 5 s ahead of its own clock, or 300 s behind, with the same
answer as a foreign key. So the check compares the clocks beforehand.
"""

import http.client
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

_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_REFUSE = 1.0
_HALF_A_SECOND = 0.5  # HTTP's time has no fraction


def connection(folder: Folder, clock: Callable[[], float] = time.time) -> str:
    """Shakes hands with the coordinator, if it answers; says what was found.

    The coordinator sees a certificate on the direct link. Over Flower it sees a request for a path
    that does not exist.

    Args:
        folder: of the site, with its charter.
        clock: seconds since 1970, UTC.

    Raises:
        RunFailed: a certificate is refused, on either side, or Flower would refuse this clock.
    """
    host, port = folder.charter.host, folder.charter.port
    context = site_context(folder.path)
    try:
        with (
            socket.create_connection((host, port), timeout=_SECONDS_TO_CONNECT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            is_direct = secured.selected_alpn_protocol() == DIRECT
            if is_direct and _is_ended(secured):
                raise RunFailed(
                    f"{host}:{port} does not take this site's certificate: ask whether it is "
                    "admitted"
                )
        if is_direct:
            return f"{host}:{port} answers on the direct link, with the invitation's certificate"
        ahead = seconds_ahead(host, port, context, clock)
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


def seconds_ahead(
    host: str, port: int, context: ssl.SSLContext, clock: Callable[[], float] = time.time
) -> float:
    """Returns how far this machine's clock is ahead of a gate's, within about a second.

    Raises:
        OSError: nobody answers.
        RunFailed: the answer is not HTTP, or bears no time.
    """
    link = http.client.HTTPSConnection(host, port, timeout=_SECONDS_TO_CONNECT, context=context)
    try:
        start = clock()
        link.request("GET", "/")
        date = link.getresponse().getheader("date", "")
        middle = (start + clock()) / 2
        there = parsedate_to_datetime(date).timestamp() + _HALF_A_SECOND
    except (http.client.HTTPException, ValueError):
        raise RunFailed(
            f"{host}:{port} has the certificate of the invitation's CA, and is no coordinator"
        ) from None
    finally:
        link.close()
    return middle - there


def _is_ended(connection: ssl.SSLSocket) -> bool:
    """Whether the other side ends it: in TLS 1.3 it reads our certificate after the handshake."""
    connection.settimeout(_SECONDS_TO_REFUSE)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
