"""`securefl audit PATH --adversary WHO`: shadows, replays in memory, findings in a folder.

Draws nothing and prints nothing: the command line does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from securefl.audit.bounds import Claim
from securefl.audit.covered import passed_over
from securefl.audit.exposure.exposures import NO_SIGHT, NO_STEPS, exposures
from securefl.audit.exposure.look import MAX_ROUNDS
from securefl.audit.exposure.result import Exposure
from securefl.audit.findings import Findings
from securefl.audit.inquiry import Inquiry, OnRound, misfit
from securefl.audit.inside import inside_lines, why_unseen
from securefl.audit.lines import Line, Verdict
from securefl.audit.measure import (
    NO_WEIGHTS,
    Members,
    canary_lines,
    members_of,
    membership_lines,
    no_canaries,
    sight_of,
)
from securefl.audit.mechanism import unseen
from securefl.audit.notes import claimed, notes_on, scope_of
from securefl.audit.recorded import booked, check_repeated, open_run, same_run
from securefl.audit.repertoire import BLIND, INSIDE, SUM_NOISE
from securefl.audit.replays import Replays
from securefl.audit.request import ALL, AuditRequest
from securefl.audit.shadows import train_shadows
from securefl.audit.sum_noise import sum_noise_lines, undecided
from securefl.audit.threats import ANSWERS, THREATS, threat
from securefl.audit.verdicts import overall
from securefl.data.download import OnBytes, quiet
from securefl.federation.memory import kept_memory
from securefl.runs.cache import user_cache
from securefl.runs.cell import Cell
from securefl.runs.names import cell_hash
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.data import fetch_data
from securefl.scenario.scenario import Scenario, load_scenario

Say = Callable[[str], None]


@kept_memory()
def audit(
    request: AuditRequest, *, say: Say, on_round: OnRound, on_bytes: OnBytes = quiet
) -> dict[str, Findings]:
    """Measures what adversaries learn of one client, next to what is claimed.

    Shadows and replays are shared: each is trained once, however many adversaries look.

    Args:
        request: the scenario or run, the adversary or `ALL`, and the options.
        say: is given progress in words.
        on_round: called with a label and the record of each round of a replay.
        on_bytes: called as a download of data goes on, where one is needed.

    Returns:
        Adversary -> its findings, each written to the audit's folder.

    Raises:
        ScenarioError: the request cannot be audited.
        SecureflError: a shadow failed, or the replay is not the run.
    """
    one_thread()
    request.check()
    scenario, cell = _subject(request)
    inquiries = inquiries_of(request, scenario, cell)
    if cell is not None:
        check_repeated(request.path, scenario)  # the way out has to be open to the adversary
    fetch_data(scenario, on_bytes)
    folder = _folder(request, scenario)
    replays = Replays(
        inquiries, of_run=cell is not None, on_round=on_round, remember=user_cache().remember
    )
    left_out = passed_over(scenario) if request.adversary == ALL else ""
    if left_out:
        say(left_out)  # and is no finding on those who are audited
    shared = []
    if cell is not None:
        # Before any shadow is trained: an audit of another run would be worth nothing.
        say("replaying the run")
        shared.append(same_run(cell, replays.membership))
    members = _members(request, inquiries, replays, folder, say)
    folder.mkdir(parents=True, exist_ok=True)
    findings = {}
    for inquiry in inquiries:
        stage = _Stage(replays, members, folder, _named(say, inquiry, request))
        findings[inquiry.adversary] = _findings(inquiry, request, stage, shared)
        findings[inquiry.adversary].write()
    return findings


class _Stage(NamedTuple):
    """The parts of an audit that its adversaries share, and how one of them reports progress.

    Attributes:
        replays: each played once.
        members: the question of membership; None where no adversary could begin to answer it.
        folder: keeps the findings.
        say: is given progress in words.
    """

    replays: Replays
    members: Members | None
    folder: Path
    say: Say


def _subject(request: AuditRequest) -> tuple[Scenario, Cell | None]:
    """The scenario that is audited, with the cell of the run if a run is."""
    if request.of_run:
        return open_run(request.path)
    return load_scenario(request.path, overrides=request.overrides), None


def inquiries_of(request: AuditRequest, scenario: Scenario, cell: Cell | None) -> list[Inquiry]:
    """Returns an inquiry for each adversary of the request.

    `ALL` leaves out adversaries that the scenario's topology does not have, those that see too
    much for an audit, and those with clients of their own where the target is the only client.
    """
    spent = None if cell is None else booked(cell, request.target)
    names = [request.adversary]
    if request.adversary == ALL:
        names = [name for name in THREATS if not misfit(scenario, name)]
        if scenario.clients == 1:
            names = [name for name in names if not threat(name).clients]
        names = names or [next(iter(THREATS))]  # of whom the inquiry says why there is none
    return [
        Inquiry(scenario, name, request.colluders, request.target, request.seed, spent)
        for name in names
    ]


def _folder(request: AuditRequest, scenario: Scenario) -> Path:
    if request.folder is not None:
        return request.folder
    name = f"{request.path.stem}-{cell_hash(scenario.resolved())[:8]}-{request.target}"
    return Path("audits") / name


def _named(say: Say, inquiry: Inquiry, request: AuditRequest) -> Say:
    """Says the adversary's name as well, where several are audited."""
    if request.adversary != ALL:
        return say
    return lambda text: say(f"{inquiry.adversary}: {text}")


