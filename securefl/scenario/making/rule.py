"""The rule with its pre-filters, the weights that it gives, and the server's step."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from securefl.federation.values import Rule, Weigh
from securefl.learning.protocol import ServerStep
from securefl.scenario.catalog import PREFILTERS, RULES, STEPS
from securefl.scenario.tables import Defense

Parameters = Mapping[str, Any]


def make_rule(
    name: str, parameters: Parameters, prefilters: Sequence[tuple[str, Parameters]] = ()
) -> Rule:
    """Pre-filters and the rule as the engine calls them: rows (m, d), weights (m,) -> (d,).

    Behind a pre-filter rows are no client's own, so that no weight is anybody's: they count the same.
    """
    entry = RULES[name]
    if entry.weighted and not prefilters:
        return lambda rows, weights: entry.function(rows, weights=weights, **parameters)

    def filtered(rows: Tensor, weights: Tensor) -> Tensor:
        mixed: Any = rows
        for prefilter, given in prefilters:
            mixed = PREFILTERS[prefilter].function(mixed, **given)
        return entry.function(mixed, **parameters)

    return filtered


def make_weights(
    name: str, parameters: Parameters, prefilters: Sequence[tuple[str, Parameters]] = ()
) -> Weigh | None:
    """The weights that a rule gives to rows (m, d), as (m,); None where it gives none, or to mixtures of rows only."""
    function = RULES[name].weigh
    return None if function is None or prefilters else partial(function, **parameters)


def rule_of(defense: Defense) -> Rule:
    """The pre-filters and the rule of a scenario's [defense]."""
    return make_rule(defense.rule.name, defense.rule.parameters, _prefilters(defense))


def weights_of(defense: Defense) -> Weigh | None:
    """The weights that the rule of a scenario's [defense] gives to rows; None where it gives none."""
    return make_weights(defense.rule.name, defense.rule.parameters, _prefilters(defense))


def _prefilters(defense: Defense) -> list[tuple[str, Parameters]]:
    return [(prefilter.name, prefilter.parameters) for prefilter in defense.prefilters]


def make_step(name: str, parameters: Parameters) -> ServerStep:
    """The server's step with its hyper-parameters set."""
    function = STEPS[name]
    return lambda weights, estimate, state: function(weights, estimate, state, **parameters)
