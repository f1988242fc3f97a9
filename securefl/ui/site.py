"""What `securefl site` does: approve a charter, check, run the agent, and read its log."""

import datetime
import math
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from securefl.errors import Interrupted, NotReady, RunFolderError, SecureflError
from securefl.federation.policy import load_policy
from securefl.federation.proposal import Proposal
from securefl.files import is_held, locked, write_json
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.past import past_of
from securefl.runs.deployed.approving import Outlook, approve_charter
from securefl.runs.deployed.audit_log import OVER, AuditLog, Event, Line, verified
from securefl.runs.deployed.certificates import site_context
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.checking import checks_of
from securefl.runs.deployed.documents import stamp
from securefl.runs.deployed.joining import POLICY
from securefl.runs.deployed.journal import AUDIT
from securefl.runs.deployed.links import serve_coordinator
from securefl.runs.deployed.own_records import SITE
from securefl.runs.deployed.process import Serve, run_site
from securefl.runs.deployed.serving import STOP, Stop
from securefl.runs.deployed.settings import load_settings
from securefl.runs.deployed.site_folder import (
    APPROVAL,
    LEDGERS,
    REGISTERED,
    Folder,
    approved_charter,
    held_ledgers,
    registered_ledger,
    require_private,
)
from securefl.runs.flower.stage import serve_site
from securefl.runs.threads import one_thread
from securefl.ui.display import Display

_WAITS_FOR_A_LINE = (0.1, 0.4)  # seconds


def approve(path: Path, file: Path, display: Display) -> None:
    """Approves a charter and shows what it costs, and the fingerprint to compare.

    Raises:
        PolicyRefused: the charter asks for more than the policy allows.
        SecureflError: see `approve_charter`.
    """
    require_private(path)
    if file.is_dir():
        raise RunFolderError(f"{file} is a folder: give the site's folder, then charter.json")
    charter = Charter.read(file)
    outlook = approve_charter(path, charter)
    display.line(
        f"approved the charter of epoch {charter.epoch}: {charter.rounds} rounds, valid until "
        f"{charter.valid_until}; {_terms(outlook.proposal)}; {_cost(outlook, path)}",
        channel=outlook.proposal.channel,
        min_cohort=outlook.proposal.min_cohort,
        corrupt=outlook.proposal.corrupt,
        place=outlook.proposal.place.name,
        n_min=outlook.proposal.n_min,
        leave=outlook.proposal.evaluation,
        epoch=charter.epoch,
        rounds=charter.rounds,
        valid_until=charter.valid_until,
        spent=outlook.spent if outlook.cost else None,
        total=outlook.proposal.total_epsilon if outlook.cost else None,
    )
    for number, member in charter.roster.items():
        display.line(
            f"site {number}: {member.name}, key {member.key[:16]}",
            site=int(number),
            name=member.name,
            key=member.key,
        )
    display.line(
        f"compare by telephone, then send {path / APPROVAL} to the coordinator: fingerprint "
        f"{charter.fingerprint}",
        approval=str(path / APPROVAL),
        fingerprint=charter.fingerprint,
    )


def _terms(proposal: Proposal) -> str:
    """Says what leaves the site, and who could read it."""
    if proposal.corrupt is None:
        updates = f"the coordinator reads each update ({proposal.channel})"
    else:
        updates = (
            f"the coordinator reads only sums of at least {proposal.min_cohort} updates, also with "
            f"the help of {proposal.corrupt} other site(s) ({proposal.channel})"
        )
    if proposal.n_min is not None:
        updates += (
            f"; its epsilon holds against the coordinator together with up to "
            f"{proposal.place.corrupt} other site(s), as each sum has the noise of at least "
            f"{proposal.n_min} honest ones, and NOT against more sites than that"
        )
    if proposal.reveals_counts:
        updates += ", and this site's exact number of records"
    figures = {
        "never": "no figures on test records leave",
        "sums": "exact counts on test records leave",
        "noisy": "noisy counts on test records leave",
    }
    return f"{updates}; {figures[proposal.evaluation]}"


def _cost(outlook: Outlook, path: Path) -> str:
    if outlook.cost is None:
        return "it claims no epsilon: the updates are not private"
    budget = load_policy(path / POLICY).budget
    helpers = outlook.proposal.helpers
    limit = ""
    if helpers is not None:
        limit = f", which holds against the coordinator together with up to {helpers} other site(s)"
    return (
        f"the data set has spent epsilon {outlook.spent:.4g} before it, and "
        f"{outlook.proposal.total_epsilon:.4g} at its end, of {budget.epsilon:g} at delta "
        f"{budget.delta:g}{limit}"
    )


def check(path: Path, display: Display) -> None:
    """Looks at everything that a start needs, and sends none of it.

    Raises:
        SecureflError: the first thing that is wrong; the others are shown before.
    """
    require_private(path)
    if is_held(path):
        raise RunFolderError(
            f"an agent is at work on {path}: see securefl site status, or stop it first"
        )
    with locked(path), ExitStack() as held:
        log = AuditLog.opened(path / AUDIT)
        folder = Folder.read(path, approved_charter(path, log))
        held.enter_context(held_ledgers(folder))
        failures = []
        for name, run in checks_of(folder, log):
            try:
                display.line(f"{name}: {run()}", check=name, passed=True)
            except SecureflError as reason:
                failures.append(reason)
                display.line(f"{name}: NOT READY", check=name, passed=False, reason=str(reason))
    if failures:
        raise failures[0]


