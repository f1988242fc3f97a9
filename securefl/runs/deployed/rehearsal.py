"""A deployment on one machine: real processes, then the same scenario simulated, and compared."""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from securefl.data.download import OnBytes, quiet
from securefl.errors import ScenarioError
from securefl.federation.policy import RoundRules
from securefl.files import write_json
from securefl.runs import api
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed import process, ways
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.charter import Shared, envelope_limit
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.deployed.federation import admit, collect, found
from securefl.runs.deployed.joining import POLICY, join
from securefl.runs.deployed.keys import PRIVATE_FILES
from securefl.runs.deployed.records import RECORDS, SiteRecords
from securefl.runs.deployed.site_folder import APPROVAL
from securefl.runs.deployed.ways import Direct, Way, Words
from securefl.runs.folder import RunFolder
from securefl.runs.threads import environment_of_one_thread
from securefl.scenario.assemble.data import fetch_data
from securefl.scenario.scenario import Scenario
from securefl.scenario.written import to_toml

STAGE_SECONDS = 600.0
_ERRORS = "errors.txt"
# Figures that follow from counts without loss.
_EXACT = ("records", "accuracy", "balanced_accuracy", "majority")
_ROUNDING = 1e-12

# site -> its process, once all of them run
OnStarted = Callable[[Mapping[int, subprocess.Popen[bytes]]], None]


def unwatched(agents: Mapping[int, subprocess.Popen[bytes]]) -> None:
    """Shows the processes to nobody."""


@dataclass(frozen=True)
class Rehearsed:
    """The outcome of a rehearsal.

    Attributes:
        exit_code: of the coordinator.
        reason: why the coordinator failed; empty if it did not.
        absent: round -> sites whose update is missing in it.
        trips: of the envelopes, set-up and end included.
        identical: whether the model is the simulation's, bit for bit; None where that means
            nothing: noise is fresh or on the figures that choose the model, a site was absent, or
            the run failed.
        figures: whether the sites' sums of counts give the figures of the simulation, which has all
            test records in one place; None where models are not compared, or figures are noisy.
    """

    exit_code: int
    reason: str
    absent: Mapping[int, tuple[int, ...]]
    trips: int
    identical: bool | None
    figures: bool | None = None


def rehearse(
    scenario: Scenario,
    text: str,
    overrides: tuple[str, ...],
    out: Path,
    *,
    seconds: float = STAGE_SECONDS,
    keeps_keys: bool = False,
    on_bytes: OnBytes = quiet,
    on_started: OnStarted = unwatched,
    way: Callable[[], Way] = Direct,
) -> Rehearsed:
    """Plays a scenario between processes over TLS, then here, and compares the models.

    Args:
        scenario: what to play.
        text: the same, in TOML.
        overrides: `key.path=value` pairs on top of the text.
        out: a folder that is made; it gets coordinator, sites and simulation.
        seconds: after which a stage ends without the sites that did not answer.
        keeps_keys: whether keys and the copies of records stay there.
        on_bytes: called with the progress of a download.
        on_started: called once all processes run.
        way: opens the way that envelopes take.

    Raises:
        ScenarioError: the scenario does not run between sites, or `out` exists.
        SecureflError: the simulation failed.
    """
    check_deployable(scenario)
    if out.exists():
        raise ScenarioError(f"{out} exists; choose another folder for the rehearsal")
    fetch_data(scenario, on_bytes)
    shared = Shared.of(text, overrides, scenario.home)
    # Nothing is made if a site's own records are not ready.
    records = SiteRecords(scenario)
    with closing(way()) as opened:
        folders = _prepare(scenario, shared, records, out, opened.address, seconds)
        try:
            limit = envelope_limit(scenario)
            with opened.between(folders.coordinator, folders.sites, limit) as words:
                exit_code, reason = _play(folders, words, on_started)
        finally:
            if not keeps_keys:
                _forget(folders)
    cell = Cell(folders.coordinator)
    absent = {
        record.round: tuple(sorted(set(record.cohort) - set(record.survivors)))
        for record in cell.rounds()
        if set(record.cohort) - set(record.survivors)
    }
    identical = figures = None
    is_over = cell.status().state is CellState.DONE
    if is_over and not absent and _is_repeatable(scenario):
        api.run(scenario, out / "simulation", text=text)
        simulated = RunFolder(out / "simulation").cell(scenario)
        identical = _has_model_of(simulated, cell)
        figures = _has_figures_of(simulated, cell) if scenario.leave == "sums" else None
    trips = process.counts_of(folders.coordinator)["trips"]
    rehearsed = Rehearsed(exit_code, reason, absent, trips, identical, figures)
    write_json(out / "rehearsal.json", vars(rehearsed))
    return rehearsed


