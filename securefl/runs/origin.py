"""Continues training from a released model, on top of what its clients have spent."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from securefl import vector
from securefl.errors import BudgetExceeded, LedgerError, ScenarioError, SecureflError
from securefl.privacy.accounting.calibration import MIN_SHARE_OF_TARGET
from securefl.privacy.chain import noise_of, read_entries, seeded_mark
from securefl.privacy.past import NO_PAST, Past, past_of
from securefl.privacy.terms import place_called, uncovering
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import Checkpoint, load_checkpoint
from securefl.runs.folder import LabelledCell, RunFolder
from securefl.runs.form import check_form
from securefl.runs.lineage import seeded_runs
from securefl.scenario import catalog
from securefl.scenario.assemble.ledgers import Origin, place_of
from securefl.scenario.scenario import Scenario

Resolved = Mapping[str, Any]

# Of [data], what may differ in a later version of a model: which records there are. The split seed
# and the share that judges stay, so that a record that comes again is on the same side.
# What the files of a schema and a crosswalk say is compared apart from where they lie.
OTHER_RECORDS = frozenset(
    ("path", "digest", "share", "most", "arguments", "labels", "schema", "crosswalk")
)


def origin_of(scenario: Scenario) -> Origin | None:
    """Returns the run that `init_from` names, checked; None where a run starts from scratch.

    Raises:
        ScenarioError: there is no such run, it did not end, it had other records or another model,
            or a DP claim would rest on training that claimed none.
        LedgerError: a ledger was edited, cut or replaced.
        BudgetExceeded: the earlier runs have spent the budget.
    """
    if scenario.init_from is None:
        return None
    _, earlier, cell = _only_run(scenario.init_from)
    if not cell.status().state.ended or not cell.checkpoint.exists():
        raise ScenarioError(f"init_from: {scenario.init_from} did not end; resume it first")
    _check_same_training(scenario, earlier)
    if scenario.refine is not None:
        check_form(scenario, Path(scenario.init_from))
        _check_deal(scenario, earlier)
    _check_publication(scenario, earlier["channel"]["kind"])
    if scenario.claims_dp:
        _check_claim(scenario, earlier)
    checkpoint = load_checkpoint(cell.checkpoint)
    weights = checkpoint.state.weights
    if scenario.refine is not None:
        _check_same_form(scenario, checkpoint)
    if not scenario.claims_dp:
        return Origin(weights, {})
    # Before the budget: seeded noise that passes for the system's would falsify the claim.
    check_noise(cell, earlier["privacy"]["noise"])
    spent = spent_in(cell)
    seeded = seeded_runs(earlier, cell)
    if scenario.refine is not None and scenario.refine.ledgers is not None:
        spent = spent_by_all(Path(scenario.refine.ledgers), spent)
        marks = chain.from_iterable(past.seeded for past in spent.values())
        seeded = tuple(dict.fromkeys([*seeded, *marks]))
    _check_places(scenario, earlier, spent.values())
    origin = Origin(weights, spent, seeded)
    _check_budget(scenario, origin)
    return origin


def _only_run(path: str) -> LabelledCell:
    try:
        cells = RunFolder.open(Path(path)).cells()
    except SecureflError as reason:
        raise ScenarioError(f"init_from: {reason}") from None
    if len(cells) != 1:
        raise ScenarioError(f"init_from: {path} holds {len(cells)} runs, it must be one")
    return cells[0]


def _check_same_training(scenario: Scenario, earlier: Resolved) -> None:
    """Refuses other records or another model: spent budgets belong to records.

    A later version of a model may have other records of the same sites. Its ledgers are the sites',
    so that a record which is in several versions pays for all of them.
    """
    now = scenario.resolved()
    if _has_same_records(scenario, earlier):
        # The same records, wherever they lie, and whatever number this process gives an object.
        places = {key: earlier["data"].get(key) for key in ("name", "path")}
        now["data"] |= places
    free = frozenset() if scenario.refine is None else OTHER_RECORDS
    for table, ignored in (("data", free), ("model", frozenset[str]())):
        for key in sorted({*earlier[table], *now[table]} - ignored):
            # A key that one version does not know counts as not set.
            before = earlier[table].get(key)
            here = now[table].get(key)
            if before != here:
                raise ScenarioError(
                    f"init_from: {scenario.init_from} has {table}.{key} = {_shown(before)}, "
                    f"here it is {_shown(here)}; they must be equal: change it here, or "
                    "train a new model"
                )


def _has_same_records(scenario: Scenario, earlier: Resolved) -> bool:
    """Whether a user's own records are those of the earlier run."""
    digest = scenario.facts.data_digest
    return digest is not None and digest == earlier["data"].get("digest")


def _check_deal(scenario: Scenario, earlier: Resolved) -> None:
    """Refuses a deal by which a record may leave its ledger. Raises ScenarioError.

    Published records are dealt to the same clients again, and `share` is drawn afterwards.
    """
    is_own = not scenario.facts.data_set.published and not _has_same_records(scenario, earlier)
    if scenario.claims_dp and is_own and scenario.partition in catalog.DEALS:
        raise ScenarioError(
            f"data.partition = {scenario.partition!r} deals other records anew: a record that "
            "comes again may be at another client, whose ledger lacks what was spent on it; train "
            "a first version with 'natural' or 'pooled'"
        )


def _check_same_form(scenario: Scenario, checkpoint: Checkpoint) -> None:
    """Refuses records for which the model would have other parameters. Raises ScenarioError."""
    model = scenario.facts.model
    # The model is without weights: its sizes alone count.
    if not checkpoint.fits(torch.empty(vector.size(model)), vector.shapes(model)):
        raise ScenarioError(
            f"init_from: the model of {scenario.init_from} does not fit these records: they have "
            "other features or classes"
        )


