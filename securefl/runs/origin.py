"""Training that goes on from a released model, on what its clients have spent."""

from pathlib import Path
from typing import Any

from securefl.errors import BudgetExceeded, LedgerError, ScenarioError, SecureflError
from securefl.privacy.accounting.calibration import MIN_SHARE_OF_TARGET
from securefl.privacy.chain import noise_of, read_entries, seeded_mark
from securefl.privacy.past import NO_PAST, Past, past_of
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import seeded_runs
from securefl.scenario import catalog
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.scenario import Scenario


def origin_of(scenario: Scenario) -> Origin | None:
    """The run that `init_from` names, checked; None where a run starts from scratch.

    Raises:
        ScenarioError: there is no such run, it did not end, it was on other records or of another model, or a DP claim
            would stand on training that claimed none.
        LedgerError: a ledger was edited, cut or replaced.
        BudgetExceeded: what was spent before leaves nothing of the budget.
    """
    if scenario.init_from is None:
        return None
    try:
        cells = RunFolder.open(Path(scenario.init_from)).cells()
    except SecureflError as reason:
        raise ScenarioError(f"init_from: {reason}") from None
    if len(cells) != 1:
        raise ScenarioError(
            f"init_from: {scenario.init_from} holds {len(cells)} runs, it must be one"
        )
    ((_, earlier, cell),) = cells
    _check(scenario, earlier, cell)
    weights = load_checkpoint(cell.checkpoint).state.weights
    if not scenario.claims_dp:
        return Origin(weights, {})
    _check_noise(cell, earlier["privacy"]["noise"])
    origin = Origin(weights, _spent(cell), seeded_runs(earlier, cell))
    _check_budget(scenario, origin)
    return origin


def _check_budget(scenario: Scenario, origin: Origin) -> None:
    """Something is left of the budget. Raises BudgetExceeded."""
    if scenario.privacy is None or not origin.spent:
        return
    spent, budget = origin.epsilon(scenario.privacy.delta), scenario.privacy.epsilon
    if spent >= MIN_SHARE_OF_TARGET * budget:
        raise BudgetExceeded(
            f"{scenario.init_from} has spent epsilon {spent:.4g} of {budget:g}, which is for both runs: raise "
            f"privacy.epsilon{seeded_mark(scenario.privacy.noise, origin.seeded)}"
        )


def _check(scenario: Scenario, earlier: Any, cell: Cell) -> None:
    """What goes on is the same model on the same records, under a claim of the same kind."""
    now, where = scenario.resolved(), f"init_from: {scenario.init_from}"
    if not cell.status().state.ended or not cell.checkpoint.exists():
        raise ScenarioError(f"{where} did not end; resume it first")
    for table in ("data", "model"):
        for key in sorted({*earlier[table], *now[table]}):
            if (then := earlier[table].get(key)) != (here := now[table].get(key)):
                then, here = ("not set" if value is None else value for value in (then, here))
                raise ScenarioError(
                    f"{where} has {table}.{key} = {then}, here it is {here}; they must be equal"
                )
    _check_publication(scenario, earlier["channel"]["kind"], where)
    if not scenario.claims_dp:
        return
    claimed, claim = earlier["privacy"] or {"epsilon": "inf"}, now["privacy"]
    if claimed["epsilon"] == "inf":
        raise ScenarioError(
            f"{where} claims no DP: its model was trained on these records without noise, which no later noise hides"
        )
    for key in ("unit", "delta", "records"):
        if claimed[key] != claim[key]:
            raise ScenarioError(
                f"{where} has privacy.{key} = {claimed[key]}, here it is {claim[key]}; they must be equal"
            )


def _check_publication(scenario: Scenario, earlier: str, where: str) -> None:
    """Refuse to hand a model that key holders opened to a server. Raises ScenarioError.

    Opened CKKS numbers give the key away to a server that chose the ciphertexts (Li and Micciancio, EUROCRYPT 2021).
    """
    kind = scenario.channel.kind
    if (
        catalog.CHANNELS[kind].server_holds_model
        and not catalog.CHANNELS[earlier].server_holds_model
    ):
        raise ScenarioError(
            f"{where} is a {earlier} run, whose model only key holders may see, and a {kind} run would show it to "
            f"the server; continue with channel.kind = {earlier!r}"
        )


def _check_noise(cell: Cell, said: str) -> None:
    """No ledger of the cell was kept under another kind of noise than its scenario says. Raises LedgerError."""
    for file in sorted(cell.ledgers.glob("*.jsonl")):
        if (kept := noise_of(read_entries(file))) not in (None, said):
            raise LedgerError(
                f"init_from: the ledger {file.name} of {cell.folder} was kept at noise {kept}, "
                f"resolved.json says {said}"
            )


def _spent(cell: Cell) -> dict[int, Past]:
    """What every ledger of the cell holds, every head that its rounds noted among it.

    A client that took no part has a ledger too, if it had spent something before.
    """
    spent = {int(file.stem): past_of(file) for file in cell.ledgers.glob("*.jsonl")}
    for record in cell.rounds():
        for client, head in record.ledger_heads.items():
            if head not in spent.get(client, NO_PAST).heads:
                raise LedgerError(
                    f"init_from: the ledger {client}.jsonl of {cell.folder} was cut or replaced: a head noted in "
                    "rounds.jsonl is not in it"
                )
    return spent
