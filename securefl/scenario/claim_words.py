"""Whom a claim protects, and whom it holds against, in words, from the values in force."""

import math
from collections.abc import Mapping
from typing import Any

from securefl.privacy.terms import place_called
from securefl.scenario.adversary_words import adversary_words, words_of_clients

UNITS = {"example": "one training record", "client": "everything that one client trains on"}


def claim_words(resolved: Mapping[str, Any]) -> str:
    """Returns the unit, the place of the noise and the adversary of a claim; "" without a claim.

    Args:
        resolved: every value in force, as in resolved.json.
    """
    privacy = resolved.get("privacy")
    if privacy is None or math.isinf(float(privacy["epsilon"])):
        return ""
    place = privacy.get("place", "local")
    unit = UNITS[privacy.get("unit", "example")]
    return f"epsilon is for {unit}; {place} noise: {held_against(place, resolved['channel'])}"


def held_against(place: str, channel: Mapping[str, Any]) -> str:
    """Returns whom a claim holds against, and whom it does not.

    Args:
        place: where noise is added.
        channel: the values in force of the table [channel].
    """
    place_in_force = place_called(place, channel.get("corrupt"))
    if place_in_force.name != "central":
        return words_of_clients(place_in_force) or "the claim holds against everybody else"
    from securefl.scenario import catalog  # it imports torch, for which other places need not wait

    return adversary_words(place_in_force, catalog.CHANNELS[channel["kind"]])
