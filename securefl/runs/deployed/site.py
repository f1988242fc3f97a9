"""A site's folder, opened by its agent: records, ledger, policy, audit log and keys.

with opened_site(folder) as site:
    serve(site.agent.answer, lambda: site.agent.finished, limit=site.limit)

charter.json approval.json site.toml policy.toml ledger/ audit.jsonl answered.json reply.bin
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.apart import Membership
from securefl.channels.monotonic import FileMonotonic
from securefl.data.task import Examples
from securefl.errors import NotReady, RunFolderError
from securefl.federation.policy import Policy, load_policy
from securefl.files import locked, read_json, write_json
from securefl.privacy.data_set import Ceiling, DataSetLedger
from securefl.runs.cache import user_cache
from securefl.runs.deployed.agent import Agent, Takes
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.audit_log import AuditLog, Event
from securefl.runs.deployed.charter import CHARTER, Charter, envelope_limit
from securefl.runs.deployed.joining import POLICY
from securefl.runs.deployed.journal import ANSWERED, AUDIT, Journal
from securefl.runs.deployed.keys import check_private, signing_key
from securefl.runs.deployed.own_records import SITE, NotReadySpeaker
from securefl.runs.deployed.rules import Rules
from securefl.runs.deployed.settings import Settings, load_settings
from securefl.runs.deployed.site_records import Registered, records_at
from securefl.runs.deployed.speaker import Speaker
from securefl.scenario.assemble.evaluation import counting_parts
from securefl.scenario.assemble.ledgers import terms_of
from securefl.scenario.assemble.public import PublicParts, public_parts
from securefl.scenario.assemble.site import SiteParts, site_parts
from securefl.scenario.scenario import Scenario

APPROVAL = "approval.json"
LEDGERS = "ledger"
REGISTERED = "registered.json"


@dataclass(frozen=True)
class Folder:
    """What lies in a site's folder, without a record.

    Attributes:
        path: of the folder.
        charter: that the site works under, or is asked to.
        site: its number in the roster.
        key: its Ed25519 key.
        settings: of `site.toml`.
        policy: of `policy.toml`.
    """

    path: Path
    charter: Charter
    site: int
    key: Ed25519PrivateKey
    settings: Settings
    policy: Policy

    @classmethod
    def read(cls, path: Path, charter: Charter) -> "Folder":
        """Returns a site's folder.

        Raises:
            RunFolderError: others may read it, or its key is not in the roster.
            ScenarioError: `site.toml` or `policy.toml` is wrong.
        """
        require_private(path)
        key = signing_key(path)
        settings = load_settings(path / SITE)
        policy = load_policy(path / POLICY)
        return cls(path, charter, site_of(charter, key), key, settings, policy)

    @property
    def witness(self) -> Path | None:
        """The file on another volume; None without one."""
        return self.settings.path_of(self.settings.witness, self.path)

    @property
    def ceiling(self) -> Ceiling:
        """The budget of the data set."""
        return Ceiling(self.policy.budget.epsilon, self.policy.budget.delta)


@dataclass(frozen=True)
class OpenSite:
    """A site whose agent may answer.

    Attributes:
        agent: answers envelopes.
        limit: most bytes of an envelope.
        not_ready: what is wrong with the records; None if the site can take part.
    """

    agent: Agent
    limit: int
    not_ready: NotReady | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is to be answered; that the site is not ready is said once."""
        is_said = self.not_ready is not None and self.agent.answered > 0
        return self.agent.finished or is_said


@contextmanager
def opened_site(path: Path) -> Iterator[OpenSite]:
    """Opens a site for its agent, and holds its folder.

    Raises:
        NotReady: the records are not those that were approved.
        RunFolderError: others may read the folder, another agent holds it, no charter is approved,
            or a file is damaged or older than the site's receipt.
        SecureflError: the site refuses, or cannot take part.
    """
    require_private(path)
    with locked(path):
        log = AuditLog.opened(path / AUDIT)
        folder = Folder.read(path, approved_charter(path, log))
        site = _assembled(folder, log)
        log.note(Event.STARTED, charter=folder.charter.digest.hex())
        try:
            yield site
        finally:
            agent = site.agent
            counts = f"answered {agent.answered}, dropped {agent.dropped}"
            log.note(Event.STOPPED, charter=folder.charter.digest.hex(), reason=counts)
        if agent.stale is not None:
            raise agent.stale
        if site.not_ready is not None:
            raise site.not_ready


def approved_charter(path: Path, log: AuditLog) -> Charter:
    """Returns the charter that the site approved last.

    Raises:
        RunFolderError: there is none, or the files hold another than the audit log.
    """
    if not (path / APPROVAL).exists():
        raise RunFolderError(f"{path} has approved no charter: securefl site approve {path} FILE")
    charter = Charter.read(path / CHARTER)
    Approval.read(path / APPROVAL).check(charter)
    newest = log.approved(charter.run)
    if newest is None or newest.charter != charter.digest.hex():
        raise RunFolderError(
            f"{path / CHARTER} is not the charter that {path / AUDIT} says was approved last: "
            "approve it again"
        )
    return charter


