"""An estimate of epsilon from the cosines between a release and the canaries in it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attacks.measures.epsilon import largest_refuted

_TAIL_DEVIATIONS = 12.0  # of numerical integration
_GRID_POINTS = 200_001

Numbers = NDArray[np.float64]


class Estimate(NamedTuple):
    """Mean and deviation of canaries' cosines times sqrt(d), and the epsilon they look like."""

    mean: float
    deviation: float
    epsilon: float


def one_shot(cosines: Tensor, *, d: int, delta: float) -> Estimate:
    """Returns the epsilon that the cosines of canary updates look like; it bounds nothing.

    Canary clients send random unit vectors. If the release says nothing about a canary, the cosine
    of both is N(0, 1/d). Cosines of canaries that took part are taken for Gaussian, too, and the
    two Gaussians are compared.

    Args:
        cosines: (k,), k >= 2, of canaries that took part.
        d: coordinates of an update, >= 1.
        delta: of the epsilon, in (0, 1).

    Raises:
        ValueError: fewer than two cosines, all the same, or a value is out of range.

    Source: Andrew et al., One-shot empirical privacy estimation for federated learning, ICLR
        2024, algorithm 1; the epsilon of two Gaussians by numerical integration, the larger of
        both directions.
    """
    # Importing scipy.stats takes a second, which other attacks need not wait.
    from scipy.integrate import trapezoid
    from scipy.stats import norm

    if len(cosines) < 2 or d < 1 or not 0 < delta < 1:
        raise ValueError(
            "one_shot needs two cosines, d >= 1 and delta in (0, 1), "
            f"got {len(cosines)}, d={d} and delta={delta}"
        )
    scaled = cosines.double() * math.sqrt(d)
    mean = float(scaled.mean())
    deviation = float(scaled.std())
    if not deviation > 0:
        raise ValueError("one_shot needs cosines that differ")
    reach = _TAIL_DEVIATIONS * max(1.0, deviation)
    lowest = min(0.0, mean) - reach
    highest = max(0.0, mean) + reach
    grid = np.linspace(lowest, highest, _GRID_POINTS)
    with_canary: Numbers = norm.logpdf(grid, mean, deviation)
    without_canary: Numbers = norm.logpdf(grid)

    def hockey_stick(p: Numbers, q: Numbers, epsilon: float) -> float:
        # max(0, e^p - e^(epsilon + q)), without the overflow of e^epsilon.
        log_ratio = np.minimum(0.0, epsilon + q - p)
        return float(trapezoid(np.exp(p) * -np.expm1(log_ratio), grid))

    def excess(epsilon: float) -> float:
        forward = hockey_stick(with_canary, without_canary, epsilon)
        backward = hockey_stick(without_canary, with_canary, epsilon)
        return delta - max(forward, backward)

    return Estimate(mean, deviation, largest_refuted(excess, tolerance=1e-6))
