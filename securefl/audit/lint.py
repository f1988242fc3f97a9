"""From a run folder to verdicts: the named mistakes of its cells."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import LedgerError, RunFolderError
from securefl.privacy.chain import read_entries
from securefl.privacy.lint.case import Case, Finding
from securefl.privacy.lint.lint import lint
from securefl.runs.cell import Cell, CellState
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import seeded_earlier

Entries = list[dict[str, Any]]


class Verdict(NamedTuple):
    """A row of a run folder, the name of its cell, how far it came, and the mistakes that show in it."""

    label: str
    cell: str
    stand: str
    findings: list[Finding]

    @property
    def grave(self) -> bool:
        """Whether its claim falls."""
        return any(finding.grave for finding in self.findings)


def examine(path: Path) -> list[Verdict]:
    """The findings of every cell of the run folder at path, in its order; nothing is written.

    Raises:
        ScenarioError: path is no run folder.
        RunFolderError: a file other than a ledger is damaged.
    """
    cells = {
        cell.hash: (label, scenario, cell) for label, scenario, cell in RunFolder.open(path).cells()
    }
    run = [
        scenario for _, scenario, cell in cells.values() if cell.status().state is not CellState.NEW
    ]
    found = []
    for name, (label, scenario, cell) in cells.items():
        case = _case(scenario, cell, run)
        try:
            findings = [] if case.state == "new" else lint(case)
            found.append(Verdict(label, name, _stand(case), findings))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise RunFolderError(
                f"{cell.folder} or {path / 'resolved.json'} is damaged: a value is not there or not of its kind; put "
                "a copy back"
            ) from None
    return found


def told(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A line for each finding, with the cells that share it, and one on how far the cells came."""
    shared: dict[Finding, list[str]] = {}
    for verdict in verdicts:
        for finding in verdict.findings:
            shared.setdefault(finding, []).append(verdict.label)
    for finding, labels in sorted(shared.items(), key=lambda item: not item[0].grave):
        names = list(dict.fromkeys(labels))
        where = ", ".join(names[:3]) + (
            f" and {len(names) - 3} more rows" if len(names) > 3 else ""
        )
        cells = f" [{len(labels)} cells]" if len(labels) > 1 else ""
        yield f"{finding.weight} {finding.name}: {finding.message} ({where}){cells}"
    stands = Counter(verdict.stand for verdict in verdicts)
    came = "; ".join(
        stand if len(verdicts) == 1 else f"{count} {stand}" for stand, count in stands.items()
    )
    mistaken = sum(verdict.grave for verdict in verdicts)
    what = (
        f"{mistaken} of {len(verdicts)} cells with mistakes"
        if len(verdicts) > 1
        else _verdict(verdicts[0])
    )
    yield f"{what} ({came})"


def _verdict(verdict: Verdict) -> str:
    return "mistakes found" if verdict.grave else "no mistake found"


def _stand(case: Case) -> str:
    """How far a cell came, and whether there is a claim to look at."""
    played, asked = len(case.rounds), case.scenario["rounds"]
    if case.state == "new":
        return "not run"
    came = case.state if case.has_ended else "not ended"
    return f"{came}, {played} of {asked} rounds" + (
        "" if case.has_claim else ", no DP claim: little to look at"
    )


def _case(scenario: Mapping[str, Any], cell: Cell, run: list[Mapping[str, Any]]) -> Case:
    ledgers: dict[int, Entries] = {}
    broken = {}
    for file in sorted(cell.ledgers.glob("*")):
        client = int(file.stem) if file.stem.isdecimal() and file.suffix == ".jsonl" else None
        try:
            if client is None:
                raise LedgerError(f"{file.name} among the ledgers is no client's")
            ledgers[client] = read_entries(file)
        except LedgerError as reason:
            broken[-1 if client is None else client] = str(reason)
    return Case(
        scenario,
        cell.status().state.value,
        ledgers,
        broken,
        tuple(cell.round_lines()),
        cell.metrics(),
        seeded_earlier(scenario, cell),
        tuple(run),
    )
