"""What a scenario can name, and the runs in a folder."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securefl import catalog
from securefl.errors import ScenarioError
from securefl.runs import RunFolder

KINDS = ("rules", "attacks", "data", "models", "steps", "channels", "threats", "runs")


def listing(what: str, folder: Path) -> Iterator[str]:
    """One line each.

    Raises:
        ScenarioError: there is no such list.
    """
    tables: dict[str, Mapping[str, Callable[..., Any]]] = {
        "rules": {name: entry.function for name, entry in catalog.RULES.items()},
        "attacks": catalog.ATTACKS,
        "models": catalog.MODELS,
        "steps": catalog.STEPS,
    }
    if what in tables:
        return (_callable(name, function) for name, function in tables[what].items())
    if what == "data":
        return (f"{name:<14} partitions: {', '.join(_partitions(entry))}" for name, entry in catalog.DATA.items())
    if what == "channels":
        return (f"{name:<14} {entry.stages} stage(s) a round" for name, entry in catalog.CHANNELS.items())
    if what == "threats":
        return _threats()
    if what == "runs":
        return _runs(folder)
    raise ScenarioError(f"ls: there is no list {what!r}; known: {', '.join(KINDS)}")


def _partitions(entry: catalog.DataEntry) -> list[str]:
    return list(dict.fromkeys([*entry.partitions, "pooled", *catalog.DEALS]))


def _threats() -> Iterator[str]:
    """What each party learns, channel by channel; docs/threat-model.md has the tests behind every line."""
    for name, entry in catalog.CHANNELS.items():
        for party, sees in entry.threats.items():
            yield f"{name:<8} {party}: {sees}"


def _callable(name: str, function: Callable[..., Any]) -> str:
    first = (inspect.getdoc(function) or "").splitlines()[0]
    takes = ", ".join(catalog.parameters_of(function))
    return f"{name:<14} {first}{f' Takes {takes}.' if takes else ''}"


def _runs(folder: Path) -> Iterator[str]:
    for path in sorted(path.parent for path in folder.glob("*/resolved.json")):
        states = [cell.status()["state"] for _, _, cell in RunFolder.open(path).cells()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        yield f"{path.name:<32} {counts}"
