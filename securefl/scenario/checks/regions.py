"""Whether channel and rule fit the clients that meet under them: all, or those of each region."""

from collections import Counter

from securefl.errors import ScenarioError
from securefl.scenario.checks.channel import check_channel
from securefl.scenario.checks.defense import check_defense
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.regions import regions_of
from securefl.scenario.topology_table import Topology


def check_meetings(declared: Declaration, facts: Facts) -> None:
    """Checks channel and rule of the federation, or of each of its regions.

    Raises:
        ScenarioError: one sentence that says what to change, and which region it is about.
    """
    topology = declared.topology
    if topology is None or facts.topology is None or "regions" not in facts.topology.takes:
        check_channel(declared, facts)
        check_defense(declared, facts)
        return
    _check_regions(topology, facts)
    for number, region in regions_of(declared, facts).items():
        try:
            check_channel(declared, region)
            check_defense(declared, region)
        except ScenarioError as reason:
            raise ScenarioError(f"region {number}: {reason}") from None


def _check_regions(topology: Topology, facts: Facts) -> None:
    """Checks that each client is in exactly one region."""
    if not topology.regions:
        raise ScenarioError(
            f"topology.kind = {topology.kind!r} needs topology.regions, a list of clients for each "
            "region"
        )
    for number, clients in enumerate(topology.regions):
        if not clients:
            raise ScenarioError(f"topology.regions: region {number} has no clients; remove it")
    times = Counter(client for clients in topology.regions for client in clients)
    for client in range(facts.clients):
        if client not in times:
            raise ScenarioError(f"topology.regions: client {client} is in none; add it to one")
    for client, count in sorted(times.items()):
        if client >= facts.clients:
            raise ScenarioError(
                f"topology.regions: there is no client {client} among {facts.clients}"
            )
        if count > 1:
            raise ScenarioError(f"topology.regions: client {client} is listed {count} times")
