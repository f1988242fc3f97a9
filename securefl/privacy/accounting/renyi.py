"""Epsilon by Rényi divergences: for sums under discrete Gaussian noise, and for mixed histories.

No privacy-loss distribution is known for a sum of discrete Gaussians, and a Gaussian of the same
deviation has less loss: its epsilon would be too low. Rényi divergences are bounded, and add up
over releases of any kind.

Orders are written as alpha = 1 + lambda. K(lambda) = lambda x D_alpha is convex, 0 at 0, and adds
up over releases. For one release, both ways round, where a unit is added, removed or replaced:

- Noise of shares: D_alpha <= min(alpha / 2 x^2 + tau d, alpha / 2 (x + tau sqrt(d))^2), where
  x = sensitivity / sigma (Kairouz, Liu and Steinke, ICML 2021, proposition 14). Each is a line in
  alpha. Which one is lower is decided once for all releases: a sum of either kind is a bound.
- Gaussian noise: D_alpha = alpha / 2 x^2 (Bun and Steinke, TCC 2016).
- Poisson samples, a unit added or removed, integer alpha: exp(K) <= sum over l of
  binomial(alpha, l) (1 - q)^(alpha - l) q^l exp((l - 1) D_l), where D_0 and D_1 count as 0 (Zhu and
  Wang, ICML 2019, section 3, for the mixture against its part; the part against the mixture has no
  larger divergence where the noise is symmetric, Mironov, Talwar and Zhang 2019, theorem 5).
  Between integers the chord of the convex K is above it.

The conversion to epsilon and delta is that of Canonne, Kamath and Steinke, NeurIPS 2020,
proposition 12.

Amounts may be chosen after earlier releases were seen: a run that continues another, or a client
that books less. A budget over sums of Rényi divergences holds for such amounts, too (Feldman and
Zrnic, NeurIPS 2021; for zCDP, Whitehouse et al., ICML 2023). Privacy-loss distributions, which
histories of sampled Gaussians alone are composed by, are proven for amounts fixed in advance.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.accounting.ends import History
from securefl.privacy.events import DiscreteGaussianSum, SampledGaussian

Array = NDArray[np.float64]

# The search for lambda: from far below the best one of an epsilon of 1e8 to far above that of 1e-8.
LEAST_ORDER = 1e-9
LARGEST_ORDER = 1e12
# Each pass looks at so many orders between two of the pass before.
ORDERS_AT_ONCE = 33
# The last pass is within a relative 1e-8 of the best order, where the bound is flat.
PASSES = 8
# Share of an epsilon, or of 1, that floating point may take off it.
ROUNDING = 1e-12
# Orders of sampled releases: each up to the first, then a geometric sequence up to the second.
LAST_OF_EACH = 128
LAST_OF_ALL = 2**13
ORDERS_IN_SEQUENCE = 60


class Line(NamedTuple):
    """A bound on one release without sampling: D_alpha <= slope x alpha + offset."""

    slope: float
    offset: float


class Part(NamedTuple):
    """Equal releases: the bound on one without sampling, how they are sampled, and their number."""

    line: Line
    sample_rate: float
    releases: int


@lru_cache(maxsize=4096)
def epsilon_of(history: History, delta: float) -> float:
    """Returns an upper end of epsilon at `delta`; every event has noise.

    Args:
        history: not empty.
        delta: in (0, 1).
    """

    def cost(parts: tuple[Part, ...], orders: Array) -> Array:
        spent = _divergence(parts, orders) - math.log(delta) - np.log1p(orders)
        return spent / orders - np.log1p(1 / orders)

    best = min(float(_least(cost, parts, rows=1)[0]) for parts in _bounds(history))
    return max(0.0, best + ROUNDING * (1 + abs(best)))


def deltas_of(history: History, epsilons: Array) -> Array:
    """Returns upper ends of delta at epsilons (m,); every event has noise."""
    columns = np.asarray(epsilons, dtype=np.float64)[:, None]

    def cost(parts: tuple[Part, ...], orders: Array) -> Array:
        # In logarithms: lambda^lambda / (1 + lambda)^(1 + lambda) times the moment of the loss.
        spent = _divergence(parts, orders) - orders * columns
        return spent - orders * np.log1p(1 / orders) - np.log1p(orders)

    best = np.min(
        [_least(cost, parts, rows=len(columns)) for parts in _bounds(history)],
        axis=0,
    )
    return np.asarray(np.exp(np.minimum(0.0, best + ROUNDING)))


def lines(event: SampledGaussian | DiscreteGaussianSum) -> tuple[Line, ...]:
    """Returns the bounds on one step of an event without its sampling, each valid by itself."""
    ratio = 1 / event.noise_multiplier
    exact = Line(ratio * ratio / 2, 0.0)
    if isinstance(event, SampledGaussian) or event.tau == 0:
        return (exact,)
    gap = event.tau * math.sqrt(event.dimension)
    return exact._replace(offset=event.tau * event.dimension), Line((ratio + gap) ** 2 / 2, 0.0)


def _bounds(history: History) -> list[tuple[Part, ...]]:
    """Returns the bounds on a history: one from the first line of each event, one from the last."""
    events: list[tuple[SampledGaussian | DiscreteGaussianSum, int]]
    events = [*history.gaussians, *history.sums]
    bounds = []
    for choice in (0, -1):
        parts = tuple(
            Part(lines(event)[choice], event.sample_rate, count) for event, count in events
        )
        if parts not in bounds:
            bounds.append(parts)
    return bounds


def _least(
    cost: Callable[[tuple[Part, ...], Array], Array], parts: tuple[Part, ...], *, rows: int
) -> Array:
    """Returns the least cost over all orders, of each row (m,); any order gives a bound."""
    low = np.full(rows, math.log(LEAST_ORDER))
    high = np.full(rows, math.log(LARGEST_ORDER))
    shares = np.linspace(0.0, 1.0, ORDERS_AT_ONCE)
    best = np.full(rows, math.inf)
    row = np.arange(rows)
    # Where the square of sensitivity over noise is no float, no order bounds anything.
    if not all(math.isfinite(part.line.slope) for part in parts):
        return best
    for _ in range(PASSES):
        points = low[:, None] + (high - low)[:, None] * shares  # (m, orders)
        costs = cost(parts, np.exp(points))
        at = costs.argmin(axis=1)
        best = np.minimum(best, costs[row, at])
        # The cost falls to its least value and rises from there on.
        low = points[row, np.maximum(0, at - 1)]
        high = points[row, np.minimum(ORDERS_AT_ONCE - 1, at + 1)]
    return best


def _divergence(parts: tuple[Part, ...], orders: Array) -> Array:
    """Returns K of all releases at each lambda, an array of any shape."""
    total = np.zeros_like(orders)
    for line, sample_rate, releases in parts:
        divergence = orders * ((1 + orders) * line.slope + line.offset)
        if sample_rate < 1:
            chords = _sampled(line, sample_rate)
            # Beyond the last order, what holds without sampling holds with it, too.
            sampled = np.interp(orders, _ORDERS, chords, right=math.inf)
            divergence = np.minimum(divergence, sampled)
        total += releases * divergence
    return total


def _orders() -> Array:
    sequence = np.geomspace(LAST_OF_EACH, LAST_OF_ALL, ORDERS_IN_SEQUENCE)
    each = np.arange(LAST_OF_EACH)
    return np.concatenate([each, np.rint(sequence)]).astype(np.float64)


# Lambda of the orders at which sampled releases are bounded; all are whole numbers.
_ORDERS = _orders()


@lru_cache(maxsize=256)
def _sampled(line: Line, sample_rate: float) -> Array:
    """Returns K of one sampled release at each of `_ORDERS`.

    The binomial weights add up to 1. So the sum is 1 plus the weights times exp(loss) - 1, whose
    logarithm keeps its digits where it is all but 0.
    """
    from scipy.special import gammaln, logsumexp  # SciPy takes half a second to import

    terms = np.arange(2, LAST_OF_ALL + 2)
    losses = (terms - 1) * (terms * line.slope + line.offset)
    with np.errstate(divide="ignore"):
        # A loss below the smallest float is 0, and its logarithm -inf.
        excesses = losses + np.log(-np.expm1(-losses))
    # The factors of a binomial weight that need no alpha, and those of alpha minus the term.
    taken = excesses + terms * math.log(sample_rate) - gammaln(terms + 1)
    rest = np.arange(LAST_OF_ALL)
    left = rest * math.log1p(-sample_rate) - gammaln(rest + 1)
    curve = [0.0]
    for order in _ORDERS[1:].astype(int):
        # alpha = order + 1, so that the terms are 2 ... alpha.
        logarithms = taken[:order] + left[:order][::-1]
        total = gammaln(order + 2) + logsumexp(logarithms)
        curve.append(float(np.logaddexp(0.0, total)))
    return np.array(curve)
