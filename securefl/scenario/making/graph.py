"""The graph of peers, and the rule with which they combine models."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from securefl import vector
from securefl.federation.adversary import Adversary
from securefl.federation.topologies import graphs
from securefl.federation.topologies.graphs import Graph
from securefl.federation.topologies.meeting import Around, Meeting
from securefl.rng import seeded_keystream
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import RuleEntry
from securefl.scenario.facts import Facts
from securefl.scenario.topology_table import Topology

_SHAPES: dict[str, Callable[[int], Graph]] = {
    "ring": graphs.ring,
    "complete": graphs.complete,
    "torus": graphs.torus,
}


def graph_of(declared: Declaration, topology: Topology, n: int) -> Graph:
    """Returns the graph of n peers.

    Raises:
        ValueError: there is no such graph, or it falls apart.
    """
    if topology.edges is not None:
        return Graph.of(n, topology.edges)
    shape = topology.graph
    if shape is None:
        return graphs.complete(n)
    if shape.name in _SHAPES:
        return _SHAPES[shape.name](n)
    if shape.degree is None:
        raise ValueError(f"{shape.name} takes a degree, such as 4")
    # Public, as the seed is: who is whose neighbour is no secret.
    return graphs.random_regular(n, shape.degree, seeded_keystream(declared.seed, "graph", 0))


def meeting_of(
    scenario: Declaration, topology: Topology, facts: Facts, adversaries: Mapping[int, Adversary]
) -> Meeting:
    """Returns what peers agree on.

    Args:
        scenario: the declaration.
        topology: of the scenario.
        facts: of the scenario.
        adversaries: node -> the adversary that writes the rows which this node is sent.
    """
    momentum = facts.rule.entry.momentum if topology.momentum is None else topology.momentum
    return Meeting(
        graph_of(scenario, topology, facts.clients),
        around_of(facts.rule),
        adversaries,
        momentum=momentum,
        beside=topology.order == "d_psgd",
        statistics=vector.statistics(facts.model).start,
    )


def around_of(rule: Chosen[RuleEntry]) -> Around:
    """Returns the rule of a node that has a row of its own. Raises ValueError: it has none."""
    if rule.entry.around is None:
        raise ValueError(f"{rule.name} has no form for a node with a row of its own")
    return partial(rule.entry.around, **rule.parameters)


def no_rule(rows: Tensor, weights: Tensor) -> Tensor:
    """Stands for a server's rule in attacks that do not look at it."""
    raise ValueError("peers have no rule that all rows pass")
