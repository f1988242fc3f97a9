"""The runs behind a run: which of them drew their noise from a seed, a mark that no continuation removes.

A claim covers what a run releases and what the runs before it released. Noise from a seed protects against nobody who
has that seed, whatever later runs add. Ledgers say it in their first line; for ledgers from before this mark, the
folders that `init_from` names are looked up.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from securefl.errors import LedgerError, SecureflError
from securefl.privacy.chain import noise_of, read_entries, seeded_before
from securefl.runs.cell import Cell
from securefl.runs.folder import RunFolder
from securefl.runs.metrics import RunMetrics

UNKNOWN = "unknown: the ledgers are from before there was a mark"
Entries = Sequence[Mapping[str, Any]]  # the lines of a ledger


def seeded_runs(scenario: Mapping[str, Any], cell: Cell) -> tuple[str, ...]:
    """Names of the runs whose noise came from a seed: those before a run, and the run itself.

    Args:
        scenario: the run's resolved scenario.
        cell: its cell.
    """
    kinds = {(scenario.get("privacy") or {}).get("noise"), *map(noise_of, _ledgers(cell))}
    own = [cell.status().run or "unnamed"] if "seeded" in kinds else []
    return tuple(dict.fromkeys([*seeded_earlier(scenario, cell), *own]))


def seeded_earlier(scenario: Mapping[str, Any], cell: Cell) -> tuple[str, ...]:
    """Names of the runs before a run whose noise came from a seed, as its ledgers say, or the folders before it."""
    ledgers = _ledgers(cell)
    marks = [names for ledger in ledgers if (names := seeded_before(ledger)) is not None]
    if marks:
        return tuple(dict.fromkeys(chain.from_iterable(marks)))
    heads = {
        ledger[0]["before"]["head"] for ledger in ledgers if ledger and ledger[0].get("before")
    }
    if scenario.get("init_from") is None:
        return (UNKNOWN,) if heads else ()
    return _looked_up(Path(scenario["init_from"]), heads)


def with_marks(metrics: RunMetrics, scenario: Mapping[str, Any], cell: Cell) -> RunMetrics:
    """Metrics whose noise is "seeded" where that of an earlier run was, also in folders from before this mark."""
    if metrics.get("epsilon") is None:
        return metrics
    earlier = () if scenario.get("init_from") is None else seeded_earlier(scenario, cell)
    marked = metrics.copy()
    if earlier:
        marked["noise"] = "seeded"
    marked["seeded_before"] = list(earlier)
    return marked


def _ledgers(cell: Cell) -> list[Entries]:
    """The ledgers of a cell that can be read; a damaged one says nothing here, and is refused where it is continued."""
    found: list[Entries] = []
    for file in sorted(cell.ledgers.glob("*.jsonl")):
        try:
            found.append(read_entries(file))
        except LedgerError:
            continue
    return found


def _looked_up(path: Path, heads: set[str]) -> tuple[str, ...]:
    """What the one run at path says of itself; unknown where it is not the run whose ledgers end with these heads."""
    try:
        cells = RunFolder.open(path).cells()
    except SecureflError:
        return (UNKNOWN,)
    if len(cells) != 1:
        return (UNKNOWN,)
    ((_, scenario, cell),) = cells
    known = {entry["hash"] for ledger in _ledgers(cell) for entry in ledger}
    return seeded_runs(scenario, cell) if heads <= known else (UNKNOWN,)
