"""Epsilon of composed releases: sampled Gaussian sums from both sides, shares of noise from above.

The reported value is never below the true one. Where every record is in every step (sample rate 1)
it is the closed form of the Gaussian mechanism. Otherwise it comes from pessimistic privacy-loss
distributions of dp-accounting, on a grid that is refined until that gains nothing. `bounds` proves
the result by a lower end.

As soon as one release carried shares of discrete Gaussian noise, the value comes from Rényi
divergences of all releases (`renyi`). Neighbours are those of the events: a record added or removed
for Gaussian sums; for shares, the change that their sensitivity covers.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.accounting.ends import COARSE, History, Segments, Upper
from securefl.privacy.accounting.gaussian import (
    MAX_EXPONENT,
    ROOT_TOLERANCE,
    exact_epsilon,
    gaussian_delta,
)
from securefl.privacy.events import Counts, DiscreteGaussianSum, SampledGaussian

# Epsilons (m,) -> deltas (m,).
DeltaOf = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Bounds(NamedTuple):
    """The true epsilon lies between the two ends."""

    lower: float
    upper: float


def epsilon(segments: Counts, *, delta: float) -> float:
    """Returns the epsilon at `delta` of every event composed as often as it occurred.

    Args:
        segments: event -> how often it was released (counts of 0 are ignored).
        delta: in (0, 1).

    Returns:
        An upper end; `bounds` shows how tight it is. 0 for nothing released, inf where some noise
        is 0.

    Raises:
        ValueError: delta outside (0, 1), or a negative count.
    """
    _check(segments, delta)
    *_, best = _upper_ends(_history(segments), delta)
    return best.epsilon


def bounds(segments: Counts, *, delta: float) -> Bounds:
    """Returns both ends of the epsilon at `delta`.

    Guarantees:
        - From an epsilon of .01 on, the upper end is at most 1.005 times the lower, with two
          exceptions. For deltas below 4e-12 a step it may be 1.6 times. For releases whose loss
          rarely is thousands of times its usual one (few records sampled, little noise), many
          steps may leave more between the ends.

        - No lower end is known for shares of discrete Gaussian noise. Next to them, the lower end
          is that of the Gaussian sums alone; it is 0 where there are none.

    Raises:
        ValueError: delta outside (0, 1), or a negative count.
    """
    _check(segments, delta)
    history = _history(segments)
    *_, upper = _upper_ends(history, delta)
    of_gaussians = upper
    if history.sums:
        *_, of_gaussians = _upper_ends(history._replace(sums=()), delta)
    return Bounds(_lower_end(history.gaussians, delta, of_gaussians), upper.epsilon)


def fits(segments: Counts, *, delta: float, budget: float) -> bool:
    """Returns whether the epsilon of all segments is within the budget.

    The first grid whose upper end is within the budget decides; finer ones could only lower it.
    """
    _check(segments, delta)
    return any(upper.epsilon <= budget for upper in _upper_ends(_history(segments), delta))


def gaussian_epsilon(noise_multiplier: float, steps: int, delta: float) -> float:
    """Returns the exact epsilon of `steps` Gaussian releases without sampling.

    Source: Balle and Wang, ICML 2018, theorem 8.
    """
    return epsilon({SampledGaussian(1.0, noise_multiplier, steps): 1}, delta=delta)


def subsampled_gaussian_epsilon(
    sample_rate: float,
    noise_multiplier: float,
    steps: int,
    delta: float,
) -> float:
    """Returns an upper end of epsilon for `steps` Gaussian releases over Poisson samples.

    Source: Koskela, Jälkö and Honkela, AISTATS 2020 (PLDs); Doroshenko et al., PETS 2022 (connect
    the dots).
    """
    return epsilon({SampledGaussian(sample_rate, noise_multiplier, steps): 1}, delta=delta)


def delta_of(segments: Counts, *, delta: float) -> DeltaOf:
    """Returns the function from epsilons (m,) to upper ends of their deltas.

    It is as tight as `epsilon` is at `delta`.

    Raises:
        ValueError: delta outside (0, 1), a negative count, nothing released, or some noise is 0.
    """
    _check(segments, delta)
    history = _history(segments)
    merged = history.gaussians
    if not (merged or history.sums) or _has_no_noise(merged):
        raise ValueError("only releases with noise have a privacy profile")
    if history.sums:
        from securefl.privacy.accounting.renyi import deltas_of  # NumPy and SciPy

        return partial(deltas_of, history)
    if _has_no_sampling(merged):
        return partial(gaussian_delta, mu=_mu(merged))
    from securefl.privacy.accounting.grids import pessimistic, rounding  # dp-accounting, as above

    *_, best = _upper_ends(history, delta)
    loss = pessimistic(merged, best.interval)
    allowance = rounding(sum(count for _, count in merged))

    def deltas(epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        # Beyond the largest exponent delta does not rise, so its value there is an upper end.
        finite = np.minimum(epsilons, MAX_EXPONENT)
        return np.asarray(loss.get_delta_for_epsilon(finite), dtype=np.float64) + allowance

    return deltas


def _lower_end(segments: Segments, delta: float, upper: Upper) -> float:
    """Returns an epsilon of Gaussian sums that is never above the true one."""
    if upper.epsilon == 0 or _has_no_noise(segments) or _has_no_sampling(segments):
        return max(0.0, upper.epsilon - ROOT_TOLERANCE)
    from securefl.privacy.accounting.grids import lower_bound  # dp-accounting: a second of CPU

    return lower_bound(segments, delta, upper=upper)


def _check(segments: Counts, delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    if any(count < 0 for count in segments.values()):
        raise ValueError("a count of releases cannot be negative")


def _history(segments: Counts) -> History:
    """Returns the events of each kind that were released.

    Both parts are sorted, so that equal histories share a cache entry.
    """
    gaussians: dict[SampledGaussian, int] = {}
    sums: dict[DiscreteGaussianSum, int] = {}
    for event, count in segments.items():
        if not count:
            continue
        # Events that differ in steps only are one event of one step, counted.
        steps = event.steps * count
        if isinstance(event, SampledGaussian):
            gaussian = replace(event, steps=1)
            gaussians[gaussian] = gaussians.get(gaussian, 0) + steps
        else:
            one_sum = replace(event, steps=1)
            sums[one_sum] = sums.get(one_sum, 0) + steps
    return History(tuple(sorted(gaussians.items())), tuple(sorted(sums.items())))


def _has_no_noise(segments: Segments) -> bool:
    return any(event.noise_multiplier == 0 for event, _ in segments)


def _has_no_sampling(segments: Segments) -> bool:
    return all(event.sample_rate == 1 for event, _ in segments)


def _mu(segments: Segments) -> float:
    """Returns sensitivity over noise of one Gaussian release that costs as much as all segments."""
    return math.sqrt(sum(count / event.noise_multiplier**2 for event, count in segments))


def _upper_ends(history: History, delta: float) -> Iterator[Upper]:
    """Yields ever tighter upper ends; a single one where no grid is needed."""
    segments, sums = history
    if not segments and not sums:
        yield Upper(0.0, COARSE)
    elif _has_no_noise(segments):
        yield Upper(math.inf, COARSE)
    elif sums:
        from securefl.privacy.accounting.renyi import epsilon_of  # NumPy and SciPy

        yield Upper(epsilon_of(history, delta), COARSE)
    elif _has_no_sampling(segments):
        yield Upper(exact_epsilon(_mu(segments), delta), COARSE)
    else:
        from securefl.privacy.accounting.grids import upper_ends  # dp-accounting, as above

        yield from upper_ends(segments, delta)
