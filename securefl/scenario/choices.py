"""The names that a scenario chooses, each with its entry and its hyper-parameters."""

from typing import Any

from securefl.scenario import catalog
from securefl.scenario.automatic import AUTO
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import (
    AttackEntry,
    ModelEntry,
    PrefilterEntry,
    RuleEntry,
    StepEntry,
)
from securefl.scenario.plugins.find import TABLES, Group, Plugin, find
from securefl.scenario.tables import Code
from securefl.scenario.topology_table import Top


class Choices:
    """The choices of a declaration, looked up once.

    Args:
        declared: the tables of the scenario; every name in them exists.

    Attributes:
        plugins: name -> the plug-in behind it, of all names that are none of ours.
        named_model: the entry of the model that the scenario names; None where it names `auto`.
        rule: the chosen aggregation rule.
        prefilters: the chosen pre-filters, in their order.
        attack: the chosen attack; None without one.
        step: the chosen step of the server.
        top: the rule above the regions of a hierarchical topology; None in all others.
    """

    def __init__(self, declared: Declaration) -> None:
        self._declared = declared
        self.plugins: dict[str, Plugin] = {}
        model, defense, server = declared.model, declared.defense, declared.server
        self.named_model: ModelEntry | None = None
        if model.name != AUTO:
            self.named_model = self._entry(Group.MODELS, model.name)
        self.rule: Chosen[RuleEntry] = Chosen(
            defense.rule.name, self._entry(Group.RULES, defense.rule.name), defense.rule.parameters
        )
        self.prefilters: tuple[Chosen[PrefilterEntry], ...] = tuple(
            Chosen(chosen.name, self._entry(Group.PREFILTERS, chosen.name), chosen.parameters)
            for chosen in defense.prefilters
        )
        attack = declared.attack
        self.attack: Chosen[AttackEntry] | None = None
        if attack is not None:
            entry = self._entry(Group.ATTACKS, attack.name)
            self.attack = Chosen(attack.name, entry, attack.parameters)
        self.step: Chosen[StepEntry] = Chosen(
            server.step, self._entry(Group.STEPS, server.step), server.parameters
        )
        topology = declared.topology
        self.top: Chosen[RuleEntry] | None = None
        if topology is not None and topology.regions is not None:
            top = topology.top or Top()
            self.top = Chosen(top.rule, catalog.RULES[top.rule], top.parameters)
        self._entry(Group.DATA, declared.data.name)

    @property
    def code(self) -> dict[str, Code]:
        """File or package -> what identifies the code that the scenario takes from there."""
        return {
            plugin.origin: plugin.code
            for plugin in self.plugins.values()
            if plugin.code is not None
        }

    def _entry(self, group: Group, name: str) -> Any:
        """Returns the entry behind a name; a plug-in is noted."""
        ours = TABLES[group]
        if name in ours:
            return ours[name]
        plugin = find(group, name, self._declared.home)
        self.plugins[name] = plugin
        return plugin.entry
