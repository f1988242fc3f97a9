"""The names that a scenario chooses, each with its entry and its hyper-parameters."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import (
    AttackEntry,
    ModelEntry,
    PrefilterEntry,
    RuleEntry,
    StepEntry,
)
from securefl.scenario.plugins.find import Group, Plugin, find
from securefl.scenario.tables import Code


class Choices:
    """The choices of a declaration, looked up once.

    Args:
        declared: the tables of the scenario; every name in them exists.
    """

    def __init__(self, declared: Declaration) -> None:
        self._declared = declared

    @cached_property
    def architecture(self) -> Chosen[ModelEntry]:
        """The chosen model, not built."""
        chosen = self._declared.model
        return Chosen(chosen.name, self._find(Group.MODELS, chosen.name), chosen.parameters)

    @cached_property
    def rule(self) -> Chosen[RuleEntry]:
        """The chosen aggregation rule."""
        chosen = self._declared.defense.rule
        return Chosen(chosen.name, self._find(Group.RULES, chosen.name), chosen.parameters)

    @cached_property
    def prefilters(self) -> tuple[Chosen[PrefilterEntry], ...]:
        """The chosen pre-filters, in their order."""
        return tuple(
            Chosen(chosen.name, self._find(Group.PREFILTERS, chosen.name), chosen.parameters)
            for chosen in self._declared.defense.prefilters
        )

    @cached_property
    def attack(self) -> Chosen[AttackEntry] | None:
        """The chosen attack; None without one."""
        chosen = self._declared.attack
        if chosen is None:
            return None
        return Chosen(chosen.name, self._find(Group.ATTACKS, chosen.name), chosen.parameters)

    @cached_property
    def step(self) -> Chosen[StepEntry]:
        """The chosen step of the server."""
        chosen = self._declared.server
        return Chosen(chosen.step, self._find(Group.STEPS, chosen.step), chosen.parameters)

    @cached_property
    def plugins(self) -> dict[str, Plugin]:
        """Name -> the plug-in behind it, of all names that are none of ours."""
        named = {name: find(group, name, self._declared.home) for group, name in self._names()}
        return {name: plugin for name, plugin in named.items() if plugin.code is not None}

    @property
    def code(self) -> dict[str, Code]:
        """File or package -> what identifies the code that the scenario takes from there."""
        return {
            plugin.origin: plugin.code
            for plugin in self.plugins.values()
            if plugin.code is not None
        }

    def _find(self, group: Group, name: str) -> Any:
        return find(group, name, self._declared.home).entry

    def _names(self) -> Iterator[tuple[Group, str]]:
        """Yields every name that a plug-in may stand behind."""
        declared = self._declared
        yield Group.DATA, declared.data.name
        yield Group.MODELS, declared.model.name
        yield Group.RULES, declared.defense.rule.name
        for prefilter in declared.defense.prefilters:
            yield Group.PREFILTERS, prefilter.name
        if declared.attack is not None:
            yield Group.ATTACKS, declared.attack.name
        yield Group.STEPS, declared.server.step
