"""`securefl audit PATH --adversary WHO`: shadows in a folder of their own, replays in memory, verdicts, a figure."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from securefl.audit.bounds import Claim
from securefl.audit.exposure.exposures import exposed
from securefl.audit.findings import Asked, Findings, write
from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.audit.inside import inside_lines
from securefl.audit.measure import Measured, canary_lines, membership_lines
from securefl.audit.replay import Line as Seen
from securefl.audit.replay import Replay, replay
from securefl.audit.verdicts import Line, Stand
from securefl.data.download import OnBytes, quiet
from securefl.errors import RunFailed, ScenarioError, SecureflError
from securefl.federation.record import RoundRecord
from securefl.files import read_lines
from securefl.privacy.chain import seeded_mark
from securefl.privacy.past import past_of
from securefl.runs.cache import user_cache
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.names import cell_hash
from securefl.runs.origin import origin_of
from securefl.runs.pool import Finished, Job, Progressed, play
from securefl.runs.threads import one_thread
from securefl.scenario import catalog
from securefl.scenario.assemble.data import fetch_data, load_data
from securefl.scenario.scenario import Scenario, load_scenario, make_scenario

FIRST, LAST = 2, 1024  # shadows, where there are any
_APART = 1e-3  # what the rounding of an inexact channel may grow to over a run
_SELDOM = 5.0  # seconds between two words about rounds
_LIMIT = 3600.0  # seconds that a shadow may take
Say = Callable[[str], None]


def audit(
    asked: Asked,
    *,
    say: Say,
    on_round: Callable[[str, RoundRecord], None],
    on_bytes: OnBytes = quiet,
) -> Findings:
    """What the adversary measurably learns, beside what is claimed.

    Args:
        asked: the command.
        say: told what is being done.
        on_round: called with the rounds of replays.
        on_bytes: told how a download of its data goes, where one is needed.

    Raises:
        ScenarioError: what was asked cannot be audited.
        SecureflError: a shadow failed, or the replay is not the run.
    """
    one_thread()
    if asked.shadows and not FIRST <= asked.shadows <= LAST:
        raise ScenarioError(f"--shadows must be 0, or from {FIRST} to {LAST}, got {asked.shadows}")
    _check_folder(asked)
    run = asked.path if asked.path.is_dir() else None
    scenario, cell = (
        _opened(run) if run else (load_scenario(asked.path, overrides=asked.overrides), None)
    )
    inquiry = Inquiry(scenario, asked.adversary, asked.colluders, asked.target, asked.seed)
    fetch_data(scenario, on_bytes)
    folder = (
        asked.folder
        or Path("audits") / f"{asked.path.stem}-{cell_hash(scenario.resolved())[:8]}-{asked.target}"
    )
    remember = user_cache().remember
    notes, played = list(_notes(inquiry)), None
    if cell is not None:
        say("replaying the run")
        book = cell.ledgers / f"{asked.target}.jsonl"
        inquiry = replace(inquiry, booked=dict(past_of(book).events) if book.exists() else None)
        played = replay(
            scenario,
            [inquiry.watcher(load_data(scenario))],
            on_round=lambda record: on_round("replay", record),
            remember=remember,
        )
        notes.append(same_run(scenario, cell, played))
    compared = asked.shadows if inquiry.threat.ends_with(scenario.channel.kind) else 0
    if inquiry.blind:
        folder.mkdir(parents=True, exist_ok=True)
        stand = Stand.UNTOLD if scenario.claims_dp else Stand.UNCLAIMED
        why = "this adversary sees nothing that an attack could start from"
        measured = Measured([Line("membership", stand, why)], None, "nothing")
    else:
        shadows = _shadows(inquiry, compared, folder, asked, say)
        say("membership")
        measured = membership_lines(
            inquiry, shadows, on_round=on_round, remember=remember, played=played
        )
        if scenario.claims_dp:
            say("gradient canaries")
            measured.lines.extend(canary_lines(inquiry, on_round=on_round, remember=remember))
            say("DP-SGD from inside")
            measured.lines.extend(inside_lines(inquiry, on_round=on_round, remember=remember))
        notes.append(f"seen of client {asked.target}: {measured.seen}")
    exposures = exposed(inquiry, say, on_round, remember) if asked.exposure else []
    if exposures:
        notes.append(
            "what updates show is of the scenario's own records, split as it says and by no coins"
        )
    if asked.pictures and not any(one.pictures for one in exposures):
        notes.append("no pictures: no image was reconstructed")
    claimed = _claimed(inquiry, measured.claim)
    found = Findings(claimed, tuple(measured.lines), tuple(exposures), tuple(notes), folder)
    return replace(found, pictures=write(found, asked))


def _check_folder(asked: Asked) -> None:
    """Raise ScenarioError where pictures are asked for in vain, or the folder is a run's: audits are kept apart."""
    if asked.pictures and not asked.exposure:
        raise ScenarioError("--pictures shows what --no-exposure leaves out: choose one of them")
    folder = asked.folder
    if folder is None or not folder.exists():
        return
    if not folder.is_dir():
        raise ScenarioError(f"--out: {folder} is a file")
    if RunFolder.is_at(folder) and any(
        use.label != "shadow" for use in RunFolder.open(folder).request().uses
    ):
        raise ScenarioError(
            f"--out: {folder} is the folder of a run, which holds no audits; choose another"
        )


