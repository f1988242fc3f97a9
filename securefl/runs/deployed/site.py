"""A site's folder, opened by its agent: records, ledger, policy, audit log and keys.

with opened_site(folder) as site:
    serve(site.agent.answer, lambda: site.agent.finished, limit=site.limit)

charter.json approval.json site.toml policy.toml ledger/ audit.jsonl answered.json reply.bin
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from securefl.channels.apart import Membership
from securefl.channels.monotonic import FileMonotonic
from securefl.data.task import Examples
from securefl.errors import NotReady, RunFolderError
from securefl.files import locked
from securefl.privacy.data_set import DataSetLedger
from securefl.runs.cache import user_cache
from securefl.runs.deployed.agent import Agent, Takes
from securefl.runs.deployed.audit_log import OVER, AuditLog, Event
from securefl.runs.deployed.charter import envelope_limit
from securefl.runs.deployed.counting import counting_speaker
from securefl.runs.deployed.figures import figures_ledger, require_figures, spent_on_figures
from securefl.runs.deployed.journal import ANSWERED, AUDIT
from securefl.runs.deployed.own_records import NotReadySpeaker
from securefl.runs.deployed.rules import Rules
from securefl.runs.deployed.site_folder import (
    Folder,
    approved_charter,
    held_ledgers,
    journal_of,
    ledger_of,
    require_private,
    require_registered,
)
from securefl.runs.deployed.site_records import records_at
from securefl.runs.deployed.speaker import Speaker
from securefl.scenario.assemble.evaluation import open_figures_ledger
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.assemble.site import SiteParts, site_parts


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
    with locked(path), ExitStack() as held:
        log = AuditLog.opened(path / AUDIT)
        folder = Folder.read(path, approved_charter(path, log))
        held.enter_context(held_ledgers(folder))
        site = _assembled(folder, log)
        charter = folder.charter.digest.hex()
        try:
            log.note(Event.STARTED, charter=charter)
        except OSError as reason:
            raise RunFolderError(f"cannot write into {path}: {reason.strerror}") from None
        try:
            yield site
        finally:
            agent = site.agent
            counts = f"answered {agent.answered}, dropped {agent.dropped}"
            with suppress(OSError):  # the end is no promise to anybody
                kind = OVER if agent.finished and agent.stale is None else None
                log.note(Event.STOPPED, charter=charter, reason=counts, kind=kind)
        if agent.stale is not None:
            raise agent.stale
        if site.not_ready is not None:
            raise site.not_ready


def parts_of(folder: Folder, records: Examples, ledger: DataSetLedger) -> SiteParts:
    """Returns everything that the site's client is joined from.

    A client that claims no epsilon does not know the ledger: `Rules` book its trainings.

    Raises:
        RunFolderError: code, layout or first model here are not the charter's.
    """
    charter = folder.charter
    scenario = charter.scenario()
    public = public_parts(scenario, run=charter.run)
    charter.check_public(public)
    remember = user_cache().remember
    own = ledger if scenario.claims_dp else None
    return site_parts(public, folder.site, records, ledger=own, remember=remember)


def _assembled(folder: Folder, log: AuditLog) -> OpenSite:
    """Returns the site, which says that it is not ready if its records are not what was agreed."""
    charter = folder.charter
    scenario = charter.scenario()
    ledger = ledger_of(folder, scenario)
    # Missing though the site has approved: whoever removed it could ask for everything again.
    monotonic = FileMonotonic(folder.path / ANSWERED)
    figures = open_figures_ledger(scenario, figures_ledger(folder, charter.run))
    journal = journal_of(folder, log, monotonic, ledger, figures)
    journal.require_current()
    require_figures(folder, log)
    spent = partial(spent_on_figures, folder)
    rules = Rules(folder.policy, charter, log, figures_spent=spent, books=(folder.site, ledger))
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
    if parts.trainer.cost is not None:
        ledger.prepare(parts.trainer.cost)
    member = Membership(folder.site, folder.key, charter.keys, charter.server_key, monotonic)
    counting = counting_speaker(
        folder.path,
        parts.public,
        member,
        records.judging,
        ledger=figures,
        permit=rules.permit_counting,
        charter=charter,
        terms=_terms_at(folder, "judging."),
    )
    speaker = Speaker(
        parts, member, rules.permit, counting, charter=charter, terms=_terms_at(folder, "")
    )
    return OpenSite(agent(speaker), limit)


def _terms_at(folder: Folder, sum_of: str) -> Callable[[int], Path]:
    """Returns session -> the file of the terms of one of its sums."""
    run = folder.charter.run
    return lambda session: folder.path / f"terms.{run}.{sum_of}{session}.json"