def _shown(value: object) -> object:
    return "not set" if value is None else value


def _check_publication(scenario: Scenario, earlier: str) -> None:
    """Refuses to hand a model that key holders opened to a server. Raises ScenarioError.

    Opened CKKS numbers give the key away to a server that chose the ciphertexts (Li and Micciancio,
    EUROCRYPT 2021).
    """
    kind = scenario.channel.kind
    shown_now = catalog.CHANNELS[kind].server_holds_model
    if shown_now and not catalog.CHANNELS[earlier].server_holds_model:
        raise ScenarioError(
            f"init_from: {scenario.init_from} is a {earlier} run, whose model only key holders may "
            f"see, and a {kind} run would show it to the server; continue with "
            f"channel.kind = {earlier!r}"
        )


def _check_claim(scenario: Scenario, earlier: Resolved) -> None:
    """Refuses a claim that does not cover what the earlier run claimed."""
    before = earlier["privacy"] or {"epsilon": "inf"}
    if before["epsilon"] == "inf":
        raise ScenarioError(
            f"init_from: {scenario.init_from} claims no DP: its model was trained on these records "
            "without noise, which no later noise hides"
        )
    here = scenario.resolved()["privacy"]
    # A later version has other records, and so another number of them.
    constants = ("unit", "delta") if scenario.refine else ("unit", "delta", "records")
    for key in constants:
        if before[key] != here[key]:
            raise ScenarioError(
                f"init_from: {scenario.init_from} has privacy.{key} = {before[key]}, here it is "
                f"{here[key]}; they must be equal: change it here, or "
                "train a new model"
            )
    # One client replaced is two added or removed: such epsilons do not add up.
    sampling = (earlier.get("cohort") or {}).get("sampling")
    now = None if scenario.cohort is None else scenario.cohort.sampling
    if scenario.protects_clients and sampling != now:
        raise ScenarioError(
            f"init_from: {scenario.init_from} has cohort.sampling = {_shown(sampling)}, here it is "
            f"{_shown(now)}; their claims have other neighbours, so they must be equal: change it "
            "here, or train a new model"
        )


def _check_places(scenario: Scenario, earlier: Resolved, spent: Iterable[Past]) -> None:
    """Refuses a claim against somebody who could see through the noise of an earlier run.

    Ledgers say where noise was added, also where resolved.json was edited. The claim covers the
    releases of all runs, so that it holds against those alone whom each run's noise holds against.
    """
    channel = earlier["channel"]
    name = earlier["privacy"].get("place", "local")
    opener = catalog.CHANNELS[channel["kind"]].opener
    declared = place_called(name, channel.get("corrupt"), opener)
    booked = chain.from_iterable(past.places for past in spent)
    here = place_of(scenario)
    weaker = uncovering((declared, *booked), here)
    if weaker is not None:
        raise ScenarioError(
            f"init_from: {scenario.init_from} has {weaker}, here it is {here}: the claim covers "
            "what both runs release, and the noise of the earlier one does not hold against all "
            f"whom this claim names; set {weaker} here, too, or remove init_from"
        )


def check_noise(cell: Cell, declared: str) -> None:
    """Refuses a ledger under another kind of noise than its scenario declares.

    Raises:
        LedgerError: resolved.json was edited, or the ledger replaced.
    """
    for file in sorted(cell.ledgers.glob("*.jsonl")):
        noise = noise_of(read_entries(file))
        if noise not in (None, declared):
            raise LedgerError(
                f"init_from: the ledger {file.name} of {cell.folder} was kept at noise {noise}, "
                f"resolved.json says {declared}"
            )


def _check_budget(scenario: Scenario, origin: Origin) -> None:
    """Refuses a budget that the earlier runs have spent. Raises BudgetExceeded."""
    if scenario.privacy is None or not origin.spent:
        return
    spent = origin.epsilon(scenario.privacy.delta)
    budget = scenario.privacy.epsilon
    if spent >= MIN_SHARE_OF_TARGET * budget:
        raise BudgetExceeded(
            f"{scenario.init_from} has spent epsilon {spent:.4g} of {budget:g}, which is for both "
            "runs: raise "
            f"privacy.epsilon{seeded_mark(scenario.privacy.noise, origin.seeded)}"
        )


def spent_in(cell: Cell) -> dict[int, Past]:
    """Client -> what its ledger holds, once every head that the rounds noted is in it.

    A client that took no part has a ledger too, if it had spent something before.
    """
    spent = {int(file.stem): past_of(file) for file in cell.ledgers.glob("*.jsonl")}
    for record in cell.rounds():
        for client, head in record.ledger_heads.items():
            # A ledger is a chain of hashes: a shorter or another chain lacks some head.
            if head not in spent.get(client, NO_PAST).heads:
                raise LedgerError(
                    f"init_from: the ledger {client}.jsonl of {cell.folder} was cut or replaced: "
                    "a head noted in rounds.jsonl is not in it"
                )
    return spent


def spent_by_all(ledgers: Path, least: Mapping[int, Past]) -> dict[int, Past]:
    """Returns client -> what it has spent on all versions of a model before this one.

    Args:
        ledgers: folder of the ledgers that go on from the last version's.
        least: client -> what it spent on the version that training starts from.

    Raises:
        LedgerError: a ledger is damaged, or lacks something of what was spent.
    """
    spent = {int(file.stem): past_of(file) for file in sorted(ledgers.glob("*.jsonl"))}
    for client, past in least.items():
        booked = Counter(dict(spent.get(client, NO_PAST).events))
        if not Counter(dict(past.events)) <= booked:
            raise LedgerError(
                f"refine.ledgers: the ledger {client}.jsonl in {ledgers} lacks releases of the "
                "version that training starts from"
            )
    return spent
