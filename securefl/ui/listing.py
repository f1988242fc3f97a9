"""What a scenario can name, and the runs in a folder."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securefl.audit.threats import THREATS
from securefl.errors import RunFolderError, ScenarioError
from securefl.files import is_held
from securefl.runs.cell import Cell, CellState
from securefl.runs.folder import RunFolder
from securefl.scenario import catalog
from securefl.scenario.entries import parameters_of

KINDS = ("rules", "prefilters", "attacks", "data", "models", "steps", "channels", "threats", "runs")


def listing(what: str | None, folder: Path) -> Iterator[str]:
    """One line each; the names of the lists themselves where none is asked for.

    Raises:
        ScenarioError: there is no such list.
    """
    tables: dict[str, Mapping[str, tuple[Callable[..., Any], ...]]] = {
        "rules": {name: (entry.function,) for name, entry in catalog.RULES.items()},
        "prefilters": {name: (entry.function,) for name, entry in catalog.PREFILTERS.items()},
        "attacks": {name: entry.functions for name, entry in catalog.ATTACKS.items()},
        "models": {name: (function,) for name, function in catalog.MODELS.items()},
        "steps": {name: (function,) for name, function in catalog.STEPS.items()},
    }
    if what is None:
        return (f"securefl ls {kind}" for kind in KINDS)
    if what in tables:
        return (_callable(name, *functions) for name, functions in tables[what].items())
    if what == "data":
        return (_data(name, entry) for name, entry in catalog.DATA.items())
    if what == "channels":
        return (
            f"{name:<14} {entry.stages} stage(s) a round"
            for name, entry in catalog.CHANNELS.items()
        )
    if what == "threats":
        return _threats()
    if what == "runs":
        return _runs(folder)
    raise ScenarioError(f"ls: there is no list {what!r}; known: {', '.join(KINDS)}")


def _data(name: str, entry: catalog.DataEntry) -> str:
    """What the records are, how many train, how they are dealt, and under which licence."""
    task = entry.task(*entry.sizes[:1])
    what = (
        f"images {' x '.join(map(str, task.image))}" if task.image else f"{task.features} numbers"
    )
    labels = (
        f"{task.classes} labels, several a record" if task.multilabel else f"{task.classes} classes"
    )
    sizes = f"; sizes {', '.join(map(str, entry.sizes))}" if entry.sizes else ""
    own = f"; {', '.join(_partitions(entry))}" if not entry.sizes else ""
    return f"{name:<25} {what}, {labels}, {entry.records} training records{sizes}{own}; {entry.license}"


def _partitions(entry: catalog.DataEntry) -> list[str]:
    return list(dict.fromkeys([*entry.partitions, "pooled", *catalog.DEALS]))


def _threats() -> Iterator[str]:
    """Who might look, and what it sees; then what each party learns, channel by channel (see docs/threat-model.md)."""
    for name, model in THREATS.items():
        yield f"{name}: {model.who}" + (" (measured as if it kept to it)" if model.deviates else "")
        for channel in catalog.CHANNELS:
            always, reported = model.sees(channel), model.sees(channel, reported=True)
            more = "".join(
                f"; with channel.reveal_counts: {kind}" for kind in reported if kind not in always
            )
            yield f"    {channel:<8} {', '.join(always) or 'nothing'}{more}"
    yield "what each party learns, by channel:"
    for name, entry in catalog.CHANNELS.items():
        for party, sees in entry.threats.items():
            yield f"    {name:<8} {party}: {sees}"


def _callable(name: str, *functions: Callable[..., Any]) -> str:
    first = " Then: ".join(
        (inspect.getdoc(function) or "").splitlines()[0] for function in functions
    )
    takes = ", ".join(parameters_of(*functions))
    return f"{name:<23} {first}{f' Takes {takes}.' if takes else ''}"


def _runs(folder: Path) -> Iterator[str]:
    """Name, cells by state, rounds played of asked, and when it was last written."""
    if not folder.is_dir():
        raise ScenarioError(f"ls runs: there is no folder {folder}")
    paths = sorted(path.parent for path in folder.glob("*/resolved.json"))
    if not paths:
        yield f"no runs in {folder}"
    for path in paths:
        try:
            told = _stand(RunFolder.open(path))
        except RunFolderError as damage:
            told = str(damage)
        yield f"{path.name:<32} {told}"


def _stand(run: RunFolder) -> str:
    """How the cells of a run stand."""
    cells = {cell.hash: (scenario["rounds"], cell) for _, scenario, cell in run.cells()}
    states = [_state(run, cell) for _, cell in cells.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    played = sum(len(cell.rounds()) for _, cell in cells.values())
    return f"{counts}; {played} of {sum(rounds for rounds, _ in cells.values())} rounds"


def _state(run: RunFolder, cell: Cell) -> str:
    """A cell's state; one that says running while nobody holds the folder was interrupted."""
    state = cell.status().state
    begun = state in (CellState.NEW, CellState.RUNNING) and cell.folder.exists()
    return "interrupted" if begun and not is_held(run.path) else state.value
