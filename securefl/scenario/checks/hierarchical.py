"""Whether a scenario can be played by regions and a top above them."""

import torch

from securefl.channels.messages import MAX_WEIGHT
from securefl.errors import ScenarioError
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import RuleEntry
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import corrupt_rows, fewest_rows, make_rule
from securefl.scenario.regions import regions_of
from securefl.scenario.topology_table import Topology

_TOP = "topology.top"


def check_hierarchical(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Checks a scenario with regions, whose channels and rules were checked. Raises ScenarioError.

    An f at the top counts regions.
    """
    prefix = f"topology.kind = {topology.kind!r}: "
    if not facts.channel.server_holds_model:
        raise ScenarioError(
            f"{prefix}a region's server hands its change of the model to the top, and "
            f"channel.kind = {declared.channel.kind!r} hides the model from it; use 'plain' or "
            "'masked'"
        )
    if facts.cohort_size < facts.clients:
        raise ScenarioError(
            f"{prefix}each region invites all its clients, and cohort.size = {facts.cohort_size} "
            f"is below {facts.clients}; remove it"
        )
    if facts.public_weights is None:
        raise ScenarioError(
            f"{prefix}a region weighs as much as its clients, and weights = 'reported' are not "
            "public; use 'equal' or 'declared'"
        )
    for number, region in regions_of(declared, facts).items():
        if sum((region.public_weights or {}).values()) > MAX_WEIGHT:
            raise ScenarioError(f"region {number}: the weights of its clients exceed {MAX_WEIGHT}")
    if facts.top is not None:
        _check_top(facts.top, len(regions_of(declared, facts)))


def _check_top(top: Chosen[RuleEntry], regions: int) -> None:
    """Checks that the rule at the top has its parameters, and rows for its f."""
    if top.entry.for_peers_only:
        raise ScenarioError(
            f"{_TOP}: {top.name} takes a row of a node's own, which the top does not have; use "
            "another rule"
        )
    check_parameters(_TOP, top)
    f = corrupt_rows(top)
    if f < 0:
        raise ScenarioError(f"{_TOP}: f must be >= 0, got {f}")
    needed = tried(_TOP, lambda: fewest_rows(top))
    if needed > regions:
        raise ScenarioError(
            f"{_TOP}: {top.name} with f={f} needs {needed} regions, there are {regions}: use a "
            "smaller f, more regions, or a rule that needs fewer rows"
        )
    rule = make_rule(top)
    tried(_TOP, lambda: rule(torch.zeros(regions, 1), torch.ones(regions)))
