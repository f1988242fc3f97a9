"""How the rounds of a scenario are played: by one server, or in another topology."""

from collections.abc import Callable, Mapping

from securefl.federation.engine import Play, play_round
from securefl.federation.topologies.cyclic import cyclic, fixed
from securefl.federation.topologies.fedbuff import Buffering, fedbuff
from securefl.rng import seeded_keystream
from securefl.scenario.scenario import Scenario
from securefl.scenario.topology_table import Topology


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


def _fedbuff(scenario: Scenario) -> Play:
    topology = scenario.topology or Topology(kind="fedbuff")
    buffer, concurrency, most = topology.buffer, topology.concurrency, topology.max_updates
    if buffer is None or concurrency is None or most is None:
        raise ValueError("fedbuff needs a table [topology] that was checked")

    def draw(ticket: int, idle: int) -> int:
        # Public, as the seed is: it amplifies nothing.
        return int(seeded_keystream(scenario.seed, "ticket", ticket).permutation(idle)[0])

    speed = scenario.simulate.speed or (1,) * scenario.clients
    return fedbuff(Buffering(buffer, concurrency, most, speed, draw))


PLAYS: Mapping[str, Callable[[Scenario], Play]] = {"cyclic": _cyclic, "fedbuff": _fedbuff}
