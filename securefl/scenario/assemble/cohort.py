"""Who is invited to a round."""

from collections.abc import Callable

from securefl.rng import seeded_keystream
from securefl.scenario.scenario import Scenario


def inviter(scenario: Scenario, members: tuple[int, ...]) -> Callable[[int], tuple[int, ...]]:
    """Returns round -> its cohort: every member, or some, drawn each round.

    The seed draws them, so that anybody who has the scenario knows each cohort beforehand: cohorts
    amplify no privacy.
    """

    def invite(round: int) -> tuple[int, ...]:
        if scenario.cohort_size >= len(members):
            return members
        order = seeded_keystream(scenario.seed, "cohort", round).permutation(len(members))
        return tuple(sorted(members[place] for place in order[: scenario.cohort_size].tolist()))

    return invite
