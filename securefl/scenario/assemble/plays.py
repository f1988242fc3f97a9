"""How the rounds of a scenario are played: by one server, or in another topology."""

from collections.abc import Callable, Mapping

from securefl.federation.engine import Play, play_round
from securefl.federation.topologies.cyclic import cyclic, fixed
from securefl.federation.topologies.hierarchical import hierarchical
from securefl.rng import seeded_keystream
from securefl.scenario.scenario import Scenario


def play_of(scenario: Scenario) -> Play:
    """Returns the way to play a round."""
    topology = scenario.topology
    return play_round if topology is None else PLAYS[topology.kind](scenario)


def _cyclic(scenario: Scenario) -> Play:
    topology = scenario.topology
    if topology is None or topology.order != "random":
        return cyclic(fixed)

    def drawn(round: int, cohort: tuple[int, ...]) -> tuple[int, ...]:
        # Public, as the seed is: who hands on to whom is no secret.
        order = seeded_keystream(scenario.seed, "order", 0, round).permutation(len(cohort))
        return tuple(cohort[place] for place in order)

    return cyclic(drawn)


def _hierarchical(scenario: Scenario) -> Play:
    weights = scenario.facts.public_weights
    if weights is None:
        raise ValueError("regions weigh as much as their clients, whose weights are not public")
    return hierarchical(len(scenario.facts.numbers_of(0)), weights)


PLAYS: Mapping[str, Callable[[Scenario], Play]] = {
    "cyclic": _cyclic,
    "hierarchical": _hierarchical,
}
