"""What a site's administrator can check before a start; nothing of it is sent.

for check in checks_of(folder, log):
check.run()  # a sentence on what was looked at, or the reason for a refusal
"""

import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from securefl.channels.monotonic import FileMonotonic
from securefl.errors import RunFailed, RunFolderError
from securefl.runs.deployed.approving import outlook_of, require_budget
from securefl.runs.deployed.audit_log import AuditLog
from securefl.runs.deployed.certificates import (
    CA_CERTIFICATE,
    TLS_CERTIFICATE,
    check_certificate,
    site_context,
)
from securefl.runs.deployed.charter import envelope_limit
from securefl.runs.deployed.documents import utc_now
from securefl.runs.deployed.journal import ANSWERED
from securefl.runs.deployed.own_records import own_paths
from securefl.runs.deployed.site_folder import (
    Folder,
    journal_of,
    ledger_of,
    require_figures,
    require_registered,
)
from securefl.runs.deployed.site_records import Registered, records_at
from securefl.scenario.assemble.site_data import check_site_data

_SPARE_BYTES = 64 << 20
_COPIES = 4  # of an envelope: the reply, its temporary file, and as much again
_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_REFUSE = 1.0


class Check(NamedTuple):
    """One thing to look at.

    Attributes:
        name: in a word or two.
        run: returns a sentence; raises SecureflError.
    """

    name: str
    run: Callable[[], str]


def checks_of(folder: Folder, log: AuditLog) -> Iterator[Check]:
    """Yields everything that a start needs, the cheap things first.

    Args:
        folder: of the site, with the charter that it approved.
        log: its audit log, which was verified when it was opened.
    """
    yield Check("clock", lambda: _clock(folder))
    yield Check("certificates", lambda: _certificates(folder))
    yield Check("disk", lambda: _disk(folder))
    yield Check("receipts", lambda: _receipts(folder, log))
    yield Check("records", lambda: _records(folder))
    yield Check("policy", lambda: _policy(folder))
    yield Check("connection", lambda: _connection(folder))


def _clock(folder: Folder) -> str:
    charter = folder.charter
    charter.check_clock(utc_now())
    return f"the charter of epoch {charter.epoch} is valid until {charter.valid_until}"


def _certificates(folder: Folder) -> str:
    for name in (TLS_CERTIFICATE, CA_CERTIFICATE):
        check_certificate(folder.path / name, utc_now())
    return "both are valid now"


def _disk(folder: Folder) -> str:
    needed = _COPIES * envelope_limit(folder.charter.scenario()) + _SPARE_BYTES
    free = shutil.disk_usage(folder.path).free
    if free < needed:
        raise RunFolderError(
            f"{folder.path} lies on a disk with {free >> 20} MB left, a round needs "
            f"{needed >> 20} MB"
        )
    return f"{free >> 20} MB are left, a round needs {needed >> 20} MB"


def _receipts(folder: Folder, log: AuditLog) -> str:
    scenario = folder.charter.scenario()
    monotonic = FileMonotonic(folder.path / ANSWERED)
    journal_of(folder, log, monotonic, ledger_of(folder, scenario)).require_current()
    require_figures(folder, log)
    if folder.witness is None:
        return "site.toml names no witness: only the coordinator's receipts show an old folder"
    return f"no file is older than {folder.witness}"


def _records(folder: Folder) -> str:
    scenario = folder.charter.scenario()
    if not scenario.facts.data_set.published:
        check_site_data(scenario, folder.site, own_paths(folder.path))
    records = records_at(folder.path, scenario, folder.site)
    require_registered(folder, records.digest)
    return f"{len(records.train)} training records, as declared and as approved"


def _policy(folder: Folder) -> str:
    scenario = folder.charter.scenario()
    records: Registered = records_at(folder.path, scenario, folder.site)
    outlook = outlook_of(folder, records)
    folder.policy.check(outlook.proposal)
    require_budget(outlook)
    if outlook.cost is None:
        return "allows this federation, which claims no epsilon"
    return (
        f"allows this federation: epsilon {outlook.spent:.4g} is spent on the data set, "
        f"{outlook.proposal.total_epsilon:.4g} of {folder.ceiling.epsilon:g} at its end"
    )


def _connection(folder: Folder) -> str:
    """Shakes hands with the coordinator, if it is there; certificates are all that it sees."""
    charter = folder.charter
    address = f"{charter.host}:{charter.port}"
    context = site_context(folder.path)
    try:
        with (
            socket.create_connection(
                (charter.host, charter.port), timeout=_SECONDS_TO_CONNECT
            ) as plain,
            context.wrap_socket(plain, server_hostname=charter.host) as connection,
        ):
            if _is_ended(connection):
                raise RunFailed(
                    f"{address} does not take this site's certificate: ask whether it is admitted"
                )
            return f"{address} has the certificate of the invitation's CA"
    except ssl.SSLCertVerificationError as reason:
        raise RunFailed(
            f"the certificate of {address} is refused: {reason.verify_message}"
        ) from None
    except OSError:
        return f"nobody answers at {address} now; the agent will try again until somebody does"


def _is_ended(connection: ssl.SSLSocket) -> bool:
    """Whether the other side ends it: in TLS 1.3 it reads our certificate after the handshake."""
    connection.settimeout(_SECONDS_TO_REFUSE)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
