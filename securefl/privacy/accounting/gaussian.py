"""The Gaussian mechanism in closed form.

Source: Balle and Wang, ICML 2018, theorem 8.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr

ROOT = 1e-11  # what the root finder may leave, on the safe side


def gaussian_delta(epsilons: ArrayLike, *, mu: float) -> NDArray[np.float64]:
    """The exact delta at epsilons (m,), for sensitivity over noise = mu."""
    return np.exp(_log_delta(epsilons, mu))


@lru_cache(maxsize=4096)
def exact_epsilon(mu: float, delta: float) -> float:
    """The epsilon at delta for sensitivity over noise = mu, at most `ROOT` above the exact one."""

    def gap(eps: float) -> float:
        return float(_log_delta(eps, mu)) - math.log(delta)

    if gap(0.0) <= 0:
        return 0.0
    high = 1.0
    while gap(high) > 0:
        high *= 2.0
    return float(brentq(gap, 0.0, high, xtol=0.1 * ROOT)) + 0.5 * ROOT


def largest_loss(sample_rate: float, noise_multiplier: float, *, deviations: float = 10.0) -> float:
    """The privacy loss of one release over a Poisson sample, so many deviations of the noise out."""
    whole = deviations / noise_multiplier + 0.5 / noise_multiplier**2
    return whole + math.log(sample_rate + (1 - sample_rate) * math.exp(-whole))


def _log_delta(eps: ArrayLike, mu: float) -> NDArray[np.float64]:
    """In logarithms, since both terms fall below the smallest float long before their difference matters."""
    eps = np.asarray(eps, dtype=np.float64)
    first, second = log_ndtr(mu / 2 - eps / mu), eps + log_ndtr(-mu / 2 - eps / mu)
    with np.errstate(divide="ignore"):
        return np.asarray(first + np.log(np.maximum(0.0, -np.expm1(second - first))))
