"""Noise for a target epsilon."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from securefl.privacy.accounting.epsilon import epsilon, fits
from securefl.privacy.accounting.grids import Segments
from securefl.privacy.events import SampledGaussian

_MOST_NOISE = 1e6
NEAR = 0.995  # of the target


def calibrate_noise(
    target_epsilon: float,
    sample_rate: float,
    steps: int,
    delta: float,
    *,
    before: Mapping[SampledGaussian, int] | None = None,
) -> float:
    """A noise multiplier whose epsilon is in [.995, 1] x target_epsilon, never above it.

    Args:
        target_epsilon: of all releases together, > 0.
        sample_rate: probability of each record to be in a step's sample, in (0, 1].
        steps: number of releases to come, >= 1.
        delta: in (0, 1).
        before: event -> how often it was released already on the same records.

    Raises:
        ValueError: target_epsilon is not a positive finite number, out of reach at this delta, or spent before.
    """
    if not 0 < target_epsilon < math.inf:
        raise ValueError(f"the target epsilon must be positive and finite, got {target_epsilon}")
    spent = {event: count for event, count in (before or {}).items() if count}
    if spent and (already := epsilon(spent, delta=delta)) >= NEAR * target_epsilon:
        raise ValueError(f"earlier releases have spent epsilon {already:.4g} of {target_epsilon:g}")
    return _calibrated(target_epsilon, sample_rate, steps, delta, tuple(spent.items()))


@lru_cache(maxsize=256)
def _calibrated(
    target: float, sample_rate: float, steps: int, delta: float, before: Segments
) -> float:
    def within(noise: float, budget: float) -> bool:
        segments = Counter(dict(before)) + Counter([SampledGaussian(sample_rate, noise, steps)])
        return fits(segments, delta=delta, budget=budget)

    high = 1.0
    while not within(high, target):
        high *= 2.0
        if high > _MOST_NOISE:
            raise ValueError(
                f"no noise multiplier up to {_MOST_NOISE:g} reaches epsilon {target} at delta {delta}"
            )
    low = 0.5 * high
    while within(low, target):
        low, high = 0.5 * low, low
    while within(high, NEAR * target):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if within(middle, target) else (middle, high)
    return high
