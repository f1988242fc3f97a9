"""The entry of a topology in the catalog."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefl.channels.protocol import Seen
from securefl.scenario.topology_table import Topology


def _one_a_round(topology: Topology, rounds: int) -> int:
    return rounds


def _its_own(topology: Topology, round: int) -> range:
    return range(round, round + 1)


def several_a_round(topology: Topology, rounds: int) -> int:
    """Returns how often a client trains that does so in each inner round."""
    return rounds * (topology.inner_rounds or 1)


def one_an_inner_round(topology: Topology, round: int) -> range:
    """Returns the numbers of a round's inner rounds, which go on from round to round."""
    inner_rounds = topology.inner_rounds or 1
    return range(round * inner_rounds, (round + 1) * inner_rounds)


def _none(topology: Topology) -> None:
    return None


@dataclass(frozen=True)
class TopologyEntry:
    """Another way than that of one server to play a round.

    Attributes:
        sees: "server", "network", "client", "region" or "top" -> the kinds of its Observations.
            Those of a region's server and of its clients depend on the channel inside, too.
        takes: the keys of the table [topology] that it has.
        orders: the values of its key order.
        has_server: whether clients have a server, whose channel, rule and step these are.
        around: whether rules combine a node's own row with those of its neighbours.
        trainings: the table, rounds -> how often one client trains at most.
        numbers: the table, a round -> the numbers under which a client pays for its trainings in
            this round. A round that was cut short is not played again if one of them is paid for.
        buffer: the table -> updates that make a step, where no cohort does; None where one does.
        has_clock: whether simulate.speed has an effect.
        audited: whether there are audits of what its parties learn.
    """

    sees: Mapping[str, tuple[Seen, ...]]
    takes: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    has_server: bool = True
    around: bool = False
    trainings: Callable[[Topology, int], int] = _one_a_round
    numbers: Callable[[Topology, int], range] = _its_own
    buffer: Callable[[Topology], int | None] = _none
    has_clock: bool = False
    audited: bool = True