@dataclass(frozen=True)
class _Folders:
    """The folder of each process."""

    coordinator: Path
    sites: Mapping[int, Path]

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.coordinator, *self.sites.values())


def _prepare(
    scenario: Scenario,
    shared: Shared,
    records: SiteRecords,
    out: Path,
    address: tuple[str, int],
    seconds: float,
) -> _Folders:
    """Goes the way of real sites, from the invitation to the last approval."""
    sites = {site: out / "sites" / str(site) for site in range(scenario.clients)}
    folders = _Folders(out / "coordinator", sites)
    invitation = found(shared, address, folders.coordinator)
    requests = [join(invitation, f"site-{site}", folder) for site, folder in folders.sites.items()]
    charter = admit(folders.coordinator, requests, days=1.0, deadline=seconds)
    approvals = []
    for site, folder in sites.items():
        records.give(folder, site)
        (folder / POLICY).write_text(_policy_of(scenario), encoding="utf-8")
        approve_charter(folder, charter, rehearsed=True)
        approvals.append(Approval.read(folder / APPROVAL))
    collect(folders.coordinator, approvals)
    return folders


def _policy_of(scenario: Scenario) -> str:
    """Returns a policy that allows this scenario: in a rehearsal nobody is protected."""
    channel = {
        "allowed": [scenario.channel.kind],
        "min_cohort": scenario.facts.min_cohort,
        "corrupt": scenario.facts.channel_options.get("corrupt"),
    }
    rounds = {"a_day": max(scenario.rounds, RoundRules().a_day)}
    return to_toml(
        {
            "budget": {"epsilon": math.inf, "test_epsilon": math.inf},
            "channel": channel,
            "rounds": rounds,
            "evaluation": {"leave": scenario.leave},
        }
    )


def _play(folders: _Folders, words: Words, on_started: OnStarted) -> tuple[int, str]:
    """Runs all processes; returns the coordinator's exit code and why it failed."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        coordinator = _started(
            ["coordinator", str(folders.coordinator), *words.coordinator],
            inherited=words.inherited,
        )
        started.append(coordinator)
        words.handed_over()
        agents = {}
        for site, folder in folders.sites.items():
            agents[site] = _started(["site", str(folder), *words.site])
            started.append(agents[site])
        on_started(agents)
        exit_code = coordinator.wait()
        for agent in agents.values():
            with suppress(subprocess.TimeoutExpired):  # a site that hangs is killed
                agent.wait(2 * ways.PATIENCE_SECONDS)
    finally:
        for child in started:
            child.kill()
            child.wait()
    lines = (folders.coordinator / _ERRORS).read_text().splitlines()
    return exit_code, lines[-1].removeprefix("error: ") if lines else ""


def _started(arguments: list[str], inherited: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Starts a process with its role and folder; its errors go to a file in there."""
    with (Path(arguments[1]) / _ERRORS).open("wb") as errors:
        return subprocess.Popen(  # noqa: S603 - this interpreter, and words of our own
            [sys.executable, "-m", process.__name__, *arguments],
            env=environment_of_one_thread(),
            stdin=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=inherited,
        )


def _forget(folders: _Folders) -> None:
    """Removes private keys and the copies of records."""
    for folder in folders.all:
        for name in (*PRIVATE_FILES, RECORDS):
            (folder / name).unlink(missing_ok=True)


def _is_repeatable(scenario: Scenario) -> bool:
    """Whether a simulation must end with the same model.

    Noise on figures may choose another model than the figures themselves.
    """
    is_chosen_by_noise = scenario.keeps_best and scenario.leave == "noisy"
    return scenario.repeatable and not is_chosen_by_noise


def _has_model_of(simulated: Cell, cell: Cell) -> bool:
    """Whether a cell's model is the simulation's, bit for bit."""
    ours, theirs = (load_checkpoint(one.checkpoint).state for one in (cell, simulated))
    return torch.equal(ours.weights.view(torch.int32), theirs.weights.view(torch.int32))


def _has_figures_of(simulated: Cell, cell: Cell) -> bool:
    """Whether the sums of counts give the simulation's figures; the AUC within its own bound."""
    ours: dict[str, Any] = {**(cell.metrics() or {})}
    theirs: dict[str, Any] = {**(simulated.metrics() or {})}
    if any(ours.get(key) != theirs[key] for key in _EXACT):
        return False
    if ours["auc"] is None or theirs["auc"] is None:
        return ours["auc"] is theirs["auc"]
    return bool(abs(ours["auc"] - theirs["auc"]) <= ours["auc_error"] + _ROUNDING)
