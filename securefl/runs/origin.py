"""Continues training from a released model, on top of what its clients have spent."""

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch

from securefl import vector
from securefl.errors import BudgetExceeded, LedgerError, ScenarioError, SecureflError
from securefl.privacy.accounting.calibration import MIN_SHARE_OF_TARGET
from securefl.privacy.chain import noise_of, read_entries, seeded_mark
from securefl.privacy.past import NO_PAST, Past, past_of
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import Checkpoint, load_checkpoint
from securefl.runs.claims import Resolved, check_claim, check_places, shown
from securefl.runs.folder import LabelledCell, RunFolder
from securefl.runs.form import check_form
from securefl.runs.lineage import seeded_runs
from securefl.scenario import catalog
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.scenario import Scenario

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
        # A later version has other records, and so another number of them.
        constants = ("unit", "delta") if scenario.refine else ("unit", "delta", "records")
        check_claim(scenario, earlier, f"init_from: {scenario.init_from}", constants)
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
    booked = chain.from_iterable(past.places for past in spent.values())
    check_places(scenario, earlier, f"init_from: {scenario.init_from}", booked)
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
                    f"init_from: {scenario.init_from} has {table}.{key} = {shown(before)}, "
                    f"here it is {shown(here)}; they must be equal: change it here, or "
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
