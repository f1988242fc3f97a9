"""Clients that fail as a scenario's table [simulate] says."""

from functools import partial

from securefl.federation.clock import Clock
from securefl.federation.unreliable import UnreliableClient, in_time
from securefl.federation.values import Participant
from securefl.scenario.scenario import Scenario


def with_failures(
    scenario: Scenario, clients: dict[int, Participant], clock: Clock | None
) -> dict[int, Participant]:
    """Returns the clients, with simulated failures around those that have some.

    A client that fails in a round does so in each of its trainings there.

    Args:
        scenario: names the failures.
        clients: of one session.
        clock: says whose updates are discarded; None without.
    """
    drops: dict[int, dict[int, int]] = {}
    lates: dict[int, set[int]] = {}
    for drop in scenario.simulate.drop:
        for number in scenario.facts.numbers_of(drop.round):
            drops.setdefault(drop.client, {})[number] = drop.stage
    for late in scenario.simulate.late:
        lates.setdefault(late.client, set()).update(scenario.facts.numbers_of(late.round))
    unreliable = drops.keys() | lates.keys() if clock is None else clients.keys()
    for client in unreliable & clients.keys():
        clients[client] = UnreliableClient(
            clients[client],
            drop=drops.get(client, {}),
            late=frozenset(lates.get(client, ())),
            discarded=in_time if clock is None else partial(_discarded, clock, client),
        )
    return clients


def _discarded(clock: Clock, client: int, round: int) -> str:
    """Returns why a client's update is discarded; empty where it is not."""
    return clock.late_in(round).get(client, "")
