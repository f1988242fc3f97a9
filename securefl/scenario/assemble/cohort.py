"""Who is invited to a round, and who of them is in time."""

from collections.abc import Callable

from securefl.federation.clock import Clock, Timing, timing
from securefl.rng import seeded_keystream
from securefl.scenario.scenario import Scenario


def inviter(scenario: Scenario, members: tuple[int, ...]) -> Callable[[int], tuple[int, ...]]:
    """Returns round -> its cohort: every member, or some, drawn each round.

    The seed draws them, so that anybody who has the scenario knows each cohort beforehand: cohorts
    amplify no privacy.
    """

    def invite(round: int) -> tuple[int, ...]:
        invited = scenario.facts.invited
        if invited >= len(members):
            return members
        order = seeded_keystream(scenario.seed, "cohort", round).permutation(len(members))
        return tuple(sorted(members[place] for place in order[:invited].tolist()))

    return invite


def clock_of(scenario: Scenario, members: tuple[int, ...]) -> Clock | None:
    """Returns the simulated clock of a server's rounds; None where there is none."""
    speed, topology = scenario.simulate.speed, scenario.topology
    if speed is None or topology is not None:
        return None
    invite = inviter(scenario, members)
    facts, cohort = scenario.facts, scenario.cohort
    deadline = None if cohort is None else cohort.deadline
    # Updates that never come: nobody's place in a round is taken by one of them.
    silent = {(late.client, late.round) for late in scenario.simulate.late}
    for drop in scenario.simulate.drop:
        if drop.stage <= facts.channel.trains_in:
            silent.add((drop.client, drop.round))

    def timing_of(round: int) -> Timing:
        ready = [client for client in invite(round) if (client, round) not in silent]
        times = {client: speed[client] for client in ready}
        return timing(times, size=facts.cohort_size, deadline=deadline)

    return Clock(timing_of)
