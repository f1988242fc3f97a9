"""What a scenario can name, and the runs in a folder."""

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from securefl.errors import ScenarioError
from securefl.scenario.plugins.packages import registered
from securefl.ui.names import LISTS
from securefl.ui.sources import Description, descriptions

if TYPE_CHECKING:  # these load torch, which most lists do not need
    from securefl.audit.threats import ThreatModel
    from securefl.runs.cell import Cell
    from securefl.runs.folder import RunFolder
    from securefl.scenario.catalog import DataEntry


def listing(kind: str | None, folder: Path) -> Iterator[str]:
    """Yields a list, one line an entry; without a kind, the commands that print the lists.

    Args:
        kind: one of `LISTS`.
        folder: where runs are looked for.

    Raises:
        ScenarioError: there is no such list.
    """
    if kind is None:
        return (f"securefl ls {name}" for name in LISTS)
    if kind == "runs":
        return _runs(folder)
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "data": _data,
        "channels": _channels,
        "threats": _threats,
    }
    if kind in tables:
        return tables[kind]()
    if kind not in LISTS:
        raise ScenarioError(f"ls: there is no list {kind!r}; known: {', '.join(LISTS)}")
    return _catalog(kind)


def wrapped(line: str) -> str:
    """Wraps a line at the width of the terminal, under its second column.

    A line for a pipe or a file stays whole, so that `grep` finds all of it.
    """
    if not sys.stdout.isatty():
        return line
    first_column = re.match(r"\s*\S+\s+", line)
    indent = first_column.end() if first_column else 0
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _catalog(kind: str) -> Iterator[str]:
    ours = list(descriptions(kind.upper()))
    yield from map(_description_in_words, ours)
    yield from _of_packages(kind, {entry.name for entry in ours})


def _of_packages(kind: str, ours: Collection[str]) -> Iterator[str]:
    """Yields the names that installed packages brought, none of which is imported."""
    for entry in registered(kind):
        line = f"{entry.name:<23} from the package {entry.package} {entry.version}"
        # A scenario that uses the name gets ours.
        yield f"{line}, hidden by ours of this name" if entry.name in ours else line


def _description_in_words(entry: Description) -> str:
    line = f"{entry.name:<23} {' Then: '.join(entry.sentences)}"
    return f"{line} Takes {', '.join(entry.parameters)}." if entry.parameters else line


def _data() -> Iterator[str]:
    from securefl.scenario import catalog

    for name, entry in catalog.DATA.items():
        yield f"{name:<25} {data_in_words(entry)}"
    for name, form in catalog.OWN_DATA.items():
        yield f"{name:<25} your own: {form.describes}"
    yield from _of_packages("data", [*catalog.DATA, *catalog.OWN_DATA])


def data_in_words(entry: "DataEntry") -> str:
    """Says what the records are, how many train, how they are dealt, and under which licence."""
    from securefl.scenario import catalog

    task = entry.task(*entry.sizes[:1])
    records = f"{task.features} numbers"
    if task.image:
        records = f"images {' x '.join(map(str, task.image))}"
    labels = f"{task.classes} classes"
    if task.multilabel:
        labels = f"{task.classes} labels, several a record"
    if task.regression:
        labels = "1 real target" if task.outputs == 1 else f"{task.outputs} real targets"
    parts = [f"{records}, {labels}, {entry.records} training records"]
    if entry.sizes:
        parts.append(f"sizes {', '.join(map(str, entry.sizes))}")
    else:
        # A data set of its own sites names them; every set can also be pooled or dealt.
        partitions = dict.fromkeys([*entry.partitions, "pooled", *catalog.DEALS])
        parts.append(", ".join(partitions))
    return "; ".join([*parts, entry.license])


def _channels() -> Iterator[str]:
    from securefl.scenario import catalog

    for name, entry in catalog.CHANNELS.items():
        line = f"{name:<14} {entry.stages()} stage(s) a round"
        if entry.least_chosen is not None:
            line += f", {entry.stages(sketch=64)} with channel.sketch"
        yield line


def _threats() -> Iterator[str]:
    """Yields each adversary and its observations, then what each party learns.

    docs/threat-model.md says the same, with a test for each claim.
    """
    from securefl.audit.threats import SERVER, THREATS
    from securefl.scenario import catalog

    for name, model in THREATS.items():
        remark = " (measured as if it kept to it)" if model.deviates else ""
        yield f"{name}: {model.who}{remark}"
        if SERVER in model.fits:
            yield from map(partial(_seen_by_server, model), catalog.CHANNELS)
        for kind in model.fits:
            if kind in catalog.TOPOLOGIES:
                yield from _seen_in(model, kind)
    yield "what each party learns, by channel:"
    for name, entry in catalog.CHANNELS.items():
        for party, sees in entry.threats.items():
            yield f"    {name:<8} {party}: {sees}"
        for party, sees in entry.choice_threats.items():
            yield f"    {name:<8} with channel.sketch, {party}: {sees}"


def _seen_by_server(model: "ThreatModel", channel: str) -> str:
    seen = model.sees(channel)
    line = f"    {channel:<8} {', '.join(seen) or 'nothing'}"
    for observation in model.sees(channel, reported=True):
        if observation not in seen:
            line += f"; with channel.reveal_counts: {observation}"
    by_choice = [what for what in model.sees(channel, choice=True) if what not in seen]
    if by_choice:
        line += f"; with channel.sketch: {', '.join(by_choice)}"
    return line


def _seen_in(model: "ThreatModel", kind: str) -> Iterator[str]:
    """Yields what an adversary sees in a topology, a line a channel only where these differ."""
    from securefl.scenario import catalog

    topology = catalog.TOPOLOGIES[kind]
    by_channel = {
        name: model.sees(name, topology=topology)
        for name, entry in catalog.CHANNELS.items()
        if entry.server_holds_model
    }
    differ = len(set(by_channel.values())) > 1
    lines = {
        f"    {kind}, {name}: " if differ else f"    {kind}: ": ", ".join(seen)
        for name, seen in by_channel.items()
    }
    yield from (place + seen for place, seen in lines.items())


def _runs(folder: Path) -> Iterator[str]:
    """Yields name, cells by state, and rounds played of all rounds."""
    from securefl.errors import RunFolderError
    from securefl.runs.folder import RunFolder

    if not folder.is_dir():
        raise ScenarioError(f"ls runs: there is no folder {folder}")
    paths = sorted(path.parent for path in folder.glob("*/resolved.json"))
    if not paths:
        yield f"no runs in {folder}"
    for path in paths:
        try:
            state = _run_in_words(RunFolder.open(path))
        except RunFolderError as damage:
            # One damaged folder must not hide the others.
            state = str(damage)
        yield f"{path.name:<32} {state}"


def _run_in_words(run: "RunFolder") -> str:
    cells = {cell.hash: (scenario["rounds"], cell) for _, scenario, cell in run.cells()}
    states = [_state(run, cell) for _, cell in cells.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    played = sum(len(cell.rounds()) for _, cell in cells.values())
    planned = sum(rounds for rounds, _ in cells.values())
    return f"{counts}; {played} of {planned} rounds"


def _state(run: "RunFolder", cell: "Cell") -> str:
    """Returns the state of a cell.

    A killed process leaves "running" behind. Nobody holds its folder, so it was interrupted.
    """
    from securefl.files import is_held
    from securefl.runs.cell import CellState

    state = cell.status().state
    was_begun = state in (CellState.NEW, CellState.RUNNING) and cell.folder.exists()
    return "interrupted" if was_begun and not is_held(run.path) else state.value
