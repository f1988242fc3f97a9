"""Name -> entry: of the catalog, of a file or of an installed package."""

import inspect
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, cast

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.entries import (
    AttackEntry,
    Entry,
    ModelEntry,
    PrefilterEntry,
    RuleEntry,
    StepEntry,
)
from securefl.scenario.plugins import guard, rule_guards
from securefl.scenario.plugins.entry_checks import PROVIDED_TO_ATTACKS, check_exported
from securefl.scenario.plugins.hyper_parameters import check_hyper_parameters
from securefl.scenario.plugins.loading import FAULTS, add_package, blame, defined, load_module
from securefl.scenario.plugins.objects import held, is_object
from securefl.scenario.plugins.packages import registered
from securefl.scenario.plugins.snapshot import snapshot
from securefl.scenario.plugins.trust import is_trusted
from securefl.scenario.tables import Code

PREFIX = "python:"


class Group(Enum):
    """The kinds of plug-ins; the value is the last part of the group of entry points."""

    DATA = "data"
    MODELS = "models"
    RULES = "rules"
    PREFILTERS = "prefilters"
    ATTACKS = "attacks"
    STEPS = "steps"


# Our own entries. A chain of two tables shows what either holds now, as tests replace entries.
TABLES: Mapping[Group, Mapping[str, Any]] = {
    Group.DATA: ChainMap(cast(Any, catalog.OWN_DATA), cast(Any, catalog.DATA)),
    Group.MODELS: catalog.MODELS,
    Group.RULES: catalog.RULES,
    Group.PREFILTERS: catalog.PREFILTERS,
    Group.ATTACKS: catalog.ATTACKS,
    Group.STEPS: catalog.STEPS,
}


@dataclass(frozen=True)
class Plugin:
    """An entry with where it is from.

    Attributes:
        entry: as the catalog would hold it; of the group "data", the function that loads.
        origin: the file or the package; "" for an entry of ours.
        code: what identifies the code; None for an entry of ours.
        defaults: what is assumed of a function whose author exports no entry; "" otherwise.
    """

    entry: Any
    origin: str = ""
    code: Code | None = None
    defaults: str = ""


class Reference(NamedTuple):
    """The parts of "python:FILE.py:function"."""

    file: str
    function: str


def is_reference(name: str) -> bool:
    """Whether a name means code in a file."""
    return name.startswith(PREFIX)


def find(group: Group, name: str, folder: Path) -> Plugin:
    """Returns what a name stands for.

    Args:
        group: the kind of thing that the scenario names.
        name: of the catalog, of an entry point, of an object of this process, or
            "python:FILE.py:function".
        folder: where relative files start.

    Raises:
        KeyError: nothing is called so.
        ScenarioError: the file, the package or the object cannot be used; one sentence says why.
    """
    if name in TABLES[group]:
        return Plugin(TABLES[group][name])
    if is_object(name):
        return _of_object(group, name)
    if is_reference(name):
        return _of_file(group, name, folder)
    return _of_package(group, name)


def installed(group: Group) -> dict[str, str]:
    """Returns name -> the installed package that brings it; the package is not imported."""
    # Names of ours come first: no package changes what "krum" means.
    return {
        entry.name: entry.package
        for entry in registered(group.value)
        if entry.name not in TABLES[group]
    }


def _of_file(group: Group, name: str, folder: Path) -> Plugin:
    reference = _parsed(name)
    # A stranger's scenario must not choose what trusted code is called with.
    if not is_trusted(folder / "scenario"):
        raise ScenarioError(
            f"{name}: the scenario calls code, and its folder is not trusted: read both, "
            f"then add --trust {folder}"
        )
    try:
        taken = snapshot((folder / reference.file).absolute())
        value = defined(load_module(taken), reference.function, reference.file)
    except ScenarioError as reason:
        raise ScenarioError(f"{name}: {reason}") from None
    key = (group, name, taken.sha256)
    # One object for all scenarios of a process: caches of models go by it.
    if key not in _loaded:
        code = Code(sha256=taken.sha256, files=tuple(taken.files), packages=taken.packages)
        _loaded[key] = plugin_of(group, name, value, reference.file, code)
    return _loaded[key]


_loaded: dict[tuple[Group, str, str], Plugin] = {}


def _parsed(name: str) -> Reference:
    file, _, function = name.removeprefix(PREFIX).rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ScenarioError(
            f"{name}: code is named as python:FILE.py:function; "
            "what an installed package brings has a name of its own, see securefl ls"
        )
    return Reference(file, function)


def _of_object(group: Group, name: str) -> Plugin:
    value, code = held(name)
    if group is Group.DATA:
        # Records are identified by the digest of their contents, like those of a file.
        return Plugin(lambda: value, name)
    return plugin_of(group, name, value, name, code)


