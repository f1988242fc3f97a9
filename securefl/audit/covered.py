"""Which adversaries an audit can look at, since it would understate what some of them learn."""

from securefl.audit.threats import OPENED, SERVER, adversaries_in, threat
from securefl.channels.protocol import Seen
from securefl.scenario.scenario import Scenario

# What is seen before whoever opens a sum adds noise to it.
_BEFORE_NOISE = {Seen.CLEAR_UPDATE, Seen.SUM_OF_UPDATES, Seen.OPENED_SUM, OPENED}


def sees_too_much(scenario: Scenario, adversary: str) -> str:
    """Returns why an audit of an adversary would say too little; "" where it would not."""
    return sees_before_noise(scenario, adversary) or sees_distances(scenario, adversary)


def passed_over(scenario: Scenario) -> str:
    """Returns a note on the adversaries that an audit of all leaves out; "" without any."""
    kind = SERVER if scenario.topology is None else scenario.topology.kind
    names = [name for name in adversaries_in(kind) if sees_too_much(scenario, name)]
    if not names:
        return ""
    return (
        f"left out, since an audit would understate what they learn: {', '.join(names)}; "
        "--adversary with one of these names says why"
    )


def knows_too_much(scenario: Scenario, adversary: str, colluders: int) -> str:
    """Returns why so many helpers know more than any audit measures; "" where they do not."""
    reason = knows_shares(scenario, adversary, colluders)
    return reason or knows_sketches(scenario, adversary, colluders)


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


def sees_distances(scenario: Scenario, adversary: str) -> str:
    """Returns why attacks on models and sums would understate what an adversary sees; else ""."""
    if not scenario.facts.selects:
        return ""
    if Seen.DISTANCES not in threat(adversary).sees(scenario.channel.kind, choice=True):
        return ""
    return (
        f"--adversary: with channel.sketch {adversary!r} sees distances between all updates, which "
        "no attack here reads, so that an audit would understate what it learns: audit 'clients' "
        "or 'outsider-weights', or remove channel.sketch"
    )


def knows_sketches(scenario: Scenario, adversary: str, colluders: int) -> str:
    """Returns why more clients help than sketches are hidden from; "" where not."""
    if not scenario.facts.selects or not threat(adversary).clients:
        return ""
    corrupt = scenario.facts.channel_options["corrupt"]
    if colluders <= corrupt:
        return ""
    return (
        f"--colluders: {colluders} clients open every sketch, which no attack here reads, and "
        f"sketches are hidden from channel.corrupt = {corrupt}; take fewer"
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
