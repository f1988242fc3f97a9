"""Noise for a target epsilon."""

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from securefl.privacy.accounting.epsilon import epsilon, fits
from securefl.privacy.events import Counts, PrivacyEvent, SampledGaussian

MAX_NOISE_MULTIPLIER = 1e6
# Calibrated noise spends at least this share of the target epsilon.
MIN_SHARE_OF_TARGET = 0.995
# Noise multipliers this close are one: the search between them ends.
SAME_NOISE = 1e-9

# Noise multiplier, budget -> whether the releases under this noise fit the budget.
IsWithin = Callable[[float, float], bool]


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
    spent = _checked(target_epsilon, delta, before)
    return _calibrated(target_epsilon, sample_rate, steps, delta, tuple(spent.items()))


def calibrate_event(
    target_epsilon: float,
    event_of: Callable[[float], PrivacyEvent],
    releases: int,
    delta: float,
    *,
    before: Counts | None = None,
) -> float:
    """Returns a noise multiplier under which some releases of an event cost the target.

    Their epsilon, with everything released before, is in [.995, 1] x target where the epsilon of
    the event has no jumps, and never above the target.

    Args:
        target_epsilon: of all releases together, > 0.
        event_of: noise multiplier -> the event of one release; its epsilon falls with the noise. It
            may refuse too much noise by a ValueError.
        releases: number of releases to come, >= 1.
        delta: in (0, 1).
        before: event -> how often it was released already on the same records; of any kinds.

    Raises:
        ValueError: target_epsilon is not a positive finite number, out of reach at this delta, or
            spent before; or every noise that would reach it is refused by `event_of`.
    """
    if releases < 1:
        raise ValueError(f"releases must be >= 1, got {releases}")
    spent = Counter[PrivacyEvent](_checked(target_epsilon, delta, before))

    def is_within(noise: float, budget: float) -> bool:
        return fits(spent + Counter({event_of(noise): releases}), delta=delta, budget=budget)

    return _least_noise(is_within, target_epsilon, delta)


def _checked(target: float, delta: float, before: Counts | None) -> dict[PrivacyEvent, int]:
    """Returns what was released before; refuses a target that no noise can meet."""
    if not 0 < target < math.inf:
        raise ValueError(f"the target epsilon must be positive and finite, got {target}")
    spent: dict[PrivacyEvent, int] = {
        event: count for event, count in (before or {}).items() if count
    }
    past_epsilon = epsilon(spent, delta=delta)
    if past_epsilon >= MIN_SHARE_OF_TARGET * target:
        raise ValueError(f"earlier releases have spent epsilon {past_epsilon:.4g} of {target:g}")
    return spent


@lru_cache(maxsize=256)
def _calibrated(
    target: float,
    sample_rate: float,
    steps: int,
    delta: float,
    before: tuple[tuple[PrivacyEvent, int], ...],
) -> float:
    spent = Counter(dict(before))

    def is_within(noise: float, budget: float) -> bool:
        release = SampledGaussian(sample_rate, noise, steps)
        return fits(spent + Counter([release]), delta=delta, budget=budget)

    return _least_noise(is_within, target, delta)


def _least_noise(is_within: IsWithin, target: float, delta: float) -> float:
    """Returns noise that meets a target and wastes less than half a percent of it."""
    high = _enough_noise(is_within, target, delta)

    def meets(noise: float) -> bool:
        # Noise may also be refused as too little.
        try:
            return is_within(noise, target)
        except ValueError:
            return False

    low = 0.5 * high
    while meets(low):
        high = low
        low *= 0.5
    # `high` always meets the target; it falls until it wastes less than half a percent.
    while is_within(high, MIN_SHARE_OF_TARGET * target) and high - low > SAME_NOISE * high:
        middle = math.sqrt(low * high)
        if meets(middle):
            high = middle
        else:
            low = middle
    return high


def _enough_noise(is_within: IsWithin, target: float, delta: float) -> float:
    """Returns noise that meets a target, at most twice as much as it takes."""
    low = 0.0
    high = 1.0
    while True:
        try:
            if is_within(high, target):
                return high
        except ValueError as refusal:
            return _below_refused(is_within, target, low, high, refusal)
        low = high
        high *= 2.0
        if high > MAX_NOISE_MULTIPLIER:
            raise ValueError(
                f"no noise multiplier up to {MAX_NOISE_MULTIPLIER:g} reaches epsilon {target}"
                f" at delta {delta}"
            )


def _below_refused(
    is_within: IsWithin, target: float, low: float, high: float, refusal: ValueError
) -> float:
    """Returns noise between `low`, which is too little, and `high`, which is refused as too much.

    Raises:
        ValueError: the refusal of the least noise that is refused; none below meets the target.
    """
    while high - low > SAME_NOISE * high:
        middle = (low + high) / 2
        try:
            if is_within(middle, target):
                return middle
            low = middle
        except ValueError as reason:
            high = middle
            refusal = reason
    raise refusal
