"""Shares of noise: the deviation of those that count, and the cost of sums that carry them."""

import math

import pytest

from securefl.privacy import discrete_gaussian_epsilon, effective_sigma
from securefl.privacy.accounting.shares import discrete_gaussian_sum
from securefl.privacy.events import DiscreteGaussianSum, sum_gap


@pytest.mark.parametrize(
    ("contributing", "expected"), [(10, 4.0), (7, 3.347), (6, 3.098), (3, 2.191), (40, 8.0)]
)
def test_the_deviation_of_the_shares_that_count_known_answer(
    contributing: int, expected: float
) -> None:
    sigma = effective_sigma(4.0, sized_for=10, contributing=contributing)
    assert sigma == pytest.approx(expected, abs=5e-4)


def test_five_hospitals_of_which_three_count_carry_1_29_times_the_noise_if_all_are_there() -> None:
    # t = 4 and c = 1 of five, t = 6 and c = 1 of ten.
    assert effective_sigma(1.0, sized_for=3, contributing=5) == pytest.approx(1.29, abs=1e-3)
    assert effective_sigma(1.0, sized_for=5, contributing=10) == pytest.approx(1.414, abs=1e-3)


@pytest.mark.parametrize(("shares", "expected"), [(10, 7.1828), (6, 9.9934)])
def test_epsilon_known_answer(shares: int, expected: float) -> None:
    sigma = effective_sigma(4.0, sized_for=10, contributing=shares)
    spent = discrete_gaussian_epsilon(
        sigma, 50, 1e-3, shares=shares, granularity=1e-3, dimension=1000
    )
    assert spent == pytest.approx(expected, abs=5.1e-5)


def test_an_event_is_in_units_of_its_sensitivity() -> None:
    event = discrete_gaussian_sum(2.0, shares=4, granularity=0.5, dimension=9, sample_rate=0.25)
    # Sigma of 2 is 4 steps of the grid, and 2 of each share.
    assert event == DiscreteGaussianSum(0.25, 2.0, 1.0, 0.5, 4, 9, sum_gap(2.0, 4))
    assert (event.share, event.noise_multiplier) == (2.0, 2.0)


def test_a_coarse_grid_costs_more() -> None:
    fine, coarse = (
        discrete_gaussian_epsilon(1.0, 10, 1e-5, shares=10, granularity=grid, dimension=100)
        for grid in (0.01, 0.6)
    )
    assert coarse > 1.5 * fine


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_a_deviation_that_is_not_positive_and_finite_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be positive and finite, got"):
        effective_sigma(sigma, sized_for=1, contributing=1)


def test_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="sized_for must be >= 1, got 0"):
        effective_sigma(1.0, sized_for=0, contributing=1)
    with pytest.raises(ValueError, match="contributing must be >= 1, got 0"):
        effective_sigma(1.0, sized_for=1, contributing=0)
    with pytest.raises(ValueError, match="shares must be >= 1, got 0"):
        discrete_gaussian_sum(1.0, shares=0, granularity=0.1, dimension=1)


@pytest.mark.parametrize(
    ("noise", "grid", "sentence"),
    [
        (0.0, 1.0, "noise multiplier must be positive, got 0"),
        (1.0, 0.0, "granularity must be positive, got 0"),
        (math.nan, 1.0, "noise multiplier must be positive, got nan"),
    ],
)
def test_noise_and_a_grid_that_are_not_positive_are_refused(
    noise: float, grid: float, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        discrete_gaussian_sum(noise, shares=2, granularity=grid, dimension=1)
