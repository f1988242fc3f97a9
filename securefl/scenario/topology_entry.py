"""The entry of a topology in the catalog."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefl.channels.protocol import Seen
from securefl.scenario.topology_table import Topology


def _one_a_round(topology: Topology, rounds: int) -> int:
    return rounds


def _its_own(topology: Topology, round: int) -> range:
    return range(round, round + 1)


def _none(topology: Topology) -> None:
    return None


@dataclass(frozen=True)
class TopologyEntry:
    """Another way than that of one server to play a round.

    Attributes:
        remark: the table -> what a summary says about it.
        sees: "server", "network" or "client" -> the kinds of its Observations.
        takes: the keys of the table [topology] that it has.
        trainings: the table, rounds -> how often one client trains at most.
        numbers: the table, a round -> the numbers under which a client pays for its trainings in
            this round. A round that was cut short is not played again if one of them is paid for.
        buffer: the table -> updates that make a step, where no cohort does; None where one does.
        has_clock: whether simulate.speed has an effect.
    """

    sees: Mapping[str, tuple[Seen, ...]]
    remark: Callable[[Topology], str]
    takes: tuple[str, ...] = ()
    trainings: Callable[[Topology, int], int] = _one_a_round
    numbers: Callable[[Topology, int], range] = _its_own
    buffer: Callable[[Topology], int | None] = _none
    has_clock: bool = False
