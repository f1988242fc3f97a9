"""The Gaussian mechanism in closed form.

Source: Balle and Wang, ICML 2018, theorem 8.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Largest error that the root finder may leave, on the safe side.
ROOT_TOLERANCE = 1e-11
# Largest loss, or epsilon, whose exponential is still a float64.
MAX_EXPONENT = 700.0


def gaussian_delta(epsilons: ArrayLike, *, mu: float) -> NDArray[np.float64]:
    """Returns the exact delta at epsilons (m,), for sensitivity over noise = mu."""
    return np.exp(_log_delta(epsilons, mu))


@lru_cache(maxsize=4096)
def exact_epsilon(mu: float, delta: float) -> float:
    """Returns the epsilon at delta, at most `ROOT_TOLERANCE` above the exact one.

    Args:
        mu: sensitivity over noise, > 0.
        delta: in (0, 1).
    """
    from scipy.optimize import brentq  # SciPy takes half a second to import

    def gap(eps: float) -> float:
        return float(_log_delta(eps, mu)) - math.log(delta)

    if gap(0.0) <= 0:
        return 0.0
    high = 1.0
    while gap(high) > 0:
        high *= 2.0
    root = float(brentq(gap, 0.0, high, xtol=0.1 * ROOT_TOLERANCE))
    # The root may lie on either side of the exact one: half the tolerance makes it an upper end.
    return root + 0.5 * ROOT_TOLERANCE


def largest_loss(sample_rate: float, noise_multiplier: float, *, deviations: float = 10.0) -> float:
    """Returns the privacy loss of one release where the noise is this many deviations out.

    Args:
        sample_rate: of the Poisson sample that is released, in (0, 1].
        noise_multiplier: > 0.
        deviations: of the noise.
    """
    unsampled = deviations / noise_multiplier + 0.5 / noise_multiplier**2
    # log(1 - q + q exp(loss)), written so that no exponential overflows.
    return unsampled + math.log(sample_rate + (1 - sample_rate) * math.exp(-unsampled))


def _log_delta(eps: ArrayLike, mu: float) -> NDArray[np.float64]:
    """Returns log delta; both terms fall below the smallest float long before their difference."""
    from scipy.special import log_ndtr  # as above

    eps = np.asarray(eps, dtype=np.float64)
    first = log_ndtr(mu / 2 - eps / mu)
    second = eps + log_ndtr(-mu / 2 - eps / mu)
    # Rounding can lift the second term above the first: delta is then 0, and its logarithm -inf.
    share = np.maximum(0.0, -np.expm1(second - first))
    with np.errstate(divide="ignore"):
        return np.asarray(first + np.log(share))
