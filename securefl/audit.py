"""From a run folder to verdicts: the named mistakes of its cells."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import LedgerError
from securefl.privacy.evidence import Case, Finding
from securefl.privacy.ledger import read_entries
from securefl.privacy.lint import lint
from securefl.runs import Cell, RunFolder


class Verdict(NamedTuple):
    """A row of a run folder, the name of its cell, and the mistakes that show in it."""

    label: str
    cell: str
    findings: list[Finding]


def examine(path: Path) -> list[Verdict]:
    """The findings of every cell of the run folder at path, in its order; nothing is written.

    Raises:
        ScenarioError: path is no run folder.
        RunFolderError: a file other than a ledger is damaged.
    """
    cells = {cell.hash: (label, scenario, cell) for label, scenario, cell in RunFolder.open(path).cells()}
    scenarios = [scenario for _, scenario, _ in cells.values()]
    return [
        Verdict(label, name, lint(_case(scenario, cell, scenarios))) for name, (label, scenario, cell) in cells.items()
    ]


def _case(scenario: Mapping[str, Any], cell: Cell, scenarios: list[Mapping[str, Any]]) -> Case:
    ledgers: dict[int, list[dict[str, Any]]] = {}
    broken = {}
    for file in sorted(cell.ledgers.glob("*.jsonl")):
        try:
            ledgers[int(file.stem)] = read_entries(file)
        except LedgerError as reason:
            broken[int(file.stem)] = str(reason)
    others = [other for other in scenarios if other is not scenario]
    return Case(scenario, ledgers, broken, tuple(cell.rounds()), cell.metrics(), tuple(others))