def site_of(charter: Charter, key: Ed25519PrivateKey) -> int:
    """Returns the number of the site with a key. Raises RunFolderError: it is not in the roster."""
    public = key.public_key().public_bytes_raw()
    for site, other in charter.keys.items():
        if other == public:
            return site
    raise RunFolderError("the charter's roster does not list this site's Ed25519 key")


def require_private(path: Path) -> None:
    """Raises RunFolderError: there is no such folder, or others may look into it."""
    if not path.is_dir():
        raise RunFolderError(f"there is no folder {path}")
    check_private(path)


def register(folder: Folder, digest: str) -> None:
    """Gives a data set its ledger; files that changed keep the one that there is."""
    path = folder.path / LEDGERS / REGISTERED
    path.parent.mkdir(mode=0o700, exist_ok=True)
    known = read_json(path) if path.exists() else {"ledger": digest, "files": []}
    if digest not in known["files"][-1:]:
        write_json(path, {**known, "files": [*known["files"], digest]})


def require_registered(folder: Folder, digest: str) -> None:
    """Raises NotReady: the files are not those that were approved last."""
    if digest != _registered(folder)["files"][-1]:
        raise NotReady(
            "the files of records have changed since the charter was approved: approve it again "
            "(the ledger stays)"
        )


def ledger_of(
    folder: Folder, scenario: Scenario, digest: str | None = None
) -> DataSetLedger | None:
    """Opens the ledger of the site's data set; None where no epsilon is claimed.

    Args:
        folder: of the site.
        scenario: of the charter.
        digest: names the ledger where none is registered, before an approval.

    Raises:
        LedgerError: it is damaged.
        NotReady: no data set is registered.
    """
    terms = terms_of(scenario)
    if terms is None:
        return None
    is_new = digest is not None and not (folder.path / LEDGERS / REGISTERED).exists()
    name = digest if is_new else _registered(folder)["ledger"]
    path = folder.path / LEDGERS / f"{name}.jsonl"
    return DataSetLedger(path, folder.charter.run, terms, folder.ceiling)


def _registered(folder: Folder) -> dict[str, Any]:
    path = folder.path / LEDGERS / REGISTERED
    if not path.exists():
        raise NotReady(f"the records are not registered: securefl site approve {folder.path} FILE")
    return read_json(path)


def parts_of(folder: Folder, records: Examples, ledger: DataSetLedger | None) -> SiteParts:
    """Returns everything that the site's client is joined from.

    Raises:
        RunFolderError: code, layout or first model here are not the charter's.
    """
    charter = folder.charter
    public = public_parts(charter.scenario(), run=charter.run)
    charter.check_public(public)
    remember = user_cache().remember
    return site_parts(public, folder.site, records, ledger=ledger, remember=remember)


def _assembled(folder: Folder, log: AuditLog) -> OpenSite:
    """Returns the site, which says that it is not ready if its records are not what was agreed."""
    charter = folder.charter
    scenario = charter.scenario()
    ledger = ledger_of(folder, scenario)
    # Missing though the site has approved: whoever removed it could ask for everything again.
    monotonic = FileMonotonic(folder.path / ANSWERED)
    journal = journal_of(folder, log, monotonic, ledger)
    journal.require_current()
    rules = Rules(folder.policy, charter, log)
    rules.check()
    limit = envelope_limit(scenario)

    def agent(speaker: Takes) -> Agent:
        site = (charter, folder.site, folder.key, speaker)
        return Agent(*site, limit=limit, journal=journal, rules=rules)

    try:
        records = records_at(folder.path, scenario, folder.site)
        require_registered(folder, records.digest)
    except NotReady as reason:
        return OpenSite(agent(NotReadySpeaker(reason)), limit, reason)
    parts = parts_of(folder, records.train, ledger)
    member = Membership(folder.site, folder.key, charter.keys, charter.server_key, monotonic)
    counting = _counting(folder, parts.public, member, records)
    speaker = Speaker(
        parts, member, rules.permit, counting, charter=charter, terms=_terms_at(folder, "")
    )
    return OpenSite(agent(speaker), limit)


def _counting(
    folder: Folder, public: PublicParts, member: Membership, records: Registered
) -> Speaker | None:
    """Returns what speaks for the counts on records that judge; None where none leave."""
    if records.judging is None:
        return None
    ledger = folder.path / LEDGERS / f"{records.digest}.{public.run}.judging.jsonl"
    parts = counting_parts(public, folder.site, records.judging, ledger=ledger)
    # It trains nothing: the charter's number of evaluations bounds it.
    return Speaker(parts, member, lambda round: None, terms=_terms_at(folder, "judging."))


def _terms_at(folder: Folder, sum_of: str) -> Callable[[int], Path]:
    """Returns session -> the file of the terms of one of its sums."""
    run = folder.charter.run
    return lambda session: folder.path / f"terms.{run}.{sum_of}{session}.json"


def journal_of(
    folder: Folder, log: AuditLog, monotonic: FileMonotonic, ledger: DataSetLedger | None
) -> Journal:
    """Returns the memory of a site under its charter."""
    return Journal(
        folder.path,
        folder.charter.digest,
        folder.site,
        folder.key,
        log=log,
        monotonic=monotonic,
        ledger=ledger,
        witness=folder.witness,
    )
