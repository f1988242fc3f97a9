"""Epsilon of composed subsampled Gaussian releases; never below the true value.

Add/remove neighbours. Where every record is in every step (sample rate 1) the closed form of the Gaussian
mechanism is used; otherwise pessimistic privacy-loss distributions of dp-accounting.
"""

import math
from collections.abc import Mapping
from functools import lru_cache, reduce

from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.optimize import brentq
from scipy.special import log_ndtr

from securefl.privacy.events import SampledGaussian

Segments = tuple[tuple[SampledGaussian, int], ...]

_INTERVALS = (1e-2, 1e-3, 1e-4, 1e-5)  # discretisation of the privacy loss, coarse to fine
_MOST_NOISE = 1e6
_SETTLED = 1e-3  # a refinement that gains less than this share ends the search


def epsilon(segments: Mapping[SampledGaussian, int], *, delta: float) -> float:
    """The epsilon at `delta` of every event composed as often as it occurred.

    Args:
        segments: event -> how often it was released (counts of 0 are ignored).
        delta: in (0, 1).

    Returns:
        An upper end of epsilon; 0 for nothing released, inf where some noise is 0.

    Raises:
        ValueError: delta outside (0, 1), or a negative count.
    """
    _check(segments, delta)
    return _epsilon(_merged(segments), delta)


def fits(segments: Mapping[SampledGaussian, int], *, delta: float, budget: float) -> bool:
    """Whether `epsilon` of segments is within budget; a coarse accountant that says yes is believed at once."""
    _check(segments, delta)
    merged = _merged(segments)
    noisy = all(event.noise_multiplier > 0 for event, _ in merged)
    sampled = any(event.sample_rate < 1 for event, _ in merged)
    if noisy and sampled and _pld_epsilon(merged, delta, _INTERVALS[0]) <= budget:  # pessimistic, so yes is yes
        return True
    return epsilon(segments, delta=delta) <= budget


def gaussian_epsilon(noise_multiplier: float, steps: int, delta: float) -> float:
    """The exact epsilon of `steps` Gaussian releases without sampling.

    Source: Balle and Wang, ICML 2018, theorem 8.
    """
    return epsilon({SampledGaussian(1.0, noise_multiplier, steps): 1}, delta=delta)


def subsampled_gaussian_epsilon(sample_rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    """An upper end of epsilon for `steps` Gaussian releases over Poisson samples.

    Source: Koskela, Jälkö and Honkela, AISTATS 2020 (PLDs); Doroshenko et al., PETS 2022 (connect the dots).
    """
    return epsilon({SampledGaussian(sample_rate, noise_multiplier, steps): 1}, delta=delta)


@lru_cache(maxsize=256)
def calibrate_noise(target_epsilon: float, sample_rate: float, steps: int, delta: float) -> float:
    """A noise multiplier whose epsilon is in [.995, 1] x target_epsilon, never above it.

    Raises:
        ValueError: target_epsilon is not a positive finite number, or out of reach at this delta.
    """
    if not 0 < target_epsilon < math.inf:
        raise ValueError(f"the target epsilon must be positive and finite, got {target_epsilon}")

    def cost(noise: float) -> float:
        return subsampled_gaussian_epsilon(sample_rate, noise, steps, delta)

    low = high = 1.0
    while cost(high) > target_epsilon:
        low, high = high, 2.0 * high
        if high > _MOST_NOISE:
            raise ValueError(
                f"no noise multiplier up to {_MOST_NOISE:g} reaches epsilon {target_epsilon} at delta {delta}"
            )
    while low == high or cost(low) <= target_epsilon:
        low, high = 0.5 * low, low
    while cost(high) < 0.995 * target_epsilon:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if cost(middle) > target_epsilon else (low, middle)
    return high


def _check(segments: Mapping[SampledGaussian, int], delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    if any(count < 0 for count in segments.values()):
        raise ValueError("a count of releases cannot be negative")


def _merged(segments: Mapping[SampledGaussian, int]) -> Segments:
    """Events that differ in steps only, as one; sorted, so that equal histories share a cache entry."""
    totals: dict[tuple[float, float], int] = {}
    for event, count in segments.items():
        if count:
            key = (event.sample_rate, event.noise_multiplier)
            totals[key] = totals.get(key, 0) + event.steps * count
    return tuple((SampledGaussian(q, noise, 1), steps) for (q, noise), steps in sorted(totals.items()))


@lru_cache(maxsize=4096)
def _epsilon(segments: Segments, delta: float) -> float:
    if not segments:
        return 0.0
    if any(event.noise_multiplier == 0 for event, _ in segments):
        return math.inf
    if all(event.sample_rate == 1 for event, _ in segments):
        return _gaussian_epsilon(math.sqrt(sum(n / e.noise_multiplier**2 for e, n in segments)), delta)
    best = _pld_epsilon(segments, delta, _INTERVALS[0])
    for interval in _INTERVALS[1:]:
        previous, best = best, min(best, _pld_epsilon(segments, delta, interval))
        if math.isfinite(best) and previous - best <= _SETTLED * best:
            break
    return best


def _pld_epsilon(segments: Segments, delta: float, interval: float) -> float:
    parts = []
    for event, steps in segments:
        part = pld.from_gaussian_mechanism(
            event.noise_multiplier, sampling_prob=event.sample_rate, value_discretization_interval=interval
        ).self_compose(steps)
        parts.append(part)
    composed = reduce(lambda one, other: one.compose(other), parts)
    return max(0.0, float(composed.get_epsilon_for_delta(delta)))


def _gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon of the Gaussian mechanism with sensitivity over noise = mu, exact."""

    def log_delta_gap(eps: float) -> float:
        first, second = log_ndtr(mu / 2 - eps / mu), eps + log_ndtr(-mu / 2 - eps / mu)
        gap = math.expm1(second - first)
        return (first + math.log(-gap) if gap < 0 else -math.inf) - math.log(delta)

    if log_delta_gap(0.0) <= 0:
        return 0.0
    high = 1.0
    while log_delta_gap(high) > 0:
        high *= 2.0
    root = float(brentq(log_delta_gap, 0.0, high, xtol=1e-12))
    return root + 1e-11  # the root finder's tolerance, on the safe side
