"""Bounds on epsilon: published answers, and bounds that hold where the true epsilon is known."""

import math

import pytest
import torch
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from attacks import (
    Errors,
    clopper_pearson_epsilon,
    correct_guesses,
    errors_at,
    gaussian_mu,
    one_run,
    one_run_f,
    one_run_mu,
    one_shot,
    rates_at_most,
)

PUBLISHED = [
    (1000, 600, 600, 1e-5, 5.27040),
    (1000, 100, 90, 0.0, 1.63082),
    (20000, 2000, 1500, 1e-6, 1.01245),
]


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_trade_off(mu: float, rate: float) -> float:
    return float(ndtr(ndtri(rate) - mu))  # SciPy's norm takes a hundred times as long


def pure_trade_off(epsilon: float, rate: float) -> float:
    return max(0.0, rate * math.exp(-epsilon), 1 - math.exp(epsilon) * (1 - rate))


# --- one run


@pytest.mark.parametrize(("m", "guesses", "correct", "delta", "published"), PUBLISHED)
def test_one_run_known_answers(
    m: int, guesses: int, correct: int, delta: float, published: float
) -> None:
    assert one_run(m, guesses, correct, delta=delta, confidence=0.95) == pytest.approx(
        published, abs=5e-6
    )


def test_one_run_without_delta_inverts_the_binomial_tail() -> None:
    bound = one_run(300, 300, 180, delta=0.0, confidence=0.9)
    right = 1 / (1 + math.exp(-bound))
    assert binom.sf(179, 300, right) == pytest.approx(0.1, rel=1e-6)


def test_one_run_pays_for_delta_per_canary() -> None:
    few, many = (one_run(m, 100, 95, delta=1e-4, confidence=0.95) for m in (100, 5000))
    assert many < few < one_run(100, 100, 95, delta=0.0, confidence=0.95)


def test_nothing_is_proven_by_guesses_that_chance_explains() -> None:
    assert one_run(1000, 100, 50, delta=1e-5, confidence=0.95) == 0.0
    assert one_run(1000, 0, 0, delta=1e-5, confidence=0.95) == 0.0
    assert one_run_mu(1000, 100, 50, confidence=0.95) == 0.0


def test_the_trade_off_of_pure_dp_proves_hardly_less_than_the_binomial_tail() -> None:
    """Randomised response reaches the tail, so that no p-value may be below it."""
    for correct in (60, 75, 90):
        tail = float(binom.sf(correct - 1, 100, 1 / (1 + math.exp(-1.0))))
        p_value = one_run_f(1000, 100, correct, least=lambda rate: pure_trade_off(1.0, rate))
        assert tail * 0.998 <= p_value <= max(1.6 * tail, tail + 0.05)


def test_a_trade_off_that_hides_everything_leaves_coins() -> None:
    p_value = one_run_f(200, 100, 62, least=lambda rate: rate)
    assert p_value == pytest.approx(float(binom.sf(61, 100, 0.5)), rel=0.6)
    assert one_run_f(200, 100, 0, least=lambda rate: rate) == 1.0


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_bounds_of_one_run_hold_where_the_truth_is_known(mu: float) -> None:
    """At 90 %, 100 runs: more than 22 failures have a chance of 1e-4 if each fails in a tenth."""
    generator, failures, epsilon_fails = seeded(), 0, 0
    truth = epsilon_of(mu, 1e-3)
    for _ in range(100):
        inside = torch.rand(400, generator=generator) < 0.5
        scores = torch.randn(400, generator=generator, dtype=torch.float64) + mu * inside
        correct = correct_guesses(scores, inside, 40)
        failures += (
            one_run_f(400, 40, correct, least=lambda rate: gaussian_trade_off(mu, rate)) < 0.1
        )
        epsilon_fails += one_run(400, 40, correct, delta=1e-3, confidence=0.9) > truth
    assert failures <= 22
    assert epsilon_fails <= 22


