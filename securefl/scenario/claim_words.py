"""Whom a claim protects, and whom it holds against, in words, from the values in force."""

import math
from collections.abc import Mapping
from typing import Any

from securefl.scenario import catalog

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
    return f"epsilon is for {unit}; {place} noise, {held_against(place, resolved['channel'])}"


def held_against(place: str, channel: Mapping[str, Any]) -> str:
    """Returns whom a claim holds against, and whom it does not.

    Args:
        place: where noise is added.
        channel: the values in force of the table [channel].
    """
    if place == "distributed":
        corrupt = channel["corrupt"]
        helpers = "1 client" if corrupt == 1 else f"{corrupt} clients"
        return f"which holds against the server together with up to {helpers} of a sum"
    if place == "central":
        return f"which holds against those who see models only, NOT against {_opener(channel)}"
    return "which holds against everybody else"


def _opener(channel: Mapping[str, Any]) -> str:
    """Returns who sees sums, or updates, before the noise is in them."""
    kind = catalog.CHANNELS[channel["kind"]]
    if kind.shows_every_update:
        return "the server, which sees every update without noise"
    if kind.server_holds_model:
        return "the server, which opens the sum and adds the noise"
    return "the key holders, who open the sum and add the noise"
