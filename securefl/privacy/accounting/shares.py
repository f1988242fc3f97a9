"""Sums that carry shares of discrete Gaussian noise, as a calculator.

Only shares count that the adversary cannot subtract: those of honest clients whose updates are in
the sum. Whoever sizes shares for more clients than that claims too little epsilon.
"""

import math

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import DiscreteGaussianSum


def effective_sigma(sigma: float, *, sized_for: int, contributing: int) -> float:
    """Returns the deviation of the shares that count.

    Variances of shares add up, so it grows with the root of their number.

    Args:
        sigma: deviation that `sized_for` shares have together, > 0.
        sized_for: number of shares that the noise was sized for, >= 1.
        contributing: number of honest clients whose updates are in the sum, >= 1; with more than
            `sized_for`, the sum carries more noise than claimed.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma}")
    for name, number in (("sized_for", sized_for), ("contributing", contributing)):
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    return sigma * math.sqrt(contributing / sized_for)


def discrete_gaussian_sum(
    noise_multiplier: float,
    *,
    shares: int,
    granularity: float,
    dimension: int,
    sample_rate: float = 1.0,
) -> DiscreteGaussianSum:
    """Returns the event of one sum with equal shares of noise, in units of its sensitivity.

    Args:
        noise_multiplier: sigma of the shares that count over the sensitivity of the rounded sum.
        shares: number of shares that count, >= 1.
        granularity: distance of two points of the grid over the sensitivity, > 0.
        dimension: coordinates of the sum, >= 1.
        sample_rate: probability of each protected unit to be in the sum, in (0, 1].

    Raises:
        ValueError: an argument is outside its range.
    """
    for name, value in (("noise multiplier", noise_multiplier), ("granularity", granularity)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value:g}")
    if shares < 1:
        raise ValueError(f"shares must be >= 1, got {shares}")
    return DiscreteGaussianSum.of(
        noise_multiplier / granularity / math.sqrt(shares),
        shares,
        sensitivity=1.0,
        granularity=granularity,
        dimension=dimension,
        sample_rate=sample_rate,
    )


def discrete_gaussian_epsilon(
    noise_multiplier: float,
    steps: int,
    delta: float,
    *,
    shares: int,
    granularity: float,
    dimension: int,
    sample_rate: float = 1.0,
) -> float:
    """Returns an upper end of epsilon for `steps` sums with shares of discrete Gaussian noise.

    The arguments are those of `discrete_gaussian_sum`. A Gaussian of the same deviation costs less,
    but the difference is not proven to be safe.

    Source: Kairouz, Liu and Steinke, ICML 2021, proposition 14; Canonne, Kamath and Steinke,
    NeurIPS 2020, proposition 12.
    """
    event = discrete_gaussian_sum(
        noise_multiplier,
        shares=shares,
        granularity=granularity,
        dimension=dimension,
        sample_rate=sample_rate,
    )
    return epsilon({event: steps}, delta=delta)
