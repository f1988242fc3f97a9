"""Where the noise of a claim is added, and whom the claim holds against, in words."""

from collections.abc import Iterator, Sequence

from securefl.privacy.past import NO_PAST, Past
from securefl.scenario.adversary_words import adversary_words
from securefl.scenario.assemble.ledgers import place_of
from securefl.scenario.facts import Facts
from securefl.scenario.release import common_noise
from securefl.scenario.scenario import Scenario


def place_words(scenario: Scenario, pasts: Sequence[Past] = (NO_PAST,)) -> Iterator[str]:
    """Yields how much noise protects a whole sum, and against whom; nothing for local noise.

    Args:
        scenario: makes a claim.
        pasts: what its clients have spent before. Noise is enough for the one that spent most.
    """
    facts = scenario.facts
    if not facts.has_common_noise:
        return
    noise = common_noise(scenario, facts.release, facts.trainings, pasts)
    counted = " that is opened"
    if facts.n_min is not None:
        counted = f", for {facts.n_min} honest shares of {_clients_of_a_sum(facts)}"
    yield (
        f"noise: multiplier {noise:g} of each sum{counted}; "
        f"{adversary_words(place_of(scenario), facts.channel)}"
    )


def _clients_of_a_sum(facts: Facts) -> str:
    """Returns how many clients the noise is sized for."""
    groups = facts.channel_options.get("groups")
    if groups is None:
        return f"{facts.invited} clients"
    return f"the {facts.invited // groups} clients of the smallest group"
