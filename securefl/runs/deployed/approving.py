"""A site's administrator approves a charter: policy and records are checked, then it is signed.

outlook = approve_charter(path, Charter.read(file))   # approval.json, for the coordinator
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from securefl.channels.monotonic import FileMonotonic
from securefl.errors import BudgetExceeded, RunFolderError, ScenarioError
from securefl.federation.policy_text import with_code
from securefl.federation.proposal import Proposal
from securefl.files import disk_errors, locked, read_text, write_atomic
from securefl.privacy.data_set import DataSetLedger
from securefl.privacy.events import PrivacyEvent
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.audit_log import AuditLog, Event
from securefl.runs.deployed.certificates import install
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.figures import require_figures, spent_on_figures
from securefl.runs.deployed.invitation import INVITATION, Invitation
from securefl.runs.deployed.joining import POLICY
from securefl.runs.deployed.journal import ANSWERED, AUDIT, require_ledger
from securefl.runs.deployed.rules import proposal_of
from securefl.runs.deployed.site import parts_of
from securefl.runs.deployed.site_folder import (
    APPROVAL,
    Folder,
    held_ledgers,
    journal_of,
    ledger_of,
    register,
    require_private,
)
from securefl.runs.deployed.site_records import Registered, records_at
from securefl.scenario.scenario import Scenario

_WITNESSED = "witnessed"  # an approval


@dataclass(frozen=True)
class Outlook:
    """What a charter costs a site.

    Attributes:
        proposal: what it asks, in the terms of the policy.
        spent: epsilon of everything before, at the policy's delta.
        cost: of one training; None where none is claimed.
        rounds: further trainings that the budget of the run allows; None without a claim.
    """

    proposal: Proposal
    spent: float
    cost: PrivacyEvent | None
    rounds: int | None


def approve_charter(path: Path, charter: Charter, *, rehearsed: bool = False) -> Outlook:
    """Approves a charter for the site of a folder, which it holds meanwhile; see `approve`.

    Raises:
        RunFolderError: the disk is full, besides what `approve` raises.
    """
    require_private(path)
    with disk_errors(path), locked(path), ExitStack() as held:
        folder = Folder.read(path, charter)
        held.enter_context(held_ledgers(folder))
        records = records_at(path, charter.scenario(), folder.site)
        log = AuditLog.opened(path / AUDIT)
        return approve(folder, records, log, rehearsed=rehearsed)


def outlook_of(folder: Folder, records: Registered) -> Outlook:
    """Returns what a charter would cost; writes nothing.

    Raises:
        LedgerError: the ledger is damaged.
        RunFolderError: the code here is not the charter's.
        ScenarioError: no noise meets the claim.
    """
    scenario = folder.charter.scenario()
    ledger = ledger_of(folder, scenario, records.digest)
    parts = parts_of(folder, records.train, ledger)
    cost = parts.trainer.cost
    spent, total, rounds = 0.0, float("inf"), None
    if cost is not None:
        spent = ledger.epsilon_with(cost, 0)
        allowed = ledger.allowed(cost, most=ledger.count(cost) + scenario.rounds)
        # The run's own budget may end it before its last round.
        total = ledger.epsilon_with(cost, min(scenario.rounds, allowed))
        rounds = allowed - ledger.count(cost)
    asked = proposal_of(folder.charter, scenario)
    proposal = replace(
        asked,
        total_epsilon=total,
        rounds=folder.charter.rounds,
        earlier=ledger.places,
        test_epsilon=asked.test_epsilon + spent_on_figures(folder, records.digest),
    )
    return Outlook(proposal, spent, cost, rounds)


def approve(
    folder: Folder, records: Registered, log: AuditLog, *, rehearsed: bool = False
) -> Outlook:
    """Checks a charter, signs it, and keeps everything that an agent needs.

    The approval is written last: a crash before leaves a site without one, and the same command
    begins again.

    Args:
        folder: of the site.
        records: of the site.
        log: the audit log, whose folder the caller holds.
        rehearsed: whether noise may come from a seed, because all sites are on this machine.

    Raises:
        BudgetExceeded: the run's budget does not last for one round.
        PolicyRefused: with a sentence for each violation.
        RunFolderError: the charter is older than one that was approved, of another coordinator, or
            not of this code; or the ledger or the witness is gone.
        ScenarioError: noise is seeded, outside a rehearsal.
    """
    charter = folder.charter
    invitation = Invitation.read(folder.path / INVITATION)
    invitation.check(charter)
    _require_newest(charter, log)
    if not rehearsed:
        refuse_seeds(charter.scenario())
    require_ledger(folder.path, log, ledger_of(folder, charter.scenario(), records.digest))
    require_figures(folder, log)
    _require_witness(folder, log)
    outlook = outlook_of(folder, records)
    folder.policy.check(outlook.proposal, pins=True)
    require_budget(outlook)
    policy = folder.path / POLICY
    text = with_code(read_text(policy), code=charter.code, layout=charter.layout)
    write_atomic(policy, text.encode())
    register(folder, records.digest)
    _begin_numbers(folder.path, log)
    log.note(
        Event.APPROVED,
        charter=charter.digest.hex(),
        run=charter.run,
        epoch=charter.epoch,
        kind=None if folder.witness is None else _WITNESSED,
    )
    _begin_witness(folder, log, ledger_of(folder, charter.scenario()))
    charter.write(folder.path / CHARTER)
    certificate = charter.roster[str(folder.site)].certificate
    install(folder.path, certificate, invitation.authority)
    Approval.signed(charter, folder.site, folder.key).write(folder.path / APPROVAL)
    return outlook


def refuse_seeds(scenario: Scenario) -> None:
    """Raises ScenarioError: noise or secrets come from a seed, which all parties know."""
    if scenario.privacy is not None and scenario.privacy.noise == "seeded":
        raise ScenarioError(
            "privacy.noise = 'seeded' is for rehearsals: everybody who has the charter could "
            "remove the noise"
        )
    if scenario.channel.secrets == "seeded":
        raise ScenarioError(
            "channel.secrets = 'seeded' is for rehearsals: everybody who has the charter knows the "
            "secrets of the set-up"
        )


def require_budget(outlook: Outlook) -> None:
    """Raises BudgetExceeded: the run's own budget does not allow a single training."""
    if outlook.rounds is not None and outlook.rounds < 1:
        raise BudgetExceeded(
            f"epsilon {outlook.proposal.epsilon:g} does not allow a single training of this run"
        )


