"""The regions of a hierarchical scenario: each has a channel and a rule of its own."""

from collections.abc import Callable, Collection

from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import fewest_rows


def regions_of(declared: Declaration, facts: Facts) -> dict[int, Facts]:
    """Returns number -> the facts of a region; empty where one server has all clients."""
    topology = declared.topology
    if topology is None or topology.regions is None:
        return {}
    return {number: facts.within(clients) for number, clients in enumerate(topology.regions)}


def least_regions(facts: Facts) -> int:
    """Returns the fewest regions whose rows make a round of the top; 1 where there is none."""
    return 1 if facts.top is None else fewest_rows(facts.top)


def enough_for_a_round(declared: Declaration, facts: Facts) -> Callable[[Collection[int]], bool]:
    """Returns clients -> whether they make a round, if each of them sends an update."""
    topology, least = declared.topology, facts.min_cohort
    if topology is None or topology.regions is None:
        return lambda clients: len(clients) >= least
    regions = [frozenset(region) for region in topology.regions]
    needed = least_regions(facts)

    def enough(clients: Collection[int]) -> bool:
        return sum(len(region.intersection(clients)) >= least for region in regions) >= needed

    return enough
