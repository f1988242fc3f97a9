"""Epsilon of composed releases from both sides, on grids of the privacy loss.

The grids are refined until the two ends meet.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, reduce

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld import privacy_loss_distribution as pld

from securefl.privacy.accounting.crosscheck import renyi_epsilon, rounded_down_epsilon
from securefl.privacy.accounting.dots import pessimistic_loss
from securefl.privacy.accounting.ends import COARSE, Segments, Upper
from securefl.privacy.accounting.gaussian import ROOT_TOLERANCE, exact_epsilon, largest_loss
from securefl.privacy.accounting.inverse import inverted
from securefl.privacy.accounting.optimistic import optimistic

# An upper end is tight if it is at most this multiple of the lower end, from SMALL_EPSILON on.
TIGHT_RATIO = 1.005
# Below this epsilon, ends that differ by less than FLOOR count as equal: a finer grid is not worth
# its cost, and the upper end stays an upper end.
SMALL_EPSILON = 0.01
FLOOR = 5e-4
MAX_GRIDS = 9
# Of a grid up to the largest loss of a step, or up to the epsilon of all steps.
MAX_CELLS = 2**23
# Of `rounded_down_epsilon`, which makes its buckets one by one.
MAX_BUCKETS = 2**18
# Once the lower end's grid is this much finer than the upper end's, its first answer has to do.
MAX_REFINEMENT = 16
# For a delta below this many roundings, Rényi DP may do better than the grid.
ROUNDINGS_FOR_RENYI = 1e3
# Four times finer, the error is sixteen times smaller: a gain below this share ends the search.
MIN_RELATIVE_GAIN = 1e-3


def upper_ends(segments: Segments, delta: float) -> Iterator[Upper]:
    """Yields ever tighter upper ends, from coarse to fine grids; every event has noise."""
    allowance = rounding(_steps(segments))
    best = Upper(math.inf, COARSE)
    # A delta within the rounding of the grid cannot be reached by any grid.
    if delta > allowance:
        ends = refined(lambda interval: upper_end(segments, delta, interval), _intervals(segments))
        for best in ends:
            yield best
    # Rényi DP is looser, but needs no grid and no Fourier transform.
    if math.isinf(best.epsilon) or delta < ROUNDINGS_FOR_RENYI * allowance:
        by_renyi = renyi_epsilon(dict(segments), delta=delta)
        yield Upper(min(best.epsilon, by_renyi), best.interval)


def refined(upper_at: Callable[[float], float], finer: Iterable[float]) -> Iterator[Upper]:
    """Yields the best upper end so far at ever finer intervals, until a refinement gains little.

    Little is a thousandth, or the floor. The floor counts below `SMALL_EPSILON` only: a loss that
    rarely is large, and otherwise nearly nothing, would take grids of millions of cells to tell an
    epsilon of 1e-4 from one of 2e-4.
    """
    best = math.inf
    for interval in finer:
        upper = upper_at(interval)
        gain = best - upper
        best = min(best, upper)
        yield Upper(best, interval)
        # Not written as `gain <=`: where both are infinite, the gain is NaN, and the search ends.
        if not gain > max(MIN_RELATIVE_GAIN * upper, _floor(upper)):
            break


def lower_bound(segments: Segments, delta: float, *, upper: Upper) -> float:
    """Returns an epsilon that is never above the true one.

    Returns:
        The first lower end that proves `upper` tight, or the best one if none does.
    """
    # From the cheapest method to the most expensive: one step alone, optimistic grids, buckets.
    best = _one_step(segments, delta)
    if _is_proven(upper, best):
        return best
    for interval in _intervals(segments):
        if upper.epsilon > MAX_CELLS * interval:
            return best
        lower = lower_end(segments, delta, interval)
        gain = max(0.0, lower - best)
        best = max(best, lower)
        is_settled = interval <= upper.interval and 0 < gain <= MIN_RELATIVE_GAIN * best
        if _is_proven(upper, best) or is_settled:
            return best
        if lower > 0 and interval < upper.interval / MAX_REFINEMENT:
            return best
    return _by_buckets(segments, delta, upper, best)


def _by_buckets(segments: Segments, delta: float, upper: Upper, best: float) -> float:
    """Returns the best lower end of `best` and of dp-accounting's buckets.

    The buckets are slower, and off by half a cell a step, but no tail of the loss spoils them.
    """
    relaxed_delta = min(1.0, delta + rounding(_steps(segments)))
    for refinement in (1, 4, 16):
        interval = upper.interval / refinement
        if _span(segments) > MAX_BUCKETS * interval or upper.epsilon > MAX_CELLS * interval:
            break
        lower = rounded_down_epsilon(dict(segments), delta=relaxed_delta, interval=interval)
        best = max(best, lower)
        if _is_proven(upper, best):
            break
    return best


def _is_proven(upper: Upper, lower: float) -> bool:
    """Returns whether a lower end shows that the upper one is tight."""
    return upper.epsilon <= max(TIGHT_RATIO * lower, lower + _floor(upper.epsilon))


def _floor(epsilon: float) -> float:
    """Returns the difference that does not count at this epsilon."""
    return FLOOR if epsilon < SMALL_EPSILON else 0.0


def _one_step(segments: Segments, delta: float) -> float:
    """Returns the exact cost of the most expensive single release; all of them cost no less.

    Source: Balle, Barthe and Gaboardi, NeurIPS 2018, theorem 8 (tight for the Gaussian mechanism).
    """
    costs = [0.0]
    for event, _ in segments:
        sample_rate = event.sample_rate
        # A release that a record joins more rarely than delta costs nothing at this delta.
        if delta >= sample_rate:
            continue
        cost = exact_epsilon(1 / event.noise_multiplier, delta / sample_rate)
        if sample_rate < 1:
            # log(1 - q + q exp(cost)), which does not overflow.
            cost = float(np.logaddexp(math.log1p(-sample_rate), math.log(sample_rate) + cost))
        costs.append(cost)
    return max(0.0, max(costs) - ROOT_TOLERANCE)


def intervals(span: float) -> Iterator[float]:
    """Yields the widths of grids, coarse to fine, while a loss up to `span` fits the memory."""
    for trial in range(MAX_GRIDS):
        interval = COARSE / 4**trial
        if span <= MAX_CELLS * interval:
            yield interval


def _intervals(segments: Segments) -> Iterator[float]:
    return intervals(_span(segments))


def _span(segments: Segments) -> float:
    """Returns the largest loss of one step."""
    return max(largest_loss(event.sample_rate, event.noise_multiplier) for event, _ in segments)


@lru_cache(maxsize=4096)
def upper_end(segments: Segments, delta: float, interval: float) -> float:
    """Returns an upper end by Connect the Dots, for a delta above `rounding`.

    Source: Doroshenko et al., PETS 2022.
    """
    strict_delta = delta - rounding(_steps(segments))
    return inverted(pessimistic(segments, interval), strict_delta).upper


@lru_cache(maxsize=4096)
def lower_end(segments: Segments, delta: float, interval: float) -> float:
    """Returns a lower end by `optimistic`; 0 where the grid is too coarse for it."""
    parts: list[pld_pmf.PLDPmf] = []
    for event, steps in segments:
        one_step = optimistic(event.sample_rate, event.noise_multiplier, interval)
        if one_step is None:
            return 0.0
        parts.append(one_step.self_compose(steps))
    total = reduce(lambda first, second: first.compose(second), parts)
    relaxed_delta = min(1.0, delta + rounding(_steps(segments)))
    return inverted(total, relaxed_delta).lower


def rounding(steps: int) -> float:
    """Returns how much floating point may take off a composed delta.

    A composition of k steps raises a Fourier transform to the power k, and with it the relative
    error of every frequency. By Parseval, the tail of the result is off by a few k roundings.
    Without this allowance, 20,000 steps at noise 50 and a delta of 1e-12 cost .05 less than they
    do.
    """
    return 16 * 2.0**-52 * (steps + 4)


def pessimistic(segments: Segments, interval: float) -> pld.PrivacyLossDistribution:
    """Returns the sum of all losses on a grid, for a record added and for one removed.

    Its delta is never below the true one.
    """
    parts = [
        pessimistic_loss(event.sample_rate, event.noise_multiplier, interval).self_compose(steps)
        for event, steps in segments
    ]
    return reduce(lambda first, second: first.compose(second), parts)


def _steps(segments: Segments) -> int:
    return sum(count for _, count in segments)
