"""CLIENT level: cohorts of a fixed size and by coins.

They are held to Rényi DP, to the theorem for one round, and to each other.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr

from securefl.privacy import fixed_cohort_epsilon, gaussian_epsilon, poisson_cohort_epsilon
from securefl.privacy.accounting.crosscheck import fixed_cohort_renyi

DELTA = 1e-5


def test_10_of_100_clients_for_200_rounds_known_answers() -> None:
    assert poisson_cohort_epsilon(10, 100, 1.0, 200, DELTA) == pytest.approx(9.9713, abs=5e-4)
    assert fixed_cohort_renyi(10, 100, 1.0, 200, DELTA) == pytest.approx(20.714, abs=1e-3)
    assert fixed_cohort_epsilon(10, 100, 1.0, 200, DELTA) == pytest.approx(11.401, abs=2e-3)


@pytest.mark.parametrize(
    ("cohort", "noise", "rounds"), [(1, 0.8, 50), (10, 2.0, 100), (50, 3.0, 20), (99, 5.0, 10)]
)
def test_a_fixed_cohort_costs_more_than_coins_and_less_than_by_renyi_dp(
    cohort: int, noise: float, rounds: int
) -> None:
    # Coins guard one direction less: adding and removing differ, replacing has no direction.
    fixed = fixed_cohort_epsilon(cohort, 100, noise, rounds, DELTA)
    assert poisson_cohort_epsilon(cohort, 100, noise, rounds, DELTA) <= 1.001 * fixed
    assert fixed <= fixed_cohort_renyi(cohort, 100, noise, rounds, DELTA)


@pytest.mark.parametrize("share", [1, 20, 90])
@pytest.mark.parametrize("delta", [1e-7, 1e-3])
def test_one_round_costs_as_much_as_the_theorem_says(share: int, delta: float) -> None:
    # Balle, Barthe and Gaboardi: (eps, d) without sampling is (log(1 + q (e^eps - 1)), q d) with.
    q = share / 100
    unsampled = gaussian_epsilon(1.5, 1, delta / q)
    expected = math.log1p(q * math.expm1(unsampled))
    assert fixed_cohort_epsilon(share, 100, 1.5, 1, delta) == pytest.approx(expected, rel=2e-3)


def by_hand(q: float, sigma: float, delta: float, *, width: float) -> float:
    """Returns epsilon of two rounds: the theorem's curve, its chords as masses, convolved."""
    grid = width * np.arange(-int(14 / width), int(14 / width) + 1)

    def height(alpha: float) -> float:
        """Returns delta at an epsilon of log(alpha) >= 0."""
        beyond = 1 + (alpha - 1) / q
        at = sigma * math.log(beyond) + 0.5 / sigma
        return float(q * (ndtr(1 / sigma - at) - beyond * ndtr(-at)))

    def delta_at(e: float) -> float:
        if e >= 0:
            return height(math.exp(e))
        # A replacement has no direction: the curve below 0 mirrors the curve above.
        return 1 - math.exp(e) * (1 - height(math.exp(-e)))

    curve = np.array([delta_at(e) for e in grid])
    slopes = np.concatenate([[-1.0], np.diff(curve) / np.diff(np.exp(grid)), [0.0]])
    masses = np.exp(grid) * np.diff(slopes)
    both = np.convolve(masses, masses)
    # Mass at an infinite loss, in either round.
    infinite = (1 - masses.sum()) * (1 + masses.sum())
    losses = np.linspace(2 * grid[0], 2 * grid[-1], len(both))

    def gap(e: float) -> float:
        finite = (np.maximum(0.0, -np.expm1(e - losses)) * both).sum()
        return float(infinite + finite - delta)

    return float(brentq(gap, 0.0, 14.0))


@pytest.mark.parametrize(
    ("cohort", "sigma", "delta"),
    [(10, 1.0, 1e-5), (50, 1.0, 1e-5), (1, 1.0, 1e-4), (30, 2.0, 1e-3)],
)
def test_two_rounds_cost_as_much_as_the_curve_of_one_gives_by_hand(
    cohort: int, sigma: float, delta: float
) -> None:
    expected = by_hand(cohort / 100, sigma, delta, width=2e-3)
    assert fixed_cohort_epsilon(cohort, 100, sigma, 2, delta) == pytest.approx(expected, rel=2e-3)


def test_a_cohort_of_all_is_not_a_sample() -> None:
    assert fixed_cohort_epsilon(7, 7, 2.0, 30, DELTA) == gaussian_epsilon(2.0, 30, DELTA)
    assert poisson_cohort_epsilon(7, 7, 2.0, 30, DELTA) == gaussian_epsilon(2.0, 30, DELTA)


@pytest.mark.parametrize(
    "accountant", [fixed_cohort_epsilon, poisson_cohort_epsilon], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    ("cohort", "clients", "noise", "rounds", "message"),
    [
        (0, 10, 1.0, 1, "a cohort has 1 to 10 of 10 clients, got 0"),
        (11, 10, 1.0, 1, "a cohort has 1 to 10 of 10 clients, got 11"),
        (5, 10, 0.0, 1, "noise_multiplier must be positive and finite, got 0"),
        (5, 10, math.nan, 1, "noise_multiplier must be positive and finite, got nan"),
        (5, 10, 1.0, 0, "rounds must be >= 1, got 0"),
    ],
)
def test_arguments_outside_their_ranges_are_refused(
    accountant: Callable[[int, int, float, int, float], float],
    cohort: int,
    clients: int,
    noise: float,
    rounds: int,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        accountant(cohort, clients, noise, rounds, DELTA)
