"""Whom a claim protects, and whom it holds against, in words, from the values in force."""

import math
from collections.abc import Mapping
from typing import Any

from securefl.privacy.terms import place_called
from securefl.scenario import catalog
from securefl.scenario.place_words import adversary_words

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
    words = adversary_words(
        place_called(place, channel.get("corrupt")), catalog.CHANNELS[channel["kind"]]
    )
    return words or "the claim holds against everybody else"