def start(path: Path, display: Display, *, flower: Path | None = None) -> None:
    """Runs the site's agent until the run is over, or somebody stops it.

    A SuperNode runs next to it if `flower` names the folder of Flower's programs.

    Raises:
        RunFolderError: an agent is at work on the folder.
        SecureflError: see `opened_site`.
    """
    require_private(path)
    charter = Charter.read(path / CHARTER) if (path / CHARTER).exists() else None
    if charter is None:
        raise RunFolderError(f"{path} has approved no charter: securefl site approve {path} FILE")
    if is_held(path):
        raise RunFolderError(f"{path} is in use by another run: an agent is at work on it")
    if _is_over(path, charter):
        display.line(
            "the run of this charter is over at this site: nothing is left to do", stopped=False
        )
        return
    one_thread()
    display.line(
        f"answers {charter.host}:{charter.port}; stop it with: securefl site stop {path}",
        host=charter.host,
        port=charter.port,
    )
    (path / STOP).unlink(missing_ok=True)  # what an agent that was killed did not hear
    address = (charter.host, charter.port)
    context = site_context(path)
    stopped = False
    # An interrupt is as harmless as kill -9: all that the agent must remember is on disk.
    with Stop(path) as stop:
        try:
            if flower is None:
                serve: Serve = partial(serve_coordinator, address, context, patience=math.inf)
            else:
                relay_user = load_settings(path / SITE).relay_user
                serve = partial(serve_site, flower, address, path, relay_user=relay_user)
            run_site(path, serve, lambda reason: display.remark(_not_ready(reason)))
        except Interrupted:
            stopped = stop.is_asked()
            if not stopped:
                raise
    display.line("stopped" if stopped else "the run is over", stopped=stopped)


def _is_over(path: Path, charter: Charter) -> bool:
    """Whether an agent has heard that the run of this charter is over."""
    digest = charter.digest.hex()
    lines = _lines_of(path) if (path / AUDIT).exists() else []
    return any(line.kind == OVER and line.charter == digest for line in lines)


def _not_ready(reason: NotReady) -> str:
    return f"NOT READY: {reason}. It tells the coordinator that it is not ready, and ends"


def stop(path: Path, display: Display) -> None:
    """Ends the agent of a folder. Raises RunFolderError: none is at work."""
    require_private(path)
    if not is_held(path):
        raise RunFolderError(f"no agent is at work on {path}")
    write_json(path / STOP, {"now": True})
    display.line("the agent ends; it takes no further part in the rounds it has begun", asked=True)


def status(path: Path, display: Display) -> None:
    """Shows how far a site has come, from files alone; also while its agent is at work.

    Raises:
        SecureflError: a file is damaged.
    """
    require_private(path)
    at_work = is_held(path)
    lines = _lines_of(path) if (path / AUDIT).exists() else []
    events = Counter(line.event for line in lines)
    charter = Charter.read(path / CHARTER) if (path / CHARTER).exists() else None
    spent = _spent(path)
    budget = load_policy(path / POLICY).budget
    standing = f"charter of epoch {charter.epoch}" if charter else "no charter approved"
    display.line(
        f"{'agent at work' if at_work else 'no agent'}; {standing}; "
        f"{events[Event.TRAINING]} trainings, {events[Event.REFUSED]} refusals; "
        f"epsilon {spent:.4g} of {budget.epsilon:g} is spent on the data set",
        at_work=at_work,
        epoch=charter.epoch if charter else None,
        trainings=events[Event.TRAINING],
        refusals=events[Event.REFUSED],
        spent=spent,
        budget=budget.epsilon,
    )


def _lines_of(path: Path) -> list[Line]:
    """Returns the lines of the audit log. Raises RunFolderError: it was changed."""
    for seconds in _WAITS_FOR_A_LINE:
        try:
            return verified(path / AUDIT)
        except RunFolderError:
            # An agent at work may be in the middle of a line.
            if not is_held(path):
                raise
            time.sleep(seconds)
    return verified(path / AUDIT)


def _spent(path: Path) -> float:
    """Returns the cost of everything on the data set; reads only, as an agent may be writing."""
    if not (path / LEDGERS / REGISTERED).exists():
        return 0.0
    ledger = registered_ledger(path, load_settings(path / SITE))
    if not ledger.exists():
        return 0.0
    delta = load_policy(path / POLICY).budget.delta
    return epsilon(dict(past_of(ledger).events), delta=delta)


def log(path: Path, display: Display) -> None:
    """Verifies the audit log and prints it.

    Raises:
        RunFolderError: a byte or a line was changed, removed or inserted; nothing is printed.
    """
    require_private(path)
    if not (path / CHARTER).exists() and not (path / AUDIT).exists():
        raise RunFolderError(f"{path} has approved no charter, so that nothing is in its log")
    for number, line in enumerate(_lines_of(path), start=1):
        facts = {key: value for key, value in asdict(line).items() if value is not None}
        moment = datetime.datetime.fromtimestamp(line.time, datetime.UTC)
        words = [f"{key} {value}" for key, value in facts.items() if key not in ("time", "event")]
        display.line(f"{number} {stamp(moment)} {line.event} {', '.join(words)}", **facts)
