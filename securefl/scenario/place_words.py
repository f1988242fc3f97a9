"""Where the noise of a claim is added, and whom the claim holds against, in words."""

from collections.abc import Iterator

from securefl.privacy.events import DiscreteGaussianSum
from securefl.scenario.scenario import Scenario
from securefl.scenario.tables import Privacy


def place_words(scenario: Scenario, privacy: Privacy) -> Iterator[str]:
    """Yields how much noise protects a whole sum, and against whom; nothing for local noise.

    Local noise holds against everybody else, so that nothing has to be said about it.
    """
    facts = scenario.facts
    if not facts.has_common_noise:
        return
    noise = facts.common_noise
    event = facts.release(noise)
    if isinstance(event, DiscreteGaussianSum):
        corrupt = facts.channel_options["corrupt"]
        helpers = "1 client" if corrupt == 1 else f"{corrupt} clients"
        yield (
            f"noise: multiplier {noise:g} of each sum with {event.shares} counted shares of the "
            f"{facts.invited} clients; the claim holds against the server together with up to "
            f"{helpers} of a sum"
        )
        return
    yield (
        f"noise: multiplier {noise:g} of each opened sum; the claim holds against those who see "
        f"models only, and NOT against {_opener(scenario)}"
    )


def _opener(scenario: Scenario) -> str:
    """Returns who sees sums, or updates, before the noise is in them."""
    kind = scenario.facts.channel
    if kind.shows_every_update:
        return "the server, which sees every update without noise"
    if kind.server_holds_model:
        return "the server, which opens the sum and adds the noise"
    return "the key holders, who open the sum and add the noise"