def _of_package(group: Group, name: str) -> Plugin:
    entries = [entry for entry in registered(group.value) if entry.name == name]
    if not entries:
        raise KeyError(name)
    if len(entries) > 1:
        packages = " and ".join(entry.package for entry in entries)
        raise ScenarioError(f"{name} is registered by {packages}: uninstall all but one of them")
    entry = entries[0]
    try:
        value = entry.point.load()
    except FAULTS as error:
        raise ScenarioError(
            f"{name} of {entry.package} cannot be imported: {blame(error)}"
        ) from None
    add_package(entry.point.module)
    return plugin_of(group, name, value, entry.package, Code(version=entry.version))


def plugin_of(
    group: Group, name: str, value: Any, origin: str = "", code: Code | None = None
) -> Plugin:
    """Returns the plug-in that a function or an entry of its author makes, with its guards.

    Args:
        group: the kind of plug-in.
        name: for messages.
        value: the function or the entry.
        origin: the file or the package; "" for neither.
        code: what identifies the code; None for an object of this process.

    Raises:
        ScenarioError: the value is neither a function nor an entry.
    """
    label = f"{_KEYS[group]} {name}"
    kind = _ENTRIES.get(group)
    check_exported(name, value, kind, classes=group in (Group.MODELS, Group.DATA))
    if kind is None:
        return Plugin(guard.guarded_build(label, value), origin, code)
    bare = not isinstance(value, kind)
    made = _bare(group, value) if bare else value
    check_hyper_parameters(label, made)
    entry = _GUARDS[group](label, made)
    return Plugin(entry, origin, code, _DEFAULTS.get(group, "") if bare else "")


def _bare(group: Group, function: Callable[..., Any]) -> Any:
    """Returns an entry with the safe defaults for a function without one."""
    if group is Group.ATTACKS:
        parameters = inspect.signature(function).parameters
        needs = tuple(name for name in PROVIDED_TO_ATTACKS if name in parameters)
        return AttackEntry(function, needs=needs)
    if group is Group.MODELS:
        return ModelEntry(function)
    return _ENTRIES[group](function)


def _model(label: str, entry: ModelEntry) -> ModelEntry:
    return replace(entry, foreign=True)  # `own_models` tells what its code does wrong


def _rule(label: str, entry: RuleEntry) -> RuleEntry:
    minimum = _minimum(label, entry.minimum_rows)
    # The author of a weighted mean need not say that a run provides the weights.
    provided = (*entry.provided, "weights") if entry.weighted else entry.provided
    return replace(
        entry,
        function=rule_guards.guarded_rule(label, entry.function, minimum),
        provided=provided,
        minimum_rows=minimum,
        weigh=None if entry.weigh is None else rule_guards.guarded_weigh(label, entry.weigh),
        choose=None if entry.choose is None else rule_guards.guarded_choose(label, entry.choose),
    )


def _prefilter(label: str, entry: PrefilterEntry) -> PrefilterEntry:
    function = rule_guards.guarded_prefilter(label, entry.function)
    return replace(entry, function=function, minimum_rows=_minimum(label, entry.minimum_rows))


def _minimum(label: str, function: Callable[[int], int] | None) -> Callable[[int], int] | None:
    return None if function is None else rule_guards.guarded_minimum(label, function)


def _attack(label: str, entry: AttackEntry) -> AttackEntry:
    def guarded(function: Any, by: Callable[[str, Any], Any]) -> Any:
        return None if function is None else by(label, function)

    return replace(
        entry,
        rows=guarded(entry.rows, guard.guarded_rows),
        records=guarded(entry.records, guard.guarded_records),
        gradients=guarded(entry.gradients, guard.guarded_gradient),
        goal=guarded(entry.goal, guard.guarded_goal),
    )


def _step(label: str, entry: StepEntry) -> StepEntry:
    return replace(entry, function=guard.guarded_step(label, entry.function))


_ENTRIES: Mapping[Group, type[Any]] = {
    Group.MODELS: ModelEntry,
    Group.RULES: RuleEntry,
    Group.PREFILTERS: PrefilterEntry,
    Group.ATTACKS: AttackEntry,
    Group.STEPS: StepEntry,
}
_GUARDS: Mapping[Group, Callable[[str, Any], Entry]] = {
    Group.MODELS: _model,
    Group.RULES: _rule,
    Group.PREFILTERS: _prefilter,
    Group.ATTACKS: _attack,
    Group.STEPS: _step,
}
_DEFAULTS: Mapping[Group, str] = {
    Group.RULES: "need one row and to weigh all rows the same",
    Group.PREFILTERS: "need one row",
    Group.ATTACKS: "change rows, and to see the rows of its own clients only",
}
# The key of a scenario that names a plug-in of the group.
_KEYS: Mapping[Group, str] = {
    Group.DATA: "data.name",
    Group.MODELS: "model.name",
    Group.RULES: "defense.rule",
    Group.PREFILTERS: "defense.prefilters",
    Group.ATTACKS: "attack.name",
    Group.STEPS: "server.step",
}