def test_one_run_mu_is_where_the_p_value_crosses_and_comes_near_the_truth() -> None:
    generator, mu = seeded(2), 1.5
    inside = torch.rand(5000, generator=generator) < 0.5
    scores = torch.randn(5000, generator=generator, dtype=torch.float64) + mu * inside
    correct = correct_guesses(scores, inside, 200)
    bound = one_run_mu(5000, 200, correct, confidence=0.95)
    assert one_run_f(5000, 200, correct, least=lambda rate: gaussian_trade_off(bound, rate)) <= 0.05
    assert (
        one_run_f(5000, 200, correct, least=lambda rate: gaussian_trade_off(bound + 0.01, rate))
        > 0.05
    )
    assert 0.5 * mu < bound < mu


def epsilon_of(mu: float, delta: float) -> float:
    """Of two Gaussians mu apart, by bisection over the hockey stick."""
    low, high = 0.0, 100.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        over = ndtr(mu / 2 - middle / mu) - math.exp(middle) * ndtr(-mu / 2 - middle / mu)
        low, high = (middle, high) if over > delta else (low, middle)
    return high


# --- independent trials


def test_clopper_pearson_known_answer() -> None:
    errors = Errors(members=500, nonmembers=500, missed=100, alarms=50)
    assert clopper_pearson_epsilon(errors, delta=1e-5, confidence=0.95) == pytest.approx(
        1.77091, abs=5e-6
    )


def test_clopper_pearson_is_the_same_the_other_way_round() -> None:
    errors_of_run, turned_round = Errors(400, 600, 30, 200), Errors(600, 400, 200, 30)
    bounds = [
        clopper_pearson_epsilon(errors, delta=1e-3, confidence=0.95)
        for errors in (errors_of_run, turned_round)
    ]
    assert bounds[0] == pytest.approx(bounds[1])
    assert bounds[0] > 0


def test_errors_that_prove_nothing_give_zero() -> None:
    assert clopper_pearson_epsilon(Errors(100, 100, 50, 50), delta=0.0, confidence=0.95) == 0.0
    assert clopper_pearson_epsilon(Errors(100, 100, 100, 100), delta=0.5, confidence=0.95) == 0.0
    assert gaussian_mu(Errors(100, 100, 60, 60), confidence=0.95).lower == 0.0


def test_gaussian_mu_by_hand() -> None:
    """159 errors of 1000 on both sides are one deviation each: Gaussians two apart."""
    interval = gaussian_mu(Errors(1000, 1000, 159, 159), confidence=0.95)
    upper = rates_at_most(Errors(1000, 1000, 159, 159), confidence=0.95)
    assert interval.lower == pytest.approx(-2 * norm.ppf(upper.missed))
    assert interval.lower < 2.0 < interval.upper
    assert interval.upper - interval.lower < 0.4


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_independent_bounds_hold_where_the_truth_is_known(mu: float) -> None:
    """At 90 %, 300 runs: more than 50 failures have a chance of 1e-4 if each fails in a tenth."""
    generator, low, high, epsilons = seeded(), 0, 0, 0
    truth = epsilon_of(mu, 1e-3)
    for _ in range(300):
        inside = torch.rand(600, generator=generator) < 0.5
        scores = torch.randn(600, generator=generator, dtype=torch.float64) + mu * inside
        errors = errors_at(scores, inside, mu / 2)
        interval = gaussian_mu(errors, confidence=0.9)
        low, high = low + (interval.lower > mu), high + (interval.upper < mu)
        epsilons += clopper_pearson_epsilon(errors, delta=1e-3, confidence=0.9) > truth
    assert max(low, high, epsilons) <= 50


# --- guesses and errors


def test_guesses_by_hand() -> None:
    scores = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.8, 0.2])
    inside = torch.tensor([False, True, True, False, False, True])
    assert [correct_guesses(scores, inside, count) for count in (0, 2, 4, 6)] == [0, 2, 2, 4]