def _require_newest(charter: Charter, log: AuditLog) -> None:
    newest = log.approved(charter.run)
    if newest is None or newest.epoch is None or newest.charter == charter.digest.hex():
        return
    if charter.epoch <= newest.epoch:
        raise RunFolderError(
            f"the charter has epoch {charter.epoch}, and epoch {newest.epoch} of this run was "
            "approved before: an older charter is not approved again"
        )


def _begin_numbers(path: Path, log: AuditLog) -> None:
    """Makes the file of numbers at the first approval, and never again."""
    if any(line.event is Event.APPROVED for line in log.lines):
        FileMonotonic(path / ANSWERED)
        return
    if not (path / ANSWERED).exists():
        FileMonotonic.create(path / ANSWERED)


def _require_witness(folder: Folder, log: AuditLog) -> None:
    """Raises RunFolderError: the last approval put a receipt into the witness, and it is gone."""
    approvals = [line for line in log.lines if line.event is Event.APPROVED]
    if not approvals or approvals[-1].kind != _WITNESSED:
        return
    if folder.witness is not None and not folder.witness.exists():
        raise RunFolderError(
            f"the witness {folder.witness} is gone, which the last approval has written: mount its "
            "volume; to begin a new one, approve once without witness in site.toml"
        )


def _begin_witness(folder: Folder, log: AuditLog, ledger: DataSetLedger) -> None:
    """Puts the present state into the witness, so that a missing one is noticed from now on."""
    monotonic = FileMonotonic(folder.path / ANSWERED)
    journal = journal_of(folder, log, monotonic, ledger)
    if folder.witness is not None and folder.witness.exists():
        journal.require_current()
    try:
        journal.testify()
    except OSError as reason:
        raise ScenarioError(
            f"cannot write the witness {folder.witness}: {reason.strerror}"
        ) from None
