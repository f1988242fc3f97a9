"""Training that goes on from a released model, on what its clients have spent."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from securefl.checkpoint import load_checkpoint
from securefl.errors import LedgerError, ScenarioError, SecureflError
from securefl.privacy.ledger import NOTHING, Before, carried
from securefl.runs import Cell, RunFolder

if TYPE_CHECKING:
    from securefl.scenario import Scenario


@dataclass(frozen=True)
class Origin:
    """Where a run starts: weights (d,), and what each client had spent on them."""

    weights: Tensor
    spent: dict[int, Before]

    def before(self, client: int) -> Before:
        """What the client's ledger continues."""
        return self.spent.get(client, NOTHING)


def origin_of(scenario: "Scenario") -> Origin | None:
    """The run that `init_from` names, checked; None where a run starts from scratch.

    Raises:
        ScenarioError: there is no such run, it did not end, it was on other records or of another model, or a DP claim
            would stand on training that claimed none.
        LedgerError: a ledger was edited, cut or replaced.
    """
    if scenario.init_from is None:
        return None
    try:
        cells = RunFolder.open(Path(scenario.init_from)).cells()
    except SecureflError as reason:
        raise ScenarioError(f"init_from: {reason}") from None
    if len(cells) != 1:
        raise ScenarioError(f"init_from: {scenario.init_from} holds {len(cells)} runs, it must be one")
    ((_, earlier, cell),) = cells
    _check(scenario, earlier, cell)
    spent = _spent(cell) if scenario.claims_dp else {}
    return Origin(load_checkpoint(cell.checkpoint).state.weights, spent)


def _check(scenario: "Scenario", earlier: Any, cell: Cell) -> None:
    """What goes on is the same model on the same records, under a claim of the same kind."""
    now, where = scenario.resolved(), f"init_from: {scenario.init_from}"
    if cell.status()["state"] not in ("done", "out of budget") or not cell.checkpoint.exists():
        raise ScenarioError(f"{where} did not end; resume it first")
    for key in ("data", "model"):
        if earlier[key] != now[key]:
            raise ScenarioError(f"{where} has another {key} table: {earlier[key]}, here it is {now[key]}")
    if not scenario.claims_dp:
        return
    then, claim = earlier["privacy"] or {"epsilon": "inf"}, now["privacy"]
    if then["epsilon"] == "inf":
        raise ScenarioError(
            f"{where} claims no DP: its model was trained on these records without noise, which no later noise hides"
        )
    for key in ("unit", "delta", "records"):
        if then[key] != claim[key]:
            raise ScenarioError(f"{where} has privacy.{key} = {then[key]}, here it is {claim[key]}; they must be equal")


def _spent(cell: Cell) -> dict[int, Before]:
    """What every ledger of the cell holds, every head that its rounds noted among it."""
    spent = {int(file.stem): carried(file) for file in cell.ledgers.glob("*.jsonl")}
    for record in cell.rounds():
        for client, head in record["ledger_heads"].items():
            if head not in spent.get(int(client), NOTHING).heads:
                raise LedgerError(
                    f"init_from: the ledger {client}.jsonl of {cell.folder} was cut or replaced: a head noted in "
                    "rounds.jsonl is not in it"
                )
    return spent
