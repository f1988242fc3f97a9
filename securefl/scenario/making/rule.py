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


def rule_of(defense: Defense) -> Rule:
    """Returns pre-filters and rule of a table [defense], for the engine."""
    return make_rule(defense.rule.name, defense.rule.parameters, _prefilters(defense))


def weights_of(defense: Defense) -> Weigh | None:
    """Returns the rule's own weights of rows, (m, d) -> (m,); None without.

    Behind a pre-filter there are none either: its rows are mixtures, and no client's own.
    """
    function = RULES[defense.rule.name].weigh
    if function is None or defense.prefilters:
        return None
    return partial(function, **defense.rule.parameters)


def make_rule(
    name: str, parameters: Parameters, prefilters: Sequence[tuple[str, Parameters]] = ()
) -> Rule:
    """Returns pre-filters and a rule as one: rows (m, d), weights (m,) -> (d,).

    Behind a pre-filter a row is no client's own, and no client's weight belongs to it: all rows
    count the same.
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


def make_step(name: str, parameters: Parameters) -> ServerStep:
    """Returns the server's step with its hyper-parameters set."""
    function = STEPS[name].function
    return lambda weights, estimate, state: function(weights, estimate, state, **parameters)


def _prefilters(defense: Defense) -> list[tuple[str, Parameters]]:
    return [(prefilter.name, prefilter.parameters) for prefilter in defense.prefilters]
