"""The runs before a run, and which of them drew their noise from a seed.

A claim covers the releases of a run and of the runs that it continues. Noise from a seed protects
against nobody who has that seed, whatever later runs add, so no continuation removes the mark.
Ledgers carry it in their first line. For ledgers from before the mark, the folders that `init_from`
names are looked up.
"""

from collections.abc import Iterable, Mapping, Sequence
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
    """Returns the names of the runs with noise from a seed: those before a run, and the run itself.

    Args:
        scenario: the run's resolved scenario.
        cell: its cell.
    """
    declared = (scenario.get("privacy") or {}).get("noise")
    noises = {declared, *map(noise_of, _ledgers(cell))}
    own = [cell.status().run or "unnamed"] if "seeded" in noises else []
    return _distinct([*seeded_earlier(scenario, cell), *own])


def seeded_earlier(scenario: Mapping[str, Any], cell: Cell) -> tuple[str, ...]:
    """Returns the names of the earlier runs with noise from a seed.

    They come from the run's ledgers, or from the folders of the earlier runs where the ledgers are
    older than the mark.
    """
    ledgers = _ledgers(cell)
    marks = [seeded_before(ledger) for ledger in ledgers]
    known_marks = [mark for mark in marks if mark is not None]
    # Ledgers that carry the mark speak for the run, also next to some from before it.
    if known_marks:
        return _distinct(chain.from_iterable(known_marks))
    # The last entries of the earlier run's ledgers, which these ledgers go on from.
    heads = {
        ledger[0]["before"]["head"] for ledger in ledgers if ledger and ledger[0].get("before")
    }
    if scenario.get("init_from") is None:
        return (UNKNOWN,) if heads else ()
    return _seeded_runs_at(Path(scenario["init_from"]), heads)


def with_marks(metrics: RunMetrics, scenario: Mapping[str, Any], cell: Cell) -> RunMetrics:
    """Returns metrics whose noise is "seeded" if that of any earlier run was.

    This covers folders from before the mark, too. Metrics without a claim stay as they are.
    """
    if metrics.get("epsilon") is None:
        return metrics
    earlier = () if scenario.get("init_from") is None else seeded_earlier(scenario, cell)
    marked = metrics.copy()
    if earlier:
        marked["noise"] = "seeded"
    marked["seeded_before"] = list(earlier)
    return marked


def _ledgers(cell: Cell) -> list[Entries]:
    """The readable ledgers of a cell.

    A damaged ledger is refused where the run is continued; here it says nothing.
    """
    ledgers: list[Entries] = []
    for file in sorted(cell.ledgers.glob("*.jsonl")):
        try:
            ledgers.append(read_entries(file))
        except LedgerError:
            continue
    return ledgers


def _seeded_runs_at(path: Path, heads: set[str]) -> tuple[str, ...]:
    """The seeded runs up to the one at path; unknown unless its ledgers hold all these heads."""
    try:
        cells = RunFolder.open(path).cells()
    except SecureflError:
        return (UNKNOWN,)
    if len(cells) != 1:
        return (UNKNOWN,)
    _, scenario, cell = cells[0]
    hashes = {entry["hash"] for ledger in _ledgers(cell) for entry in ledger}
    # Another run may lie at this path by now: its word counts for nothing.
    return seeded_runs(scenario, cell) if heads <= hashes else (UNKNOWN,)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