def _members(
    request: AuditRequest, inquiries: list[Inquiry], replays: Replays, folder: Path, say: Say
) -> Members | None:
    """The question of membership, with shadows if any adversary can compare a model with them."""
    if all(inquiry.blind for inquiry in inquiries):
        return None
    shadows = {}
    if request.shadows and any(inquiry.compares for inquiry in inquiries):
        shadows = train_shadows(inquiries[0], folder, request, say)
    return members_of(inquiries[0], replays.membership, shadows, by_coins=not request.of_run)


def _findings(
    inquiry: Inquiry, request: AuditRequest, stage: _Stage, shared: list[str]
) -> Findings:
    """Everything that one adversary learns."""
    lines, claim, sight = _measured(inquiry, stage)
    scope = scope_of(inquiry, request, claim)
    notes = [*notes_on(inquiry, scope), *shared, *sight]
    exposed = _exposed(inquiry, stage) if request.exposure else []
    if exposed:
        notes.append(
            "what updates show is of the scenario's own records, split as it says and by no coins"
        )
    if request.pictures and not any(exposure.pictures for exposure in exposed):
        notes.append("no pictures: no image was reconstructed")
    own = request.of(inquiry.adversary)
    return Findings(
        stage.folder / f"{own.stem}.json",
        own.command,
        claimed(inquiry, claim),
        overall(lines),
        tuple(lines),
        tuple(exposed),
        tuple(notes),
        scope,
    )


def _measured(inquiry: Inquiry, stage: _Stage) -> tuple[list[Line], Claim | None, list[str]]:
    """Lines on membership and the mechanism, the claim they are held against, and the sight."""
    claims = inquiry.scenario.claims_dp
    if inquiry.blind or stage.members is None:
        verdict = Verdict.UNDECIDED if claims else Verdict.UNCLAIMED
        why = "this adversary sees nothing that an attack could start from"
        return [Line(BLIND, verdict, why)], None, []
    stage.say("membership")
    played = stage.replays.membership
    knowledge = stage.replays.knowledge(inquiry, played)
    claim = inquiry.claim(played)
    lines = membership_lines(inquiry, stage.members, knowledge, claim)
    if claims:
        stage.say("gradient canaries")
        lines += _canaries(inquiry, stage.replays)
        one_sum = inquiry.scenario.facts.trainer.one_sum
        stage.say(SUM_NOISE if one_sum else INSIDE)
        lines += _inside(inquiry, stage.replays)
    return lines, claim, [f"seen of client {inquiry.target}: {sight_of(knowledge)}"]


def _canaries(inquiry: Inquiry, replays: Replays) -> list[Line]:
    if inquiry.threat.published == ANSWERS:
        return no_canaries(NO_WEIGHTS)
    try:
        run = replays.canaries
    except ValueError as reason:  # the model has too few coordinates
        return no_canaries(str(reason))
    return canary_lines(inquiry, run, replays.knowledge(inquiry, run.played))


def _inside(inquiry: Inquiry, replays: Replays) -> list[Line]:
    if inquiry.scenario.facts.trainer.one_sum:
        return _of_sums(inquiry, replays)
    why = why_unseen(inquiry)
    if why:
        return unseen(why)
    try:
        run = replays.probes
    except ValueError as reason:  # the model has too few coordinates
        return unseen(str(reason))
    return inside_lines(inquiry, run, replays.knowledge(inquiry, run.played))


def _of_sums(inquiry: Inquiry, replays: Replays) -> list[Line]:
    """Lines on the mechanism where clients take no steps that could be watched."""
    try:
        run = replays.canaries
    except ValueError as reason:  # the model has too few coordinates
        return [undecided(str(reason))]
    return sum_noise_lines(inquiry, run, replays.knowledge(inquiry, run.played))


def _exposed(inquiry: Inquiry, stage: _Stage) -> list[Exposure]:
    """What the updates of the first rounds reveal of the records behind them."""
    if not inquiry.sees_updates:
        return [NO_SIGHT]
    if inquiry.scenario.facts.trainer.one_sum:
        return [NO_STEPS]
    rounds = min(MAX_ROUNDS, inquiry.scenario.rounds)
    stage.say(f"what updates show: the first {rounds} rounds again")
    look = stage.replays.look(inquiry)
    return exposures(
        look, say=stage.say, on_round=stage.replays.on_round, remember=stage.replays.remember
    )
