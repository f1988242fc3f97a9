"""What a topology without one server means for a scenario, in words."""

from collections.abc import Callable, Iterator, Mapping

from securefl.scenario.checks.defense import corrupt_rows
from securefl.scenario.making.graph import graph_of
from securefl.scenario.scenario import Scenario
from securefl.scenario.topology_table import Topology


def described(scenario: Scenario, topology: Topology) -> Iterator[str]:
    """Yields who sees what, and where a rule promises nothing."""
    yield from WORDS[topology.kind](scenario, topology)


def _cyclic(scenario: Scenario, topology: Topology) -> Iterator[str]:
    yield (
        "cyclic: there is no server; the next site sees the whole model, and the neighbours of a "
        "site learn its update together"
    )


def _peer(scenario: Scenario, topology: Topology) -> Iterator[str]:
    facts, n = scenario.facts, scenario.clients
    graph = graph_of(scenario, topology, n)
    degrees = sorted({graph.degree(node) for node in range(n)})
    some = str(degrees[0]) if len(degrees) == 1 else f"{degrees[0]} to {degrees[-1]}"
    yield (
        f"peer: there is no server; each of {n} nodes sees the whole models of its {some} "
        "neighbours in every round; figures are means over honest nodes"
    )
    corrupt = set() if scenario.attack is None else set(scenario.attack.clients)
    f = corrupt_rows(facts.rule)
    bad = {node: len(corrupt & set(graph.neighbors[node])) for node in range(n)}
    beyond = [node for node in range(n) if node not in corrupt and bad[node] > f]
    if beyond and facts.rule.entry.minimum_rows is not None:
        others = f", and so it is for {len(beyond) - 1} more" if len(beyond) > 1 else ""
        yield (
            f"node {beyond[0]} has {bad[beyond[0]]} corrupt neighbours, and f = {f}: its rule "
            f"promises nothing there{others}"
        )


WORDS: Mapping[str, Callable[[Scenario, Topology], Iterator[str]]] = {
    "cyclic": _cyclic,
    "peer": _peer,
}
