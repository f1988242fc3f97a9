"""Noise of a whole sum: its multiplier, calibrated once for all clients."""

import math
from collections.abc import Callable, Iterable
from functools import partial

from securefl.errors import ScenarioError
from securefl.privacy.accounting.calibration import calibrate_event
from securefl.privacy.events import PrivacyEvent, event_to_json
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.declaration import Declaration
from securefl.scenario.tables import Privacy

# Digits of a calibrated multiplier. Every party computes it for itself, and all have to agree.
DIGITS = 6
PROBE = 0.01  # a multiplier for which every channel has room that has any


def common_noise(
    declared: Declaration,
    release: Callable[[float], PrivacyEvent],
    releases: int,
    pasts: Iterable[Past] = (NO_PAST,),
    remember: Remember = fresh,
) -> float:
    """Returns the noise multiplier of sums with which no client exceeds the claim.

    Args:
        declared: the claim.
        release: noise multiplier -> what one sum costs.
        releases: how many sums are opened at most.
        pasts: what the clients have spent before, each on its own.
        remember: caches calibrated noise.

    Returns:
        The largest multiplier that any client needs; 0 where each client adds its own noise, and
        where nothing is claimed.

    Raises:
        ScenarioError: no noise meets the claim.
    """
    privacy = declared.privacy
    if privacy is None or privacy.place == "local":
        return 0.0
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    if math.isinf(privacy.epsilon):
        return 0.0
    fit = declared.data.fit
    cost = None if fit is None else fit.cost
    needed = []
    # Clients with the same past need the same.
    for past in {before.and_once(cost) for before in pasts}:
        try:
            probe = release(PROBE)
        except ValueError as reason:
            raise ScenarioError(f"channel: {reason}") from None
        try:
            needed.append(_needed(privacy, release, releases, past, remember, probe=probe))
        except ValueError as reason:
            raise ScenarioError(f"privacy.epsilon: {reason}") from None
    return _rounded_up(max(needed))


def _needed(
    privacy: Privacy,
    release: Callable[[float], PrivacyEvent],
    releases: int,
    past: Past,
    remember: Remember,
    *,
    probe: PrivacyEvent,
) -> float:
    """Returns the multiplier that one client needs. Raises ValueError: no noise meets the claim."""
    key = {
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "releases": releases,
        # Everything else that the cost depends on shows in the cost under one multiplier.
        "release": event_to_json(probe),
        "before": past.to_json() if past.events else None,
    }
    calibrate = partial(
        calibrate_event,
        privacy.epsilon,
        release,
        releases,
        privacy.delta,
        before=dict(past.events),
    )
    return float(remember("noise of a sum", key, calibrate))


def _rounded_up(value: float) -> float:
    """Returns a value > 0 with a few decimal digits; more noise, never less."""
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - DIGITS)
    return math.ceil(value / unit) * unit
