"""The names that a scenario chooses, each with its entry and its hyper-parameters."""

from functools import cached_property

from securefl.scenario import catalog
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import (
    AttackEntry,
    ModelEntry,
    PrefilterEntry,
    RuleEntry,
    StepEntry,
)


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
        return Chosen(chosen.name, catalog.MODELS[chosen.name], chosen.parameters)

    @cached_property
    def rule(self) -> Chosen[RuleEntry]:
        """The chosen aggregation rule."""
        chosen = self._declared.defense.rule
        return Chosen(chosen.name, catalog.RULES[chosen.name], chosen.parameters)

    @cached_property
    def prefilters(self) -> tuple[Chosen[PrefilterEntry], ...]:
        """The chosen pre-filters, in their order."""
        return tuple(
            Chosen(chosen.name, catalog.PREFILTERS[chosen.name], chosen.parameters)
            for chosen in self._declared.defense.prefilters
        )

    @cached_property
    def attack(self) -> Chosen[AttackEntry] | None:
        """The chosen attack; None without one."""
        chosen = self._declared.attack
        if chosen is None:
            return None
        return Chosen(chosen.name, catalog.ATTACKS[chosen.name], chosen.parameters)

    @cached_property
    def step(self) -> Chosen[StepEntry]:
        """The chosen step of the server."""
        chosen = self._declared.server
        return Chosen(chosen.step, catalog.STEPS[chosen.step], chosen.parameters)
