"""How the rounds of a scenario are played: by one server, or in another topology."""

from collections.abc import Callable, Mapping

from securefl.federation.engine import Play, play_round
from securefl.federation.topologies.cyclic import cyclic, fixed
from securefl.federation.topologies.fedbuff import Buffering, fedbuff
from securefl.federation.topologies.hierarchical import hierarchical
from securefl.federation.topologies.peer import peer
from securefl.rng import seeded_keystream
from securefl.scenario.making.adversary import adversary_of
from securefl.scenario.making.graph import graph_of, meeting_of, no_rule
from securefl.scenario.scenario import Scenario
from securefl.scenario.topology_table import Topology


def play_of(scenario: Scenario) -> Play:
    """Returns the way to play a round."""
    topology = scenario.topology
    return play_round if topology is None else PLAYS[topology.kind](scenario, topology)


def _cyclic(scenario: Scenario, topology: Topology) -> Play:
    if topology.order != "random":
        return cyclic(fixed)

    def drawn(round: int, cohort: tuple[int, ...]) -> tuple[int, ...]:
        # Public, as the seed is: who hands on to whom is no secret.
        order = seeded_keystream(scenario.seed, "order", 0, round).permutation(len(cohort))
        return tuple(cohort[place] for place in order)

    return cyclic(drawn)


def _peer(scenario: Scenario, topology: Topology) -> Play:
    facts = scenario.facts
    graph = graph_of(scenario, topology, facts.clients)
    adversaries = {
        node: adversary_of(scenario, facts, no_rule, None, among=(node, *graph.neighbors[node]))
        for node in range(graph.n)
    }
    return peer(meeting_of(scenario, topology, facts, adversaries))


def _hierarchical(scenario: Scenario, topology: Topology) -> Play:
    weights = scenario.facts.public_weights
    if weights is None:
        raise ValueError("regions weigh as much as their clients, whose weights are not public")
    return hierarchical(len(scenario.facts.numbers_of(0)), weights)


def _fedbuff(scenario: Scenario, topology: Topology) -> Play:
    buffer, concurrency, most = topology.buffer, topology.concurrency, topology.max_updates
    if buffer is None or concurrency is None or most is None:
        raise ValueError("fedbuff needs a table [topology] that was checked")

    def draw(ticket: int, idle: int) -> int:
        # Public, as the seed is: it amplifies nothing.
        return int(seeded_keystream(scenario.seed, "ticket", ticket).permutation(idle)[0])

    speed = scenario.simulate.speed or (1,) * scenario.clients
    return fedbuff(Buffering(buffer, concurrency, most, speed, draw))


PLAYS: Mapping[str, Callable[[Scenario, Topology], Play]] = {
    "cyclic": _cyclic,
    "fedbuff": _fedbuff,
    "hierarchical": _hierarchical,
    "peer": _peer,
}
