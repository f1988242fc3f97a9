"""Clients that fail as a scenario's table [simulate] says."""

from securefl.federation.unreliable import UnreliableClient
from securefl.federation.values import Participant
from securefl.scenario.scenario import Scenario


def with_failures(scenario: Scenario, clients: dict[int, Participant]) -> dict[int, Participant]:
    """Returns the clients, with simulated failures around those that have some.

    A client that fails in a round does so in each of its trainings there.
    """
    drops: dict[int, dict[int, int]] = {}
    lates: dict[int, set[int]] = {}
    for drop in scenario.simulate.drop:
        for number in scenario.facts.numbers_of(drop.round):
            drops.setdefault(drop.client, {})[number] = drop.stage
    for late in scenario.simulate.late:
        lates.setdefault(late.client, set()).update(scenario.facts.numbers_of(late.round))
    for client in (drops.keys() | lates.keys()) & clients.keys():
        clients[client] = UnreliableClient(
            clients[client],
            drop=drops.get(client, {}),
            late=frozenset(lates.get(client, ())),
        )
    return clients
