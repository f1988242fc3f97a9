"""Finds the named mistakes of federated privacy in the cells of a run folder."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import LedgerError, RunFolderError
from securefl.privacy.chain import read_entries
from securefl.privacy.lint.case import Case, Finding, once_a_round
from securefl.privacy.lint.lint import lint
from securefl.privacy.terms import Opener
from securefl.runs.cell import Cell, CellState
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import Entries, seeded_earlier
from securefl.scenario.topology_table import Topology

# Parts of the catalog, which imports torch, for which a look at files need not wait.
ADDS_NOISE = {"sgd": False, "dp_sgd": True, "clipped_gradient": True}  # by way of training
OPENED_BY_SERVER = frozenset({"plain", "masked"})  # channels
MAX_LABELS = 3  # rows that are named behind a mistake; the others are counted


class CellMistakes(NamedTuple):
    """The mistakes that show in one cell.

    Attributes:
        label: row of the run folder.
        cell: name of the cell.
        progress: how far it came, in words.
        findings: its mistakes and remarks.
    """

    label: str
    cell: str
    progress: str
    findings: list[Finding]

    @property
    def grave(self) -> bool:
        """Whether a finding refutes the cell's privacy claim."""
        return any(finding.grave for finding in self.findings)


def examine(path: Path, *, only: Collection[str] | None = None) -> list[CellMistakes]:
    """Returns the mistakes of the cells of a run folder, in the folder's order; writes nothing.

    Args:
        path: the run folder.
        only: names of the cells to look at; None for all.

    Raises:
        ScenarioError: path is no run folder.
        RunFolderError: a file other than a ledger is damaged.
    """
    cells = {
        cell.hash: (label, scenario, cell) for label, scenario, cell in RunFolder.open(path).cells()
    }
    # Some mistakes show only between cells that ran, such as two claims on the same records.
    played = [
        scenario for _, scenario, cell in cells.values() if cell.status().state is not CellState.NEW
    ]
    reports = []
    for name, (label, scenario, cell) in cells.items():
        if only is not None and name not in only:
            continue
        try:
            case = _case(scenario, cell, played)
            findings = [] if case.state == "new" else lint(case)
            reports.append(CellMistakes(label, name, _progress(case), findings))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise RunFolderError(
                f"{cell.folder} or {path / 'resolved.json'} is damaged: a value is missing or of "
                "the wrong type; put a copy back"
            ) from None
    return reports


def mistake_lines(reports: Sequence[CellMistakes]) -> Iterator[str]:
    """Yields a line for each mistake, the gravest first, then one on how far the cells came."""
    labels_of: dict[Finding, list[str]] = {}
    for report in reports:
        for finding in report.findings:
            labels_of.setdefault(finding, []).append(report.label)
    for finding, labels in sorted(labels_of.items(), key=lambda item: not item[0].grave):
        yield f"{finding.weight} {finding.name}: {finding.message} {_where(labels)}"
    yield _summary(reports)


def _where(labels: Sequence[str]) -> str:
    """The rows that share a mistake: a few by name, the others by number."""
    rows = list(dict.fromkeys(labels))
    named = ", ".join(rows[:MAX_LABELS])
    if len(rows) > MAX_LABELS:
        named += f" and {len(rows) - MAX_LABELS} more rows"
    if len(labels) > 1:
        return f"({named}) [{len(labels)} cells]"
    return f"({named})"


def _summary(reports: Sequence[CellMistakes]) -> str:
    if len(reports) == 1:
        (report,) = reports
        result = "mistakes found" if report.grave else "no mistake found"
        return f"{result} ({report.progress})"
    counts = Counter(report.progress for report in reports)
    progress = "; ".join(f"{count} {text}" for text, count in counts.items())
    mistaken = sum(report.grave for report in reports)
    return f"{mistaken} of {len(reports)} cells with mistakes ({progress})"


def _progress(case: Case) -> str:
    """How far a cell came, and whether it makes a claim that could be mistaken."""
    if case.state == "new":
        return "not run"
    state = case.state if case.has_ended else "not ended"
    progress = f"{state}, {len(case.rounds)} of {case.scenario['rounds']} rounds"
    return progress if case.has_claim else f"{progress}, no DP claim: little to look at"


def _case(scenario: Mapping[str, Any], cell: Cell, played: list[Mapping[str, Any]]) -> Case:
    """The evidence of one cell; a ledger that cannot be read is evidence as well."""
    ledgers: dict[int, Entries] = {}
    broken = {}
    for file in sorted(cell.ledgers.glob("*")):
        client = int(file.stem) if file.stem.isdecimal() and file.suffix == ".jsonl" else None
        try:
            if client is None:
                raise LedgerError(f"{file.name} among the ledgers belongs to no client")
            ledgers[client] = read_entries(file)
        except LedgerError as reason:
            broken[-1 if client is None else client] = str(reason)
    # A folder that somebody edited may name a way of training that there is not.
    adds_noise = ADDS_NOISE.get(scenario["training"]["kind"])
    return Case(
        scenario,
        cell.status().state.value,
        ledgers,
        broken,
        tuple(cell.round_lines()),
        cell.metrics(),
        seeded_earlier(scenario, cell),
        tuple(played),
        has_noise=adds_noise is not None and (adds_noise or _protects_clients(scenario)),
        numbers=_numbers(scenario),
        opener=_opener(scenario),
    )


def _opener(scenario: Mapping[str, Any]) -> Opener:
    """Returns who sees the sums of a scenario's channel."""
    kind = scenario["channel"]["kind"]
    if kind in OPENED_BY_SERVER:
        return "server"
    from securefl.scenario import catalog  # it imports torch

    channel = catalog.CHANNELS.get(kind)
    return "server" if channel is None else channel.opener


def _protects_clients(scenario: Mapping[str, Any]) -> bool:
    """Returns whether updates have noise as a whole, whatever the way of training."""
    privacy = scenario.get("privacy") or {}
    return bool(privacy.get("unit") == "client")


def _numbers(scenario: Mapping[str, Any]) -> Callable[[int], range]:
    """Returns round -> the numbers under which a client pays for its trainings in it."""
    table = scenario.get("topology")
    if table is None:
        return once_a_round
    from securefl.scenario import catalog  # it imports torch

    topology = Topology.model_validate(table)
    return partial(catalog.TOPOLOGIES[topology.kind].numbers, topology)
