"""The rule with its pre-filters, the weights that it gives, and the server's step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from securefl.federation.values import Rule, Weigh
from securefl.learning.protocol import ServerStep
from securefl.scenario.catalog import RULES
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import PrefilterEntry, RuleEntry, StepEntry
from securefl.scenario.facts import Facts


def rule_of(facts: Facts) -> Rule:
    """Returns pre-filters and rule of a scenario, for the engine.

    Where the channel itself chooses clients, the mean of those that it chose is in the one row.
    """
    if facts.selects:
        return make_rule(Chosen("mean", RULES["mean"]))
    return make_rule(facts.rule, facts.prefilters)


def weights_of(facts: Facts) -> Weigh | None:
    """Returns the rule's own weights of rows, (m, d) -> (m,); None without.

    There are none where the channel itself chooses clients, before it opens a row. Behind a
    pre-filter there are none either: its rows are mixtures, and no client's own.
    """
    function = facts.rule.entry.weigh
    if function is None or facts.prefilters or facts.selects:
        return None
    return partial(function, **facts.rule.parameters)


def make_rule(rule: Chosen[RuleEntry], prefilters: Sequence[Chosen[PrefilterEntry]] = ()) -> Rule:
    """Returns pre-filters and a rule as one: rows (m, d), weights (m,) -> (d,).

    Behind a pre-filter a row is no client's own, and no client's weight belongs to it: all rows
    count the same.
    """
    entry, parameters = rule.entry, rule.parameters
    if entry.weighted and not prefilters:
        return lambda rows, weights: entry.function(rows, weights=weights, **parameters)

    def filtered(rows: Tensor, weights: Tensor) -> Tensor:
        mixed: Any = rows
        for prefilter in prefilters:
            mixed = prefilter.entry.function(mixed, **prefilter.parameters)
        return entry.function(mixed, **parameters)

    return filtered


def over_groups(rule: Rule, groups: int) -> Rule:
    """Returns a rule over the means of groups as one over the clients' rows, for an adversary.

    Rows are dealt one by one, so that the last f of them, an adversary's own, spoil f groups: the
    deal that is worst for the defence.
    """

    def grouped(rows: Tensor, weights: Tensor) -> Tensor:
        return rule(_means(rows, groups), _of_each(weights, groups, torch.sum))

    return grouped


def weighing_groups(weigh: Weigh, groups: int) -> Weigh:
    """Returns a rule's weights of groups as weights of the clients' rows, dealt one by one."""

    def grouped(rows: Tensor) -> Tensor:
        weights = weigh(_means(rows, groups))
        places = torch.arange(len(rows)) % len(weights)
        sizes = torch.bincount(places)
        return (weights / sizes)[places]

    return grouped


def _means(rows: Tensor, groups: int) -> Tensor:
    """Returns the mean row of each group, (groups, d); fewer where there are fewer rows."""
    return _of_each(rows, groups, partial(torch.mean, dim=0))


def _of_each(rows: Tensor, groups: int, combine: Callable[[Tensor], Tensor]) -> Tensor:
    count = min(groups, len(rows))
    return torch.stack([combine(rows[group::count]) for group in range(count)])


def corrupt_rows(chosen: Chosen[RuleEntry] | Chosen[PrefilterEntry]) -> int:
    """Returns f of a rule or pre-filter: as set, else its default, else 0."""
    parameter = chosen.entry.parameters.get("f")
    usual = parameter.default if parameter is not None else 0
    f: int = chosen.parameters.get("f", usual)
    return f


def fewest_rows(chosen: Chosen[RuleEntry] | Chosen[PrefilterEntry]) -> int:
    """Returns how many rows a rule or pre-filter needs. Raises ValueError: its f is none."""
    minimum = chosen.entry.minimum_rows
    return 1 if minimum is None else minimum(corrupt_rows(chosen))


def make_step(step: Chosen[StepEntry]) -> ServerStep:
    """Returns the server's step with its hyper-parameters set."""
    return partial(step.entry.function, **step.parameters)
