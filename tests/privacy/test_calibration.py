"""Noise for a target: its cost by the same accountant, with and without a past."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.privacy.accounting.calibration import calibrate_noise
from securefl.privacy.accounting.epsilon import epsilon, subsampled_gaussian_epsilon
from securefl.privacy.events import SampledGaussian

DELTA = 1e-5


@pytest.mark.parametrize(
    ("target", "rate", "steps", "delta"),
    [
        (1.0, 1.0, 1, 1e-5),
        (30.0, 1.0, 5, 1e-6),
        (0.05, 1.0, 100, 1e-5),
        (8.0, 0.064, 320, 1e-5),
        (0.5, 0.1, 100, 1e-5),
        (50.0, 0.5, 20, 1e-5),
        (2.0, 0.3, 10, 1e-3),
        (100.0, 0.3, 3, 1e-5),
        (0.01, 0.05, 200, 1e-5),
        # Half the noise costs nothing, a quarter too much.
        (0.2, 1.0, 1, 0.15),
    ],
)
def test_calibrated_noise_costs_the_target_or_half_a_percent_less(
    target: float, rate: float, steps: int, delta: float
) -> None:
    noise = calibrate_noise(target, rate, steps, delta)
    assert 0.995 * target <= subsampled_gaussian_epsilon(rate, noise, steps, delta) <= target


rates = st.floats(0.01, 1.0)
deltas = st.floats(1e-8, 1e-3)


def meets_the_target(target: float, rate: float, steps: int, delta: float) -> None:
    noise = calibrate_noise(target, rate, steps, delta)
    assert 0.995 * target <= subsampled_gaussian_epsilon(rate, noise, steps, delta) <= target


@settings(derandomize=True, max_examples=8, deadline=None, database=None)
@given(st.floats(0.02, 60.0), rates, st.integers(1, 300), deltas)
def test_the_target_is_met_at_any_rate_steps_and_delta(
    target: float, rate: float, steps: int, delta: float
) -> None:
    meets_the_target(target, rate, steps, delta)


@pytest.mark.slow
@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(st.floats(0.02, 60.0), rates, st.integers(1, 300), deltas)
def test_the_target_is_met_at_a_hundred_rates_steps_and_deltas(
    target: float, rate: float, steps: int, delta: float
) -> None:
    meets_the_target(target, rate, steps, delta)


@pytest.mark.parametrize("count", [1, 3])
def test_noise_after_a_past_makes_the_whole_cost_the_target(count: int) -> None:
    past = {SampledGaussian(0.1, 1.5, 20): count, SampledGaussian(0.2, 4.0, 1): 0}
    noise = calibrate_noise(6.0, 0.064, 320, DELTA, before=past)
    whole = Counter(past) + Counter([SampledGaussian(0.064, noise, 320)])
    assert 0.995 * 6.0 <= epsilon(whole, delta=DELTA) <= 6.0
    assert noise > calibrate_noise(6.0, 0.064, 320, DELTA)


def test_more_of_the_same_event_adds_to_the_past() -> None:
    noise = calibrate_noise(6.0, 0.064, 320, DELTA)
    past = {SampledGaussian(0.064, noise, 320): 1}
    more = calibrate_noise(8.0, 0.064, 320, DELTA, before=past)
    assert epsilon(Counter(past) + Counter([SampledGaussian(0.064, more, 320)]), delta=DELTA) <= 8.0


def test_a_target_that_was_spent_before_is_refused() -> None:
    with pytest.raises(ValueError, match=r"earlier releases have spent epsilon 4\.377 of 4$"):
        calibrate_noise(4.0, 0.1, 1, DELTA, before={SampledGaussian(1.0, 1.0, 1): 1})


def test_a_target_that_no_noise_reaches_is_refused() -> None:
    # Noise 1e6 leaves delta(0) = 4e-7 above 1e-12, and epsilon about 6e-6.
    message = r"no noise multiplier up to 1e\+06 reaches epsilon 1e-09 at delta 1e-12"
    with pytest.raises(ValueError, match=message):
        calibrate_noise(1e-9, 1.0, 1, 1e-12)


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan])
def test_a_target_that_is_not_positive_and_finite_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="target epsilon must be positive and finite, got"):
        calibrate_noise(target, 0.1, 1, DELTA)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_a_delta_outside_zero_and_one_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got"):
        calibrate_noise(1.0, 1.0, 1, delta)
