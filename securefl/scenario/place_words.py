"""Where the noise of a claim is added, and whom the claim holds against, in words."""

from collections.abc import Iterator, Sequence

from securefl.channels.kind import Kind
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.terms import Place
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


def adversary_words(place: Place, channel: Kind) -> str:
    """Returns whom a claim holds against, and whom it does not; nothing for local noise.

    Local noise holds against everybody else, so that nothing has to be said about it.
    """
    if place.name == "distributed":
        helpers = "1 client" if place.corrupt == 1 else f"{place.corrupt} clients"
        return f"the claim holds against the server together with up to {helpers} of a sum"
    if place.name == "central":
        return f"the claim holds against {_sides_of_opener(channel)}"
    return ""


def _sides_of_opener(channel: Kind) -> str:
    """Returns whom central noise holds against, and who sees sums, or updates, without it.

    Whoever changes a ciphertext can move a number of the sum to where it wraps around, so that one
    record decides its sign. Key holders cannot tell such a sum from an honest one.
    """
    if channel.opener == "key holders":
        return (
            "those who get a model and no key, and can change no ciphertext, and NOT against "
            "the key holders, who open the sum and add the noise, nor against whoever changes "
            "ciphertexts, as the server could"
        )
    if channel.shows_every_update:
        return (
            "those who see models only, and NOT against the server, which sees every update "
            "without noise"
        )
    return (
        "those who see models only, and NOT against the server, which opens the sum and adds the "
        "noise"
    )