def same_run(scenario: Scenario, cell: Cell, played: Replay) -> str:
    """How a replay compares with the run that it repeats. Raises SecureflError where it is another one."""
    stored: list[Seen] = [dict(line) for line in read_lines(cell.folder / "transcript.jsonl")]
    if not scenario.repeatable:
        if _outline(stored) != _outline(played.transcript):
            raise SecureflError("the replay is not the run: who saw what in which round differs")
        return "the run drew noise from the system: the audit is of a fresh draw, in which everybody saw as much"
    if stored != played.transcript:
        raise SecureflError("the replay is not the run: its transcript differs from the stored one")
    stored_weights = load_checkpoint(cell.checkpoint).state.weights
    if catalog.CHANNELS[scenario.channel.kind].exact:
        if not torch.equal(stored_weights, played.weights):
            raise SecureflError("the replay is not the run: it ends with another model")
    elif not torch.allclose(stored_weights, played.weights, rtol=_APART, atol=_APART):
        raise SecureflError(
            "the replay is not the run: it ends with another model, by more than encryption rounds"
        )
    else:
        off = float((stored_weights - played.weights).abs().max())
        return f"the replay is the run: the same transcript, and the same model within {off:.2g}, by encryption"
    return (
        "the replay is the run: the same transcript, line for line, and the same model, bit for bit"
    )


def _outline(transcript: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    return sorted(
        (line["round"], line["party"], line["kind"], tuple(line["about"])) for line in transcript
    )


def _opened(path: Path) -> tuple[Scenario, Cell]:
    """The scenario and the cell of a run. Raises ScenarioError where the folder holds several, or none that ended."""
    cells = RunFolder.open(path).cells()
    if len(cells) != 1:
        raise ScenarioError(f"{path} holds {len(cells)} runs: audit the scenario of one of them")
    ((_, values, cell),) = cells
    if (state := cell.status().state) is not CellState.DONE:
        raise ScenarioError(f"{path} is {state}: let it end before it is audited")
    return make_scenario(dict(values)), cell


def _shadows(
    inquiry: Inquiry, count: int, folder: Path, asked: Asked, say: Say
) -> dict[int, Tensor]:
    """Seed -> final weights of that rehearsal; those that ended before are only read."""
    if not count:
        folder.mkdir(parents=True, exist_ok=True)
        return {}
    code, wanted = code_hash(), shadow_scenarios(inquiry, count)
    cells = {seed: cell_hash(scenario.resolved(), code=code) for seed, scenario in wanted.items()}
    uses = tuple(Use(cell, "shadow", seed=seed, code=code) for seed, cell in cells.items())
    resolved = {cells[seed]: scenario.resolved() for seed, scenario in wanted.items()}
    name = (
        f"shadows of client {inquiry.target} of scenario {cell_hash(inquiry.scenario.resolved())}"
    )
    request = Request(asked.command + "\n", resolved, uses, name, (code,))
    run = RunFolder.create(folder, request)
    with run.held():
        run.ask(request)
        missing = [
            cell for cell in cells.values() if run.named(cell).status().state is not CellState.DONE
        ]
        say(f"{count} shadows, {len(missing)} of them to train")
        jobs = [Job(run.named(cell), resolved[cell], code) for cell in missing]
        with closing(play(jobs, workers=min(asked.jobs, len(jobs)), limit=_LIMIT)) as events:
            said = time.monotonic()
            for event in events:
                if isinstance(event, Progressed) and time.monotonic() - said > _SELDOM:
                    said = time.monotonic()
                    say(f"a shadow is at round {event.round} of {inquiry.scenario.rounds}")
                if not isinstance(event, Finished):
                    continue
                if event.state is not CellState.DONE:
                    raise RunFailed(f"a shadow is {event.state}: {event.reason}")
                say(f"a shadow has ended, after {event.seconds:.0f} s")
    return {
        seed: load_checkpoint(run.named(cell).checkpoint).state.weights
        for seed, cell in cells.items()
    }


def _claimed(inquiry: Inquiry, claim: Claim | None) -> str:
    """What the ledger says, within its budget."""
    privacy = inquiry.scenario.privacy if inquiry.scenario.claims_dp else None
    if privacy is None:
        return f"no claim for client {inquiry.target}"
    budget = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g}"
    spent = "" if claim is None else f", of which {claim.epsilon:.4g} was spent"
    origin = origin_of(inquiry.scenario)
    mark = seeded_mark(privacy.noise, () if origin is None else origin.seeded)
    return f"{budget}{spent}: one training {privacy.unit} of client {inquiry.target}, {privacy.place} noise{mark}"


def _notes(inquiry: Inquiry) -> Sequence[str]:
    """What the verdicts rest on, and what they do not say."""
    who = inquiry.threat
    reported = inquiry.scenario.weights == "reported"
    sees = (
        ", ".join(who.sees(inquiry.scenario.channel.kind, reported=reported))
        or "nothing but what is published about every run"
    )
    clients = f" (client {', '.join(map(str, inquiry.coalition))})" if inquiry.coalition else ""
    notes = [f"{inquiry.adversary} is {who.who}{clients}; it sees: {sees}"]
    if not inquiry.scenario.repeatable:
        notes.append(
            "noise comes from the system: every audit is of a fresh draw, with other numbers"
        )
    if who.deviates:
        notes.append(
            "all but the imprint is measured as if it kept to the protocol; what else it can do: docs/threat-model.md"
        )
    notes.append(
        "what an audit shows is not covered by the run's epsilon, nor are the models of its shadows, which stay in its "
        "folder: for test data and rehearsals, not for publication about patients"
    )
    return notes
