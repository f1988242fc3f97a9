"""Which adversaries a claim of central or distributed noise holds against."""

from securefl.audit.threats import OPENED, threat
from securefl.channels.protocol import Seen
from securefl.scenario.scenario import Scenario

# What is seen before whoever opens a sum adds noise to it.
_BEFORE_NOISE = {Seen.CLEAR_UPDATE, Seen.SUM_OF_UPDATES, Seen.OPENED_SUM, OPENED}


def sees_before_noise(scenario: Scenario, adversary: str) -> str:
    """Returns why a claim of central noise does not hold against an adversary; "" where it does."""
    privacy = scenario.privacy
    if privacy is None or privacy.place != "central":
        return ""
    shown = set(threat(adversary).sees(scenario.channel.kind)) & _BEFORE_NOISE
    if not shown:
        return ""
    return (
        f"--adversary: {adversary!r} sees the {min(shown)} before central noise is added, and the "
        "claim does not hold against it: audit 'outsider-weights', or set privacy.place = "
        "'distributed'"
    )


def knows_shares(scenario: Scenario, adversary: str, colluders: int) -> str:
    """Returns why more clients help than the noise of a sum was sized against; "" where not."""
    privacy = scenario.privacy
    if privacy is None or privacy.place != "distributed" or not threat(adversary).clients:
        return ""
    corrupt = scenario.facts.channel_options["corrupt"]
    if colluders <= corrupt:
        return ""
    return (
        f"--colluders: {colluders} clients know their shares of the noise, and the claim "
        f"holds against channel.corrupt = {corrupt}; take fewer"
    )
