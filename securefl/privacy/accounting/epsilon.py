"""Epsilon of composed subsampled Gaussian releases, from both sides; what is reported is never below the true value.

Add/remove neighbours. Where every record is in every step (sample rate 1) the closed form of the Gaussian
mechanism is used; otherwise pessimistic privacy-loss distributions of dp-accounting, on a grid that is refined until
that gains nothing. `bounds` proves the result by a lower end.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.accounting.gaussian import ROOT, exact_epsilon, gaussian_delta
from securefl.privacy.accounting.grids import (
    COARSE,
    Segments,
    Upper,
    lower_bound,
    pessimistic,
    rounding,
    upper_ends,
)
from securefl.privacy.events import SampledGaussian

DeltaOf = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # epsilons (m,) -> deltas (m,)


class Bounds(NamedTuple):
    """The true epsilon lies between the two."""

    lower: float
    upper: float


def epsilon(segments: Mapping[SampledGaussian, int], *, delta: float) -> float:
    """The epsilon at `delta` of every event composed as often as it occurred.

    Args:
        segments: event -> how often it was released (counts of 0 are ignored).
        delta: in (0, 1).

    Returns:
        An upper end: `bounds` tells how tight. 0 for nothing released, inf where some noise is 0.

    Raises:
        ValueError: delta outside (0, 1), or a negative count.
    """
    _check(segments, delta)
    *_, best = _upper_ends(_merged(segments), delta)
    return best.epsilon


def bounds(segments: Mapping[SampledGaussian, int], *, delta: float) -> Bounds:
    """Both ends of the epsilon at `delta`.

    Guarantees:
        - From an epsilon of .01 on the upper end is at most 1.005 times the lower, but for deltas below 4e-12 a step,
          where it may be 1.6 times, and but for releases whose loss is rarely of its largest size and then thousands
          of times its usual one (few records sampled, little noise), where many steps may leave more between the ends.

    Raises:
        ValueError: delta outside (0, 1), or a negative count.
    """
    _check(segments, delta)
    merged = _merged(segments)
    *_, upper = _upper_ends(merged, delta)
    if upper.epsilon == 0 or _noiseless(merged) or _unsampled(merged):
        return Bounds(max(0.0, upper.epsilon - ROOT), upper.epsilon)
    return Bounds(lower_bound(merged, delta, upper=upper), upper.epsilon)


def fits(segments: Mapping[SampledGaussian, int], *, delta: float, budget: float) -> bool:
    """Whether `epsilon` of segments is within budget; a coarse grid that says yes is believed at once."""
    _check(segments, delta)
    return any(upper.epsilon <= budget for upper in _upper_ends(_merged(segments), delta))


def gaussian_epsilon(noise_multiplier: float, steps: int, delta: float) -> float:
    """The exact epsilon of `steps` Gaussian releases without sampling.

    Source: Balle and Wang, ICML 2018, theorem 8.
    """
    return epsilon({SampledGaussian(1.0, noise_multiplier, steps): 1}, delta=delta)


def subsampled_gaussian_epsilon(
    sample_rate: float, noise_multiplier: float, steps: int, delta: float
) -> float:
    """An upper end of epsilon for `steps` Gaussian releases over Poisson samples.

    Source: Koskela, Jälkö and Honkela, AISTATS 2020 (PLDs); Doroshenko et al., PETS 2022 (connect the dots).
    """
    return epsilon({SampledGaussian(sample_rate, noise_multiplier, steps): 1}, delta=delta)


def delta_of(segments: Mapping[SampledGaussian, int], *, delta: float) -> DeltaOf:
    """The function that gives the upper end of delta at epsilons (m,), as tight as `epsilon` is at `delta`.

    Raises:
        ValueError: delta outside (0, 1), a negative count, nothing released, or some noise is 0.
    """
    _check(segments, delta)
    merged = _merged(segments)
    if not merged or _noiseless(merged):
        raise ValueError("only releases with noise have a privacy profile")
    if _unsampled(merged):
        return partial(gaussian_delta, mu=_mu(merged))
    *_, best = _upper_ends(merged, delta)
    whole, lost = pessimistic(merged, best.interval), rounding(sum(count for _, count in merged))

    def deltas(epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        at = np.minimum(
            epsilons, 700.0
        )  # whose exponential is still a float; delta does not rise beyond
        return np.asarray(whole.get_delta_for_epsilon(at), dtype=np.float64) + lost

    return deltas


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
    return tuple(
        (SampledGaussian(q, noise, 1), steps) for (q, noise), steps in sorted(totals.items())
    )


def _noiseless(segments: Segments) -> bool:
    return any(event.noise_multiplier == 0 for event, _ in segments)


def _unsampled(segments: Segments) -> bool:
    return all(event.sample_rate == 1 for event, _ in segments)


def _mu(segments: Segments) -> float:
    """Sensitivity over noise of one Gaussian release that costs what all of segments cost."""
    return math.sqrt(sum(n / e.noise_multiplier**2 for e, n in segments))


def _upper_ends(segments: Segments, delta: float) -> Iterator[Upper]:
    """Ever tighter; at once exact where a closed form is known."""
    if not segments:
        yield Upper(0.0, COARSE)
    elif _noiseless(segments):
        yield Upper(math.inf, COARSE)
    elif _unsampled(segments):
        yield Upper(exact_epsilon(_mu(segments), delta), COARSE)
    else:
        yield from upper_ends(segments, delta)