def test_errors_by_hand() -> None:
    scores = torch.tensor([0.1, 0.5, 0.5, 0.9])
    inside = torch.tensor([True, False, True, True])
    assert errors_at(scores, inside, 0.5) == Errors(members=3, nonmembers=1, missed=1, alarms=1)


def with_moments(mean: float, deviation: float) -> torch.Tensor:
    """Cosines in d = 100 of exactly this mean and deviation, scaled."""
    raw = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    return (mean + deviation * raw) / 10


def test_one_shot_of_a_shift_is_the_gaussian_mechanism() -> None:
    estimate = one_shot(with_moments(2.0, 1.0), d=100, delta=1e-5)
    assert (estimate.mean, estimate.deviation) == pytest.approx((2.0, 1.0))
    assert estimate.epsilon == pytest.approx(epsilon_of(2.0, 1e-5), abs=1e-4)


def test_one_shot_takes_the_larger_direction() -> None:
    """N(0, 4) against N(0, 1) at delta .01: the wider one's tails beyond where densities cross."""
    estimate = one_shot(with_moments(0.0, 2.0), d=100, delta=0.01)
    crossing = math.sqrt((estimate.epsilon + math.log(2)) / (1 / 2 - 1 / 8))
    tails = 2 * (norm.sf(crossing / 2) - math.exp(estimate.epsilon) * norm.sf(crossing))
    assert tails == pytest.approx(0.01, abs=1e-5)
    mirrored = one_shot(with_moments(0.0, 0.5), d=100, delta=0.01)
    assert mirrored.epsilon == pytest.approx(estimate.epsilon, abs=1e-3)


def test_one_shot_of_chance_is_nearly_zero() -> None:
    cosines = torch.randn(4000, generator=seeded(), dtype=torch.float64) / math.sqrt(1000)
    estimate = one_shot(cosines, d=1000, delta=1e-3)
    assert abs(estimate.mean) < 4 / math.sqrt(4000)
    assert estimate.deviation == pytest.approx(1.0, abs=4 / math.sqrt(8000))
    assert estimate.epsilon < 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_run(10, 11, 5, delta=0.0, confidence=0.95), "got 5, 11 and 10"),
        (
            lambda: one_run(10, 8, 9, delta=0.0, confidence=0.95),
            "needs 0 <= correct <= guesses <= canaries, got 9",
        ),
        (
            lambda: one_run(10, 8, 7, delta=1.0, confidence=0.95),
            r"delta must be in \[0, 1\), got 1",
        ),
        (
            lambda: one_run(10, 8, 7, delta=0.0, confidence=1.0),
            r"confidence must be in \(0, 1\), got 1",
        ),
        (lambda: one_run_f(10, 8, -1, least=lambda rate: rate), "got -1, 8 and 10"),
        (lambda: one_run_mu(10, 8, 7, confidence=0.0), "confidence must be in"),
        (
            lambda: gaussian_mu(Errors(0, 5, 0, 0), confidence=0.9),
            "members and non-members must be tried, got 0 and 5",
        ),
        (
            lambda: clopper_pearson_epsilon(Errors(5, 0, 0, 0), delta=0.0, confidence=0.9),
            "got 5 and 0",
        ),
        (
            lambda: correct_guesses(torch.zeros(4), torch.zeros(4).bool(), 3),
            r"even and in \[0, 4\], got 3",
        ),
        (
            lambda: correct_guesses(torch.zeros(4), torch.zeros(4).bool(), 6),
            r"even and in \[0, 4\], got 6",
        ),
        (
            lambda: correct_guesses(torch.full((2,), torch.nan), torch.zeros(2).bool(), 2),
            "not a number",
        ),
        (lambda: one_shot(torch.zeros(1), d=5, delta=0.1), r"got 1, d=5 and delta=0\.1"),
        (lambda: one_shot(torch.ones(3), d=5, delta=0.1), "cosines that differ"),
    ],
)
def test_values_out_of_range_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
