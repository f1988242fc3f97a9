"""The privacy profile, and the bound on any attack.

They are held to closed forms, to the best attack there is, and to the accountant.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.accounting.grids import rounding
from securefl.privacy.accounting.profile import Profile, privacy_profile
from securefl.privacy.events import SampledGaussian

DELTA = 1e-5
RATES = [0.0, 1e-5, 1e-3, 0.01, 0.1, 0.5, 0.9, 1.0]


@pytest.mark.parametrize(
    "events", [{SampledGaussian(1.0, 2.0, 3): 2}, {SampledGaussian(0.064, 1.1, 16): 20}], ids=str
)
@pytest.mark.parametrize("delta", [1e-7, 1e-5, 1e-3])
def test_the_profile_and_epsilon_agree(events: dict[SampledGaussian, int], delta: float) -> None:
    profile = privacy_profile(events, delta=delta)
    assert profile.delta(epsilon(events, delta=delta)) == pytest.approx(delta, rel=0.02)


def test_the_profile_of_gaussians_known_answer() -> None:
    # mu = sqrt(4) / 2 = 1; delta(0) = 2 Phi(1/2) - 1; delta(1) = Phi(-1/2) - e Phi(-3/2).
    profile = privacy_profile({SampledGaussian(1.0, 2.0, 2): 2})
    assert profile.delta(0.0) == pytest.approx(0.3829249, abs=1e-7)
    assert profile.delta(1.0) == pytest.approx(0.1269368, abs=1e-7)
    assert profile.delta(1e3) == 0.0


def test_a_profile_never_falls_below_what_floating_point_may_have_lost() -> None:
    profile = privacy_profile({SampledGaussian(0.1, 50.0, 20_000): 1})
    assert profile.delta(1e3) == pytest.approx(rounding(20_000), rel=1e-3)


def test_the_profile_falls() -> None:
    profile = privacy_profile({SampledGaussian(0.1, 1.0, 100): 1})
    deltas = [profile.delta(eps) for eps in (0.0, 0.1, 1.0, 3.0, 6.0, 10.0)]
    assert deltas == sorted(deltas, reverse=True)


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("rate", RATES)
def test_for_gaussians_the_bound_is_the_best_attack(mu: float, rate: float) -> None:
    bound = privacy_profile({SampledGaussian(1.0, 1 / mu, 1): 1}).most_true_positives(rate)
    # By Neyman and Pearson.
    best = float(norm.cdf(norm.ppf(rate) + mu))
    assert best - 1e-12 <= bound <= best + 2e-5


@pytest.mark.parametrize("rate", RATES[1:-1])
def test_for_a_sampled_release_no_attack_is_above_the_bound_and_the_better_direction_comes_near(
    rate: float,
) -> None:
    q, sigma = 0.3, 0.7
    bound = privacy_profile({SampledGaussian(q, sigma, 1): 1}).most_true_positives(rate)
    # Members draw from the mixture: values above the cut are flagged.
    cut = sigma * norm.isf(rate)
    forward = (1 - q) * rate + q * norm.sf((cut - 1) / sigma)
    # Members draw from the part without the record: values below the cut are flagged.
    cut = _quantile(rate, q, sigma)
    backward = norm.cdf(cut / sigma)
    # The bound holds in both directions at once.
    best = max(forward, backward)
    assert best - 1e-9 <= bound <= best + 0.01


def _quantile(rate: float, q: float, sigma: float) -> float:
    """Returns the point with the mass `rate` of the mixture to its left."""
    low, high = -20.0, 20.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        mass = (1 - q) * norm.cdf(middle / sigma) + q * norm.cdf((middle - 1) / sigma)
        if mass < rate:
            low = middle
        else:
            high = middle
    return low


def test_the_bound_rises_from_delta_like_odds_to_certainty() -> None:
    profile = privacy_profile({SampledGaussian(0.064, 1.1, 16): 20})
    bounds = [profile.most_true_positives(rate) for rate in RATES]
    assert bounds == sorted(bounds)
    assert bounds[-1] == 1.0
    assert all(value >= rate for value, rate in zip(bounds, RATES, strict=True))
    # The point (6.552, 1e-5) of the profile alone would allow more.
    assert bounds[2] < math.exp(6.552) * 1e-3 + 1e-5


@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_an_epsilon_or_a_rate_outside_its_range_is_refused(value: float) -> None:
    profile = privacy_profile({SampledGaussian(1.0, 1.0, 1): 1})
    with pytest.raises(ValueError, match="epsilon must be >= 0, got"):
        profile.delta(value)
    with pytest.raises(ValueError, match=r"rate of false positives must be in \[0, 1\], got"):
        profile.most_true_positives(value)


@pytest.mark.parametrize("events", [{}, {SampledGaussian(0.5, 0.0, 1): 1}], ids=str)
def test_events_without_a_profile_are_refused(events: dict[SampledGaussian, int]) -> None:
    with pytest.raises(ValueError, match="only releases with noise have a privacy profile"):
        privacy_profile(events)


@pytest.mark.parametrize(("falls_until", "end"), [(1.0, 1.0), (6.0, 8.0), (1500.0, 2048.0)])
def test_the_grid_of_a_profile_ends_where_delta_falls_no_more(
    falls_until: float, end: float
) -> None:
    def deltas(epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.5 - 0.4 * np.minimum(1.0, epsilons / falls_until)

    assert Profile(deltas)._end() == end
    assert Profile(lambda epsilons: np.where(epsilons < 3, 0.5, 1e-15) / epsilons)._end() == 4.0
