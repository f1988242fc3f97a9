"""What `securefl coordinate` does: invite sites, admit them, and collect their approvals."""

import re
import socket
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from securefl.errors import RunFailed, RunFolderError, ScenarioError
from securefl.federation.policy import Policy
from securefl.files import read_json, read_text
from securefl.messages import sentences
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.certificates import server_context
from securefl.runs.deployed.charter import CHARTER, Charter, Shared
from securefl.runs.deployed.documents import Host, Port, is_valid, utc_now
from securefl.runs.deployed.federation import admit, check_ready, collect, found
from securefl.runs.deployed.invitation import INVITATION, JoinRequest
from securefl.runs.deployed.links import DirectLink
from securefl.runs.deployed.process import run_coordinator
from securefl.runs.deployed.refining import refine
from securefl.runs.deployed.serving import Standing, charter_of_folder, request_stop, standing
from securefl.runs.flower.ends import coordinator_link
from securefl.runs.flower.link import FlowerLink
from securefl.runs.flower.stage import coordinator_stage
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.ledgers import place_of
from securefl.ui.display import Display


def init(
    path: Path,
    address: str,
    out: Path,
    overrides: tuple[str, ...],
    passphrase: bytes | None,
    display: Display,
) -> None:
    """Makes the coordinator's folder. Raises ScenarioError: see `found`."""
    shared = _shared(path, overrides)
    invitation = found(shared, split_address(address), out, passphrase)
    display.line(
        f"send {out / INVITATION} to every site; fingerprint to compare by telephone: "
        f"{invitation.fingerprint}",
        invitation=str(out / INVITATION),
        fingerprint=invitation.fingerprint,
    )
    _warn_of_policies(shared, out, display)


def _warn_of_policies(shared: Shared, out: Path, display: Display) -> None:
    """Says before anything is sent that sites would refuse the scenario by default."""
    scenario = shared.scenario()
    facts, allowed = scenario.facts, Policy()
    refused = []
    if "corrupt" in facts.channel_options and facts.min_cohort < allowed.channel.min_cohort:
        refused.append(
            f"sums of {facts.min_cohort} updates: set channel.min_cohort = "
            f"{allowed.channel.min_cohort} in the scenario, or {facts.min_cohort} in each "
            "site's policy.toml"
        )
    place = place_of(scenario).name
    if place not in allowed.budget.places:
        refused.append(
            f"noise in shares: each site has to list {place!r} in budget.places of its policy.toml"
        )
    if scenario.leave not in ("never", allowed.evaluation.leave):
        refused.append(
            f"evaluate.leave = {scenario.leave!r}: each site has to set "
            f"evaluation.leave = {scenario.leave!r} in its policy.toml"
        )
    if refused:
        display.remark(
            f"BEFORE you send it: the policy that sites get by default refuses "
            f"{'; and '.join(refused)}. The scenario of {out} cannot be changed: with another one "
            "all sites join again"
        )


def admit_files(
    folder: Path, files: Sequence[Path], display: Display, *, days: float, deadline: float
) -> None:
    """Takes requests, for which it writes a charter, or approvals of the charter.

    Raises:
        RunFolderError: a document is forged, damaged or of another charter.
        ScenarioError: requests and approvals are mixed, or the requests are not one a site.
    """
    charter_of_folder(folder)  # before the files: the folder comes first on the command line
    approvals = [path for path in files if _is_approval(path)]
    if approvals and len(approvals) < len(files):
        raise ScenarioError("give requests or approvals, not both: approvals are of a charter")
    if approvals:
        missing = collect(folder, [Approval.read(path) for path in approvals])
        _show_approvals(Charter.read(folder / CHARTER), missing, folder, display)
        return
    requests = [JoinRequest.read(path) for path in files]
    _show_charter(admit(folder, requests, days=days, deadline=deadline), folder, display)


def refine_last(
    folder: Path,
    path: Path,
    out: Path,
    overrides: tuple[str, ...],
    display: Display,
    *,
    days: float,
) -> None:
    """Makes the folder of a run that goes on from the last model. Raises as `refine`."""
    _show_charter(refine(folder, _shared(path, overrides), out, days=days), out, display)


def _show_charter(charter: Charter, folder: Path, display: Display) -> None:
    display.line(
        f"send {folder / CHARTER} to every site: epoch {charter.epoch}, valid until "
        f"{charter.valid_until}, fingerprint {charter.fingerprint}",
        charter=str(folder / CHARTER),
        epoch=charter.epoch,
        valid_until=charter.valid_until,
        fingerprint=charter.fingerprint,
        sites={site: member.name for site, member in charter.roster.items()},
    )


def _shared(path: Path, overrides: tuple[str, ...]) -> Shared:
    try:
        return Shared.of(read_text(path), overrides, path.parent)
    except ValidationError as reason:  # of sizes: the scenario itself is checked later
        raise ScenarioError(f"{path}: {sentences(reason, Shared, 'the scenario')[:200]}") from None


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port. Raises ScenarioError: it is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not is_valid(Host, host) or not is_valid(Port, number):
        raise ScenarioError(f"--address takes HOST:PORT, such as example.org:9092, got {address}")
    return host, number


