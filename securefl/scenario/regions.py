"""The regions of a hierarchical scenario: each has a channel and a rule of its own."""

from collections.abc import Collection

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


def makes_a_round(declared: Declaration, facts: Facts, clients: Collection[int]) -> bool:
    """Whether these clients are enough for a round, if each of them sends an update."""
    regions = regions_of(declared, facts)
    if not regions:
        return len(clients) >= facts.min_cohort
    present = [len(set(clients) & set(region.members)) for region in regions.values()]
    return sum(number >= facts.min_cohort for number in present) >= least_regions(facts)
