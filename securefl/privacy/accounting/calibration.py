"""Noise for a target epsilon."""

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from securefl.privacy.accounting.ends import Segments
from securefl.privacy.accounting.epsilon import epsilon, fits
from securefl.privacy.events import Counts, PrivacyEvent, SampledGaussian

MAX_NOISE_MULTIPLIER = 1e6
# Calibrated noise spends at least this share of the target epsilon.
MIN_SHARE_OF_TARGET = 0.995


def calibrate_noise(
    target_epsilon: float,
    sample_rate: float,
    steps: int,
    delta: float,
    *,
    before: Counts | None = None,
) -> float:
    """Returns a noise multiplier whose epsilon is in [.995, 1] x target, never above it.

    Args:
        target_epsilon: of all releases together, > 0.
        sample_rate: probability of each record to be in a step's sample, in (0, 1].
        steps: number of releases to come, >= 1.
        delta: in (0, 1).
        before: event -> how often it was released already on the same records.

    Raises:
        ValueError: target_epsilon is not a positive finite number, out of reach at this delta, or
            spent before.
    """
    if not 0 < target_epsilon < math.inf:
        raise ValueError(f"the target epsilon must be positive and finite, got {target_epsilon}")
    spent = {event: count for event, count in (before or {}).items() if count}
    if spent:
        _check_past(spent, target_epsilon, delta)
    return _calibrated(target_epsilon, sample_rate, steps, delta, tuple(spent.items()))


def calibrate_event(
    target_epsilon: float,
    event_of: Callable[[float], PrivacyEvent],
    releases: int,
    delta: float,
    *,
    before: Counts | None = None,
) -> float:
    """Returns a noise multiplier whose epsilon is in [.995, 1] x target, never above it."""
    spent: Counter[PrivacyEvent] = Counter(dict(before or {}))
    if spent:
        _check_past(spent, target_epsilon, delta)

    def is_within(noise: float, budget: float) -> bool:
        segments = spent + Counter({event_of(noise): releases})
        return fits(segments, delta=delta, budget=budget)

    high = 1.0
    while not is_within(high, target_epsilon):
        high *= 2.0
        if high > MAX_NOISE_MULTIPLIER:
            raise ValueError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon "
                f"{target_epsilon} at delta {delta}"
            )
    low = 0.5 * high
    while is_within(low, target_epsilon):
        high = low
        low *= 0.5
    while is_within(high, MIN_SHARE_OF_TARGET * target_epsilon):
        middle = math.sqrt(low * high)
        if is_within(middle, target_epsilon):
            high = middle
        else:
            low = middle
    return high


def _check_past(spent: Counts, target: float, delta: float) -> None:
    """Refuses a target that the past has used up: no noise, however much, would meet it."""
    past_epsilon = epsilon(spent, delta=delta)
    if past_epsilon >= MIN_SHARE_OF_TARGET * target:
        raise ValueError(f"earlier releases have spent epsilon {past_epsilon:.4g} of {target:g}")


@lru_cache(maxsize=256)
def _calibrated(
    target: float,
    sample_rate: float,
    steps: int,
    delta: float,
    before: Segments,
) -> float:
    def is_within(noise: float, budget: float) -> bool:
        release = SampledGaussian(sample_rate, noise, steps)
        segments = Counter(dict(before)) + Counter([release])
        return fits(segments, delta=delta, budget=budget)

    high = 1.0
    while not is_within(high, target):
        high *= 2.0
        if high > MAX_NOISE_MULTIPLIER:
            raise ValueError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon {target}"
                f" at delta {delta}"
            )
    low = 0.5 * high
    while is_within(low, target):
        high = low
        low *= 0.5
    # `high` always meets the target; it falls until it wastes less than half a percent.
    while is_within(high, MIN_SHARE_OF_TARGET * target):
        middle = math.sqrt(low * high)
        if is_within(middle, target):
            high = middle
        else:
            low = middle
    return high