def _is_approval(path: Path) -> bool:
    """Whether a file is meant as an approval; the rest of it is read strictly later."""
    if path.is_dir():
        raise ScenarioError(f"{path} is a folder: give its request.json or approval.json")
    return "charter" in read_json(path)


def _show_approvals(
    charter: Charter, missing: tuple[str, ...], folder: Path, display: Display
) -> None:
    if missing:
        text = f"epoch {charter.epoch} is not approved by {', '.join(missing)} yet"
    else:
        text = f"all {len(charter.roster)} sites have approved: securefl coordinate start {folder}"
    display.line(text, epoch=charter.epoch, ready=not missing, missing=list(missing))


def check(folder: Path, display: Display) -> None:
    """Says that the coordinator may start. Raises SecureflError: it may not."""
    charter_of_folder(folder)
    charter = check_ready(folder, utc_now())
    now = standing(folder)
    if now.state.ended:
        display.line(f"the run is over: {_rounds(now)}", ready=False, state=now.state)
        return
    display.line(
        f"ready: {_rounds(now)}, epoch {charter.epoch}, {len(charter.roster)} sites, valid until "
        f"{charter.valid_until}, fingerprint {charter.fingerprint}",
        ready=True,
        epoch=charter.epoch,
        valid_until=charter.valid_until,
        fingerprint=charter.fingerprint,
    )


def start(
    folder: Path, listen: str | None, display: Display, *, flower: Path | None = None
) -> None:
    """Coordinates the run until it is over, or somebody stops it.

    Sites are reached over Flower if `flower` names the folder of its programs.

    Raises:
        BudgetExceeded: too few sites may still spend.
        RunFailed: nobody can listen at the address, or the run failed.
        RunFolderError: see `at_work`.
    """
    before = standing(folder)
    if before.at_work:
        raise RunFolderError(f"{folder} is in use by another run: a coordinator is at work on it")
    if before.state is CellState.DONE:
        display.remark(
            "the run is over already: for a minute and a half, sites that have not heard of it may "
            "connect"
        )
    one_thread()

    with ExitStack() as stack:

        def open_link(*, sites: Collection[int], limit: int) -> DirectLink | FlowerLink:
            charter = Charter.read(folder / CHARTER)
            listener = listening(listen or charter.host, charter.port)
            display.remark(f"{charter.rounds} rounds; sites connect to port {charter.port}")
            if flower is None:
                admitted = [member.certificate for member in charter.roster.values()]
                context = server_context(folder, admitted)
                return DirectLink(listener, context, sites=sites, limit=limit)
            address = listener.getsockname()[:2]
            listener.close()  # it was free: the gate can have it
            stack.enter_context(coordinator_stage(flower, folder, address, limit=limit))
            return coordinator_link(folder, sites=sites, limit=limit)

        is_over = run_coordinator(folder, open_link)
    if not is_over:
        display.line("stopped after the round; the same command goes on", stopped=True)
        return
    now = standing(folder)
    display.line(
        f"the run is over, {_rounds(now)}; its model is {Cell(folder).checkpoint}",
        stopped=False,
        abandoned=now.abandoned,
    )


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens. Raises RunFailed: the address is in use, or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as reason:
        raise RunFailed(
            f"cannot listen at {host}:{port}: {reason.strerror}; --listen takes an address of this "
            "machine"
        ) from None


def status(folder: Path, display: Display) -> None:
    """Shows how far a federation has come. Raises RunFolderError: the folder is damaged."""
    now = standing(folder)
    display.line(_in_words(now), **asdict(now))


def _in_words(now: Standing) -> str:
    """Says how far a federation has come."""
    if not now.epoch:
        return "no charter yet"
    who = "a coordinator is at work" if now.at_work else "no coordinator is at work"
    is_stopped = not now.at_work and now.state is CellState.RUNNING
    state = "stopped, and start goes on" if is_stopped else f"state {now.state}"
    sentence = f"epoch {now.epoch}, valid until {now.valid_until}: {who}; {state}, {_rounds(now)}"
    if now.missing:
        sentence += f"; not approved by {', '.join(now.missing)}"
    if now.absent:
        sentence += f"; absent in the last round: {', '.join(now.absent)}"
    return sentence + (f"; {now.reason}" if now.reason else "")


def _rounds(now: Standing) -> str:
    """Says how many rounds are over, and how many of them gave nothing."""
    text = f"{now.round} of {now.rounds} rounds are over"
    return f"{text}, {now.abandoned} of them ABANDONED" if now.abandoned else text


def stop(folder: Path, now: bool, display: Display) -> None:
    """Asks the coordinator to end. Raises RunFolderError: none is at work."""
    request_stop(folder, now=now)
    display.line("it ends now" if now else "it ends after this round", now=now)
