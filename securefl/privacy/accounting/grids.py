"""Epsilon of composed releases from both sides, on grids of the privacy loss that are refined until the ends meet."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld import privacy_loss_distribution as pld

from securefl.privacy.accounting.crosscheck import renyi_epsilon, rounded_down_epsilon
from securefl.privacy.accounting.gaussian import ROOT, exact_epsilon, largest_loss
from securefl.privacy.accounting.inverse import inverted
from securefl.privacy.accounting.optimistic import optimistic
from securefl.privacy.events import SampledGaussian

Segments = tuple[tuple[SampledGaussian, int], ...]  # events of one step each, and how often; sorted

TIGHT = 1.005  # the upper end over the lower one, from an epsilon of .01 on
SMALL = 0.01  # an epsilon below which only the floor counts
FLOOR = 5e-4  # of an epsilon below `SMALL`: what is not worth a finer grid; the upper end stays one
COARSE = 1e-2  # width of a cell of the loss
_TRIALS = 9
_MOST_CELLS = 2**23  # of a grid up to the largest loss of a step, or to the epsilon of all steps
_MOST_BUCKETS = 2**18  # of `rounded_down_epsilon`, which makes them one by one
_FINER = 16  # than the grid of the upper end: the first lower end beyond has to do
_DROWNED = 1e3  # times the rounding: a delta below may do better with Rényi DP
_SETTLED = 1e-3  # four times finer, the error is sixteen times smaller


class Upper(NamedTuple):
    """An epsilon that is never below the true one, and the grid that gave it."""

    epsilon: float
    interval: float


def upper_ends(segments: Segments, delta: float) -> Iterator[Upper]:
    """From coarse to fine; every event with noise."""
    best = Upper(math.inf, COARSE)
    if delta > rounding(_steps(segments)):
        for best in refined(
            lambda interval: upper_end(segments, delta, interval), _intervals(segments)
        ):
            yield best
    # Rényi DP is looser, but needs no grid and no Fourier transform.
    if math.isinf(best.epsilon) or delta < _DROWNED * rounding(_steps(segments)):
        yield Upper(min(best.epsilon, renyi_epsilon(dict(segments), delta=delta)), best.interval)


def refined(upper_at: Callable[[float], float], finer: Iterable[float]) -> Iterator[Upper]:
    """The best upper end so far at ever finer intervals, until a refinement gains less than a thousandth or the floor.

    The floor counts below an epsilon of `SMALL` only: a loss that rarely is large, and otherwise nearly nothing, would
    take grids of millions of cells to tell an epsilon of 1e-4 from one of 2e-4.
    """
    best = math.inf
    for interval in finer:
        upper = upper_at(interval)
        gained, best = best - upper > max(_SETTLED * upper, _floor(upper)), min(best, upper)
        yield Upper(best, interval)
        if not gained:
            break


def lower_bound(segments: Segments, delta: float, *, upper: Upper) -> float:
    """An epsilon that is never above the true one: the first that proves `upper` tight, or the best there is."""
    best = _one_step(segments, delta)
    if _proven(upper, best):
        return best
    for interval in _intervals(segments):
        if upper.epsilon > _MOST_CELLS * interval:
            return best
        found = lower_end(segments, delta, interval)
        gained, best = max(0.0, found - best), max(best, found)
        if _proven(upper, best) or (interval <= upper.interval and 0 < gained <= _SETTLED * best):
            return best
        if found > 0 and interval < upper.interval / _FINER:
            return best
    for finer in (1, 4, 16):  # slower, and off by half a cell a step, but it minds no tail
        interval = upper.interval / finer
        if _span(segments) > _MOST_BUCKETS * interval or upper.epsilon > _MOST_CELLS * interval:
            break
        allowed = min(1.0, delta + rounding(_steps(segments)))
        best = max(best, rounded_down_epsilon(dict(segments), delta=allowed, interval=interval))
        if _proven(upper, best):
            break
    return best


def _proven(upper: Upper, lower: float) -> bool:
    """Whether a lower end shows that the upper one is tight."""
    return upper.epsilon <= max(TIGHT * lower, lower + _floor(upper.epsilon))


def _floor(epsilon: float) -> float:
    """The difference that does not count at this epsilon."""
    return FLOOR if epsilon < SMALL else 0.0


def _one_step(segments: Segments, delta: float) -> float:
    """What the dearest single release costs, exact; all of them together cost no less.

    Source: Balle, Barthe and Gaboardi, NeurIPS 2018, theorem 8 (tight for the Gaussian mechanism).
    """
    found = [0.0]
    for event, _ in segments:
        if delta < (q := event.sample_rate):
            whole = exact_epsilon(1 / event.noise_multiplier, delta / q)
            found.append(
                float(np.logaddexp(math.log1p(-q), math.log(q) + whole)) if q < 1 else whole
            )
    return max(0.0, max(found) - ROOT)


def intervals(span: float) -> Iterator[float]:
    """Coarse to fine, as far as a loss of one step up to span fits the memory."""
    for trial in range(_TRIALS):
        interval = COARSE / 4**trial
        if span <= _MOST_CELLS * interval:
            yield interval


def _intervals(segments: Segments) -> Iterator[float]:
    return intervals(_span(segments))


def _span(segments: Segments) -> float:
    """The largest loss of one step."""
    return max(largest_loss(event.sample_rate, event.noise_multiplier) for event, _ in segments)


@lru_cache(maxsize=4096)
def upper_end(segments: Segments, delta: float, interval: float) -> float:
    """By Connect the Dots (Doroshenko et al., PETS 2022), for delta above `rounding`."""
    return inverted(pessimistic(segments, interval), delta - rounding(_steps(segments))).upper


@lru_cache(maxsize=4096)
def lower_end(segments: Segments, delta: float, interval: float) -> float:
    """By `optimistic`; 0 where the grid is too coarse for it."""
    parts: list[pld_pmf.PLDPmf] = []
    for event, steps in segments:
        if (one := optimistic(event.sample_rate, event.noise_multiplier, interval)) is None:
            return 0.0
        parts.append(one.self_compose(steps))
    whole = reduce(lambda one, other: one.compose(other), parts)
    return inverted(whole, min(1.0, delta + rounding(_steps(segments)))).lower


def rounding(steps: int) -> float:
    """What floating point may take off a composed delta.

    k-fold composition raises a Fourier transform to the power k, and with it the relative error of every frequency; by
    Parseval the tail of the result is off by a few k roundings. Without this allowance 20,000 steps at noise 50 and a
    delta of 1e-12 cost .05 less than they do.
    """
    return 16 * 2.0**-52 * (steps + 4)


def pessimistic(segments: Segments, interval: float) -> pld.PrivacyLossDistribution:
    """The sum of all losses on a grid, for a record added and for one removed; delta is never below the true one."""
    parts = [
        pld.from_gaussian_mechanism(
            event.noise_multiplier,
            sampling_prob=event.sample_rate,
            value_discretization_interval=interval,
        ).self_compose(steps)
        for event, steps in segments
    ]
    return reduce(lambda one, other: one.compose(other), parts)


def _steps(segments: Segments) -> int:
    return sum(count for _, count in segments)
