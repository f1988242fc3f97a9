"""What a site's administrator can check before a start; nothing of it is sent.

for check in checks_of(folder, log):
check.run()  # a sentence on what was looked at, or the reason for a refusal
"""

import shutil
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from securefl.channels.monotonic import FileMonotonic
from securefl.errors import RunFolderError
from securefl.runs.deployed.approving import outlook_of, require_budget
from securefl.runs.deployed.audit_log import SECONDS_A_DAY, AuditLog
from securefl.runs.deployed.certificates import (
    CA_CERTIFICATE,
    TLS_CERTIFICATE,
    check_certificate,
)
from securefl.runs.deployed.charter import envelope_limit
from securefl.runs.deployed.connecting import connection
from securefl.runs.deployed.documents import stamp, utc_now
from securefl.runs.deployed.figures import require_figures
from securefl.runs.deployed.journal import ANSWERED
from securefl.runs.deployed.own_records import own_paths
from securefl.runs.deployed.site_folder import (
    Folder,
    journal_of,
    ledger_of,
    require_registered,
)
from securefl.runs.deployed.site_records import Registered, records_at
from securefl.scenario.assemble.site_data import check_site_data

_SPARE_BYTES = 64 << 20
_COPIES = 4  # of an envelope: the reply, its temporary file, and as much again


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
    yield Check("rounds", lambda: _rounds(folder, log))
    yield Check("connection", lambda: connection(folder))


def _clock(folder: Folder) -> str:
    charter = folder.charter
    charter.check_clock(utc_now())
    return (
        f"it is {stamp(utc_now())} here; the charter of epoch {charter.epoch} is valid until "
        f"{charter.valid_until}"
    )


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
    declared = scenario.facts.public_records
    told = "" if declared is None else f", {declared[folder.site]} declared"
    return f"{len(records.train)} training records{told}; the files that were approved"


def _rounds(folder: Folder, log: AuditLog) -> str:
    """Says how many trainings the policy leaves today: a round beyond them goes on without us."""
    a_day = folder.policy.rounds.a_day
    used = len(log.trainings(since=time.time() - SECONDS_A_DAY))
    left = folder.charter.rounds - len(log.trainings(charter=folder.charter.digest.hex()))
    text = (
        f"rounds.a_day = {a_day} leaves {max(0, a_day - used)} trainings today, {left} are to come"
    )
    return text if a_day - used >= left else f"{text}: the site will decline the others"


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
