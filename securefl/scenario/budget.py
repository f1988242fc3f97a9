"""How long a privacy budget lasts, calculated before anything runs."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from securefl.errors import BudgetExceeded
from securefl.privacy.accounting.allowance import largest_count
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.past import NO_PAST, Past
from securefl.scenario.assemble.cohort import inviter
from securefl.scenario.regions import enough_for_a_round, least_regions
from securefl.scenario.scenario import Scenario


class Outlook(NamedTuple):
    """The clients whose budget ends before the rounds do.

    Attributes:
        leaves: client -> the first round, from 0, that it is invited to and cannot pay for.
        ends: the round in which too few clients are left; None where enough stay to the end.
    """

    leaves: Mapping[int, int]
    ends: int | None

    def lines(self) -> list[str]:
        """Returns a sentence for each client that leaves."""
        return [
            f"client {client} leaves in round {round} (from 0): its budget is spent"
            for client, round in sorted(self.leaves.items())
        ]


def require_lasting(scenario: Scenario, before: Mapping[int, Past] | None = None) -> Outlook:
    """Returns the outlook of a scenario whose budget lasts for all rounds.

    Clients that leave earlier are in it, as long as the others are enough for a round.

    Args:
        scenario: checked.
        before: client -> what it has spent on the model that training starts from.

    Raises:
        BudgetExceeded: the run would end before its last round.
    """
    forecast = outlook(scenario, before)
    privacy = scenario.privacy
    if forecast.ends is None or privacy is None:
        return forecast
    facts = scenario.facts
    least = facts.min_cohort
    too_few = "no client" if least == 1 else f"fewer than {least} clients"
    if facts.top is not None:
        regions = least_regions(facts)
        too_few = f"fewer than {regions} regions with {least} clients each"
        if regions == 1:
            too_few = f"no region with {least} clients"
    raise BudgetExceeded(
        f"privacy.noise_multiplier = {privacy.noise_multiplier:g} ends the run in round "
        f"{forecast.ends} of {scenario.rounds} (from 0): {too_few} can pay for it "
        f"within epsilon {privacy.epsilon:g}; raise noise_multiplier, "
        "set fewer rounds, or remove the key to have the noise calibrated"
    )


def outlook(scenario: Scenario, before: Mapping[int, Past] | None = None) -> Outlook:
    """Returns when clients leave and the run ends, if only the budget stops them.

    Calibrated noise lasts by construction; noise_multiplier is a number of the author's. Arguments
    are those of `require_lasting`.
    """
    privacy = scenario.privacy
    members = _members(scenario)
    if privacy is None or privacy.noise_multiplier is None or not scenario.claims_dp:
        return Outlook({}, None)
    affordable: dict[int, int] = {}
    fit = scenario.data.fit
    # Clients that pay the same afford the same; each sum of privacy losses takes a while.
    sums: dict[tuple[PrivacyEvent, Past], int] = {}
    for client in members:
        cost = _cost(scenario, client, privacy.noise_multiplier)
        spent = NO_PAST if before is None else before.get(client, NO_PAST)
        spent = spent.and_once(None if fit is None else fit.cost)
        if (cost, spent) not in sums:
            booked = Counter(dict(spent.events))
            already = booked.pop(cost, 0)  # by an earlier run under the same constants
            largest = largest_count(
                cost,
                booked,
                delta=privacy.delta,
                budget=privacy.epsilon,
                most=already + scenario.facts.trainings,
            )
            sums[cost, spent] = largest - already
        affordable[client] = sums[cost, spent]
    return _played(scenario, affordable)


def allowed_trainings(scenario: Scenario, client: int) -> float:
    """Returns how many trainings of a client fit the run's own budget, up to twice its rounds.

    It is inf where noise is calibrated, which lasts for all rounds.

    It follows from declared constants, so that every party can compute it.
    """
    privacy = scenario.privacy
    if privacy is None or privacy.noise_multiplier is None or not scenario.claims_dp:
        return math.inf
    return largest_count(
        _cost(scenario, client, privacy.noise_multiplier),
        Counter(),
        delta=privacy.delta,
        budget=privacy.epsilon,
        most=2 * scenario.facts.trainings,
    )


def _cost(scenario: Scenario, client: int, noise_multiplier: float) -> PrivacyEvent:
    """Returns the event of one training of a client."""
    if scenario.protects_clients:
        return scenario.facts.release(noise_multiplier)
    return scenario.facts.plan_with_noise(client, noise_multiplier).cost


def _members(scenario: Scenario) -> tuple[int, ...]:
    """Returns the clients that take part in the session."""
    missing = set(scenario.simulate.missing)
    return tuple(client for client in range(scenario.clients) if client not in missing)


def _last_step(scenario: Scenario, affordable: Mapping[int, int], buffer: int) -> int | None:
    """Returns the first round whose buffer all updates together cannot fill; None without one."""
    most = scenario.facts.trainings
    steps = sum(min(payable, most) for payable in affordable.values()) // buffer
    return steps if steps < scenario.rounds else None


def _played(scenario: Scenario, affordable: Mapping[int, int]) -> Outlook:
    """Plays the invitations of all rounds, and nothing else.

    Args:
        scenario: decides who is invited.
        affordable: client -> trainings that it can pay for.
    """
    leaves: dict[int, int] = {}
    if all(payable >= scenario.facts.trainings for payable in affordable.values()):
        return Outlook(leaves, None)
    if scenario.facts.buffer is not None:
        return Outlook(leaves, _last_step(scenario, affordable, scenario.facts.buffer))
    # A client that falls silent may do so before or after it pays. Before is assumed: a run that
    # could last must not be refused.
    silent = {(failure.client, failure.round) for failure in scenario.simulate.drop}
    invite = inviter(scenario, tuple(affordable))
    enough = enough_for_a_round(scenario, scenario.facts)
    paid = Counter[int]()
    for round in range(scenario.rounds):
        for client in invite(round):
            # Budgets never recover: the engine counts a client that left once as gone for good.
            if client in leaves or (client, round) in silent:
                continue
            # Where a round has several trainings it may be able to pay for some of them.
            if paid[client] >= affordable[client]:
                leaves[client] = round
            paid[client] += len(scenario.facts.numbers_of(round))
        if not enough(affordable.keys() - leaves.keys()):
            return Outlook(leaves, round)
    return Outlook(leaves, None)
