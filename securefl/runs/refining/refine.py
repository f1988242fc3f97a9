"""Refines a model on other records: train, judge, decide about the release.

    outcome = refine(Series(Path("runs/first")), asked, play)
    outcome.decision.kind                   # "released" or "refused"

A crash at any moment leaves the released version in force. The same call goes on from there.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.errors import BudgetExceeded, RunFolderError, ScenarioError, SecureflError
from securefl.files import disk_errors, locked, parse_toml, read_json, write_json
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.home import absolute, relative
from securefl.runs.lineage import seeded_runs
from securefl.runs.origin import check_noise
from securefl.runs.refining import prepaid
from securefl.runs.refining.judging import Judgement, gate_cost, judge
from securefl.runs.refining.plan import (
    PREPAID,
    Asked,
    next_scenario,
    validation_scenario,
)
from securefl.runs.refining.prepaid import prepay
from securefl.runs.refining.quality import check_countable
from securefl.runs.refining.series import (
    JUDGED,
    PLAN,
    REFUSED,
    RELEASED,
    VERSIONS,
    Decision,
    Kind,
    Series,
)
from securefl.runs.refining.spending import check_prepaid, spent_up_to
from securefl.runs.refining.start import measure_start
from securefl.runs.refining.validation import check_apart
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.fisher import fisher_cost
from securefl.scenario.assemble.ledgers import terms_of
from securefl.scenario.scenario import Scenario, make_scenario

# scenario, its run folder, its text: runs it there, or resumes it
Play = Callable[[Scenario, Path, str], object]


@dataclass(frozen=True)
class Outcome:
    """What came of a refinement.

    Attributes:
        version: its number.
        decision: whether it was released.
        judged: the figures of the new and of the released version on the same records; none where
            a noisy gate decided.
        again: whether all of it was decided before this call.
    """

    version: int
    decision: Decision
    judged: Mapping[str, Any]
    again: bool = False


@dataclass(frozen=True)
class _Plan:
    """The next version: its number, the one that it starts from, and its scenario."""

    version: int
    start: int
    scenario: Scenario
    text: str


def refine(series: Series, asked: Asked, play: Play) -> Outcome:
    """Trains the next version of a model, and releases it if it passes the gate.

    Args:
        series: the versions so far.
        asked: the new records, and the gate.
        play: runs a scenario.

    Raises:
        ScenarioError: the request does not fit the earlier versions, or another is under way.
        BudgetExceeded: the ledgers do not allow it; nothing was trained.
        SecureflError: the run failed.
    """
    with disk_errors(series.path):
        (series.path / VERSIONS).mkdir(exist_ok=True)
        with locked(series.path / VERSIONS):
            return _refined(series, asked, play)


def abandon(series: Series) -> int:
    """Gives up the version that is under way, and returns its number; what it spent stays spent.

    Where its training had not begun it spent nothing: nothing is left of it, and no decision noted.

    Raises:
        ScenarioError: none is.
        RunFolderError: it is being trained at this moment.
    """
    with disk_errors(series.path):
        (series.path / VERSIONS).mkdir(exist_ok=True)
        with locked(series.path / VERSIONS):
            return _abandoned(series)


def _abandoned(series: Series) -> int:
    version = series.versions[-1]
    if version == 1 or series.decision(version) is not None:
        raise ScenarioError(f"no version of {series.path} is under way")
    if series.run_of(version).exists():
        series.decide(version, REFUSED, reason="abandoned")
    else:
        shutil.rmtree(series.folder(version))
    return version


def _refined(series: Series, asked: Asked, play: Play) -> Outcome:
    last = series.versions[-1]
    if last > 1 and not series.run_of(last).exists() and series.decision(last) is None:
        # A crash came before its training: nothing was released.
        shutil.rmtree(series.folder(last))
        last -= 1
    if last > 1:
        plan = _stored(series, last, asked)
        decision = series.decision(last)
        if decision is None and plan is None:
            raise ScenarioError(
                f"version {last} is under way with other records or options: repeat its command, "
                "or give it up with --abandon"
            )
        if decision is not None and plan is not None and _has_same_records(series, plan):
            return Outcome(last, decision, _judged_before(series, last), again=True)
        if decision is None and plan is not None:
            return _carried_out(series, plan, asked, play)
    return _carried_out(series, _planned(series, last + 1, asked), asked, play)


def _planned(series: Series, version: int, asked: Asked) -> _Plan:
    """Makes the folder of the next version. Raises where a check refuses it; nothing is left."""
    start, last = series.released, version - 1
    base = series.cell(start)
    if not base.cell.status().state.ended:
        raise ScenarioError(f"{series.run_of(start)} did not end; resume it first")
    folder = series.folder(version)
    scenario, text = next_scenario(
        base.scenario,
        asked,
        init_from=series.run_of(start),
        version=version,
        folder=folder,
    )
    _check_gate(series, scenario, version, asked)
    folder.mkdir(parents=True)
    try:
        _prepay(series, last, scenario, asked, folder / PREPAID)
        measure_start(series, start, scenario, version)
        place = relative({"folder": str(scenario.home)}, series.path.parent)
        stored = {"start": start, "asked": asked.to_json(series.path.parent), "text": text, **place}
        write_json(folder / PLAN, stored)
    except BaseException:
        # Nothing was trained, so that no booking stands for a release.
        shutil.rmtree(folder)
        raise
    return _Plan(version, start, scenario, text)


def _check_gate(series: Series, scenario: Scenario, version: int, asked: Asked) -> None:
    """Refuses a gate whose decision would release something without paying. Raises ScenarioError.

    A decision is known to everybody who sees which version is released.
    """
    if asked.gate is not None and asked.gate.for_targets is not scenario.facts.task.regression:
        raise ScenarioError(f"--gate: {asked.gate.metric} is not measured on records of this kind")
    if asked.validation is not None:
        check_apart(series, scenario, version, asked.validation)
        load_data(validation_scenario(scenario, asked.validation))
    if asked.noise is not None and not scenario.claims_dp:
        raise ScenarioError("--gate-noise has no effect without a DP claim; remove it")
    if asked.noise is not None:
        # Before training, whose price would be lost.
        check_countable(load_data(scenario))
    has_public = asked.validation is not None or bool(scenario.data.public)
    if asked.gate is None or not scenario.claims_dp or has_public or asked.noise is not None:
        return
    raise ScenarioError(
        "each decision of a gate on the sites' own records is a release that the claim does not "
        "cover: add --validation PUBLIC.toml, or --gate-noise and --gate-records to pay for it"
    )


def _prepay(series: Series, last: int, scenario: Scenario, asked: Asked, folder: Path) -> None:
    """Writes the ledgers that training goes on from, with the price of a noisy gate."""
    terms = terms_of(scenario)
    if terms is None:
        return
    _, earlier, cell = series.cell(last)
    check_noise(cell, earlier["privacy"]["noise"])
    costs = {prepaid.GATE: gate_cost(asked), prepaid.FISHER: fisher_cost(scenario)}
    prepay(
        folder,
        terms=terms,
        before=spent_up_to(series, last),
        seeded=seeded_runs(earlier, cell),
        clients=scenario.clients,
        version=last + 1,
        events=[(number, cost) for number, cost in costs.items() if cost is not None],
    )


def _carried_out(series: Series, plan: _Plan, asked: Asked, play: Play) -> Outcome:
    """Trains, judges and decides."""
    version = plan.version
    run = series.run_of(version)
    try:
        if plan.scenario.claims_dp:
            check_prepaid(series, version)
        play(plan.scenario, run, plan.text)
    except BudgetExceeded:
        # A budget that ended a run has left a model, which is judged like any other.
        if not run.exists() or not series.cell(version).cell.status().state.ended:
            _forget_untrained(series, version)
            raise
    except SecureflError:
        _forget_untrained(series, version)
        raise
    weights, previous = (
        load_checkpoint(series.cell(number).cell.checkpoint).state.weights
        for number in (version, plan.start)
    )
    if asked.validation is not None:
        # Once more, right before they are read: training may have taken days.
        check_apart(series, plan.scenario, version, asked.validation)
    judgement = judge(plan.scenario, asked, weights, previous, version=version)
    write_json(series.folder(version) / JUDGED, judgement.figures)
    decision = _decide(series, plan, asked, judgement)
    return Outcome(version, decision, judgement.figures)


def _forget_untrained(series: Series, version: int) -> None:
    """Takes away the folder of a version that was refused before its training."""
    if not series.run_of(version).exists():
        shutil.rmtree(series.folder(version))


def _decide(series: Series, plan: _Plan, asked: Asked, judgement: Judgement) -> Decision:
    kind: Kind = RELEASED if judgement.passed else REFUSED
    return series.decide(
        plan.version,
        kind,
        gate=None if asked.gate is None else asked.gate.text,
        start=plan.start,
        **judgement.compared,
    )


def _stored(series: Series, version: int, asked: Asked) -> _Plan | None:
    """Returns the plan of a version; None where another request made it."""
    stored = read_json(series.folder(version) / PLAN)
    try:
        if stored["asked"] != asked.to_json(series.path.parent):
            return None
        values = parse_toml(stored["text"], "the plan")
        folder = absolute({"folder": stored["folder"]}, series.path.parent)["folder"]
        scenario = make_scenario({**values, "folder": folder})
        return _Plan(version, int(stored["start"]), scenario, stored["text"])
    except (KeyError, TypeError, ValueError):
        raise RunFolderError(f"{series.folder(version) / PLAN} is damaged") from None


def _has_same_records(series: Series, plan: _Plan) -> bool:
    before = series.cell(plan.version).scenario["data"].get("digest")
    return bool(before == plan.scenario.facts.data_digest)


def _judged_before(series: Series, version: int) -> Mapping[str, Any]:
    file = series.folder(version) / JUDGED
    return read_json(file) if file.exists() else {}
