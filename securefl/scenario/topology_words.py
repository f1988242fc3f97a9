"""What a topology means, in words: the lines that `securefl validate` prints."""

from collections.abc import Callable, Iterator, Mapping

from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import RuleEntry
from securefl.scenario.making.graph import graph_of
from securefl.scenario.making.rule import corrupt_rows
from securefl.scenario.regions import regions_of
from securefl.scenario.scenario import Scenario
from securefl.scenario.topology_table import Topology


def topology_words(scenario: Scenario) -> Iterator[str]:
    """Yields who sees whole models, and which parties a rule does not hold against."""
    if scenario.topology is not None:
        yield from _WORDS[scenario.topology.kind](scenario, scenario.topology)


def _cyclic(scenario: Scenario, topology: Topology) -> Iterator[str]:
    yield (
        "cyclic: there is no server; the next site sees the whole model, "
        "and the neighbours of a site learn its update together"
    )


def _hierarchical(scenario: Scenario, topology: Topology) -> Iterator[str]:
    facts = scenario.facts
    regions = regions_of(scenario, facts)
    if facts.top is None:
        return
    inner_rounds = len(facts.numbers_of(0))
    given = "".join(f" {name}={value}" for name, value in facts.top.parameters.items())
    yield (
        f"hierarchical: {len(regions)} regions of {_sizes(scenario)} clients play "
        f"{inner_rounds} {'round' if inner_rounds == 1 else 'rounds'} each; the top sees each "
        f"region's change of the model, rule {facts.top.name}{given}"
    )
    for number, region in regions.items():
        if len(region.members) == 1:
            yield (
                f"region {number} is client {region.members[0]} alone: its change of the model is "
                "that client's, and the top sees it"
            )
    yield from _corrupt(scenario, facts.top)


def _sizes(scenario: Scenario) -> str:
    """Returns the numbers of clients of regions, such as "3" or "2 to 5"."""
    sizes = [len(region.members) for region in regions_of(scenario, scenario.facts).values()]
    least, most = min(sizes), max(sizes)
    return f"{least}" if least == most else f"{least} to {most}"


def _corrupt(scenario: Scenario, top: Chosen[RuleEntry]) -> Iterator[str]:
    """Yields a caution where more regions may be bad than the top tolerates."""
    attack, facts = scenario.attack, scenario.facts
    # A rule other than a mean may hold inside.
    if attack is None or facts.prefilters or not facts.rule.entry.linear:
        return
    regions = regions_of(scenario, facts).values()
    bad = sum(not set(attack.clients).isdisjoint(region.members) for region in regions)
    tolerated = _tolerated(top, len(regions))
    if bad > tolerated:
        are = "region has" if bad == 1 else "regions have"
        yield (
            f"{bad} {are} corrupt clients, and a region with a mean is bad as soon as one of its "
            f"clients is: the top's {top.name} tolerates {tolerated}"
        )


def _tolerated(top: Chosen[RuleEntry], regions: int) -> int:
    """Returns how many bad regions a rule tolerates."""
    if "f" in top.entry.parameters:
        return corrupt_rows(top)
    return 0 if top.entry.linear else (regions - 1) // 2


def _peer(scenario: Scenario, topology: Topology) -> Iterator[str]:
    facts, n = scenario.facts, scenario.clients
    graph = graph_of(scenario, topology, n)
    degrees = sorted({graph.degree(node) for node in range(n)})
    some = str(degrees[0]) if len(degrees) == 1 else f"{degrees[0]} to {degrees[-1]}"
    yield (
        f"peer: there is no server; each of {n} nodes sees the whole models of its {some} "
        "neighbours in every round; figures are means over honest nodes"
    )
    if facts.rule.entry.all_to_all and degrees[0] < n - 1:
        yield f"no proof: {facts.rule.name} is proven only where all nodes hear all others"
    corrupt = set() if scenario.attack is None else set(scenario.attack.clients)
    f = corrupt_rows(facts.rule)
    bad = {node: len(corrupt & set(graph.neighbors[node])) for node in range(n)}
    beyond = [node for node in range(n) if node not in corrupt and bad[node] > f]
    if beyond and facts.rule.entry.minimum_rows is not None:
        more = len(beyond) - 1
        nodes = "node" if more == 1 else "nodes"
        others = f"; the same holds for {more} more {nodes}" if more else ""
        yield (
            f"node {beyond[0]} has {bad[beyond[0]]} corrupt neighbours, and f = {f}: its rule "
            f"promises nothing there{others}"
        )


def _fedbuff(scenario: Scenario, topology: Topology) -> Iterator[str]:
    yield (
        f"fedbuff: nobody is waited for; {topology.concurrency} clients train at any time, every "
        f"{topology.buffer} updates make a step, a client gives at most {topology.max_updates}"
    )


_WORDS: Mapping[str, Callable[[Scenario, Topology], Iterator[str]]] = {
    "cyclic": _cyclic,
    "fedbuff": _fedbuff,
    "hierarchical": _hierarchical,
    "peer": _peer,
}
