"""Whether every name in a scenario exists, or is one of a later version."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.automatic import AUTO
from securefl.scenario.declaration import PLANNED, Declaration, not_yet
from securefl.scenario.plugins.find import TABLES, Group, find, installed

_UNITS = ("example", "client")
_PLACES = ("local", "distributed", "central")
_SIMILAR = 0.8  # of 1, where two names are equal


def check_names(declared: Declaration) -> None:
    """Checks that every name is in the catalog, or that of a plug-in that can be used.

    Raises:
        ScenarioError: a sentence a name that is not, one a line.
    """
    refusals = [_refusal(key, name, names) for key, name, names in _names(declared)]
    refusals += [
        _refusal_of(asked, declared.home)
        for asked in _plugins(declared)
        if asked.name not in asked.ours
    ]
    unknown = [refusal for refusal in refusals if refusal]
    if unknown:
        raise ScenarioError("\n".join(unknown))


def _names(declared: Declaration) -> Iterator[tuple[str, str, Collection[str]]]:
    """Yields key, name and the names that the key may hold."""
    # Without the data set nobody can say which partitions are its own.
    if declared.data.partition is not None:
        known = catalog.DATA.get(declared.data.name)
        own = ("natural",) if known is None else known.partitions
        ways = dict.fromkeys([*own, "pooled", *catalog.DEALS])
        yield "data.partition", declared.data.partition, ways
    yield "training.kind", declared.training.kind, catalog.TRAINERS
    if declared.training.optimizer is not None:
        yield "training.optimizer", declared.training.optimizer, catalog.OPTIMIZERS
    if declared.training.algorithm is not None:
        yield "training.algorithm", declared.training.algorithm, catalog.ALGORITHMS
    if declared.training.schedule is not None:
        yield "training.schedule", declared.training.schedule, catalog.SCHEDULES
    if declared.privacy is not None:
        yield "privacy.unit", declared.privacy.unit, _UNITS
        yield "privacy.place", declared.privacy.place, _PLACES
    yield "channel.kind", declared.channel.kind, catalog.CHANNELS
    if declared.topology is not None:
        yield "topology.kind", declared.topology.kind, ("server", *catalog.TOPOLOGIES)
        if declared.topology.top is not None:
            yield "topology.top.rule", declared.topology.top.rule, catalog.RULES


class _Name(NamedTuple):
    """A name that a plug-in may stand behind."""

    key: str
    group: Group
    name: str
    ours: Collection[str]


def _plugins(declared: Declaration) -> Iterator[_Name]:
    """Yields the names that a plug-in may stand behind."""
    yield _Name("data.name", Group.DATA, declared.data.name, TABLES[Group.DATA])
    yield _Name("model.name", Group.MODELS, declared.model.name, (*catalog.MODELS, AUTO))
    for prefilter in declared.defense.prefilters:
        yield _Name("defense.prefilters", Group.PREFILTERS, prefilter.name, catalog.PREFILTERS)
    rule, step = declared.defense.rule.name, declared.server.step
    yield _Name("defense.rule", Group.RULES, rule, catalog.RULES)
    if declared.attack is not None:
        yield _Name("attack.name", Group.ATTACKS, declared.attack.name, catalog.ATTACKS)
    yield _Name("server.step", Group.STEPS, step, catalog.STEPS)


def _refusal_of(asked: _Name, folder: Path) -> str:
    """Returns the sentence that refuses a plug-in; "" for one that can be used."""
    try:
        find(asked.group, asked.name, folder)
    except KeyError:
        names = [*asked.ours, *installed(asked.group)]
        return _refusal(asked.key, asked.name, names)
    except ScenarioError as reason:
        return f"{asked.key}: {reason}"
    return ""


def _refusal(key: str, name: str, names: Collection[str]) -> str:
    """Returns the sentence that refuses a name; "" for a name that is known."""
    if name in names:
        return ""
    if name in PLANNED.get(key, ()):
        return not_yet(key, name, names)
    meant = _nearest(name, names)
    question = f", did you mean {meant!r}?" if meant else ";"
    return f"{key}: there is no {name!r}{question} known: {', '.join(names)}"


def _nearest(name: str, names: Collection[str]) -> str | None:
    """Returns the name that was most likely meant: without its family, or misspelt."""
    tail = _without_family(name.replace("-", "_"))
    names_by_tail = {_without_family(name_of_catalog): name_of_catalog for name_of_catalog in names}
    near = get_close_matches(tail, names_by_tail, n=1, cutoff=_SIMILAR)
    if not near:
        return None
    nearest = near[0]
    return names_by_tail[nearest]


def _without_family(name: str) -> str:
    _, _, tail = name.casefold().rpartition(":")
    return tail
