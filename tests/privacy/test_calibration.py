"""Noise for a target: its cost by the same accountant, with and without a past."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.privacy.accounting.calibration import calibrate_event, calibrate_noise
from securefl.privacy.accounting.epsilon import epsilon, subsampled_gaussian_epsilon
from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent, SampledGaussian

DELTA = 1e-5
EventOf = Callable[[float], PrivacyEvent]


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


# Any event


def gaussian(noise: float) -> SampledGaussian:
    return SampledGaussian(0.064, noise, 16)


def sum_of_shares(noise: float) -> DiscreteGaussianSum:
    """Returns the event of six shares on a grid of .01, with a sensitivity of 1."""
    return DiscreteGaussianSum.of(
        noise / 0.01 / math.sqrt(6), 6, sensitivity=1.0, granularity=0.01, dimension=100
    )


@pytest.mark.parametrize("target", [0.01, 0.5, 1.0, 8.0, 200.0])
@pytest.mark.parametrize("releases", [1, 50])
def test_calibrated_shares_cost_the_target_or_half_a_percent_less(
    target: float, releases: int
) -> None:
    noise = calibrate_event(target, sum_of_shares, releases, DELTA)
    spent = epsilon({sum_of_shares(noise): releases}, delta=DELTA)
    assert 0.995 * target <= spent <= target
    # A Gaussian would do with less noise, by an accounting that does not hold for shares.
    assert noise > calibrate_noise(target, 1.0, releases, DELTA)


def test_for_gaussians_both_ways_to_calibrate_give_the_same_noise() -> None:
    assert calibrate_event(8.0, gaussian, 20, DELTA) == calibrate_noise(8.0, 0.064, 320, DELTA)


@pytest.mark.parametrize("event_of", [gaussian, sum_of_shares], ids=["gaussian", "shares"])
def test_noise_after_a_mixed_past_makes_the_whole_cost_the_target(event_of: EventOf) -> None:
    past: dict[PrivacyEvent, int] = {
        SampledGaussian(0.1, 1.5, 20): 2,
        sum_of_shares(5.0): 3,
        SampledGaussian(0.2, 4.0, 1): 0,
    }
    noise = calibrate_event(6.0, event_of, 10, DELTA, before=past)
    whole = Counter(past) + Counter({event_of(noise): 10})
    assert 0.995 * 6.0 <= epsilon(whole, delta=DELTA) <= 6.0
    assert noise > calibrate_event(6.0, event_of, 10, DELTA)


def test_a_past_of_the_calibrated_event_itself_counts() -> None:
    noise = calibrate_event(6.0, sum_of_shares, 10, DELTA)
    past = {sum_of_shares(noise): 10}
    more = calibrate_event(9.0, sum_of_shares, 10, DELTA, before=past)
    whole = Counter[PrivacyEvent](past) + Counter({sum_of_shares(more): 10})
    assert 0.995 * 9.0 <= epsilon(whole, delta=DELTA) <= 9.0


@pytest.mark.parametrize("most", [2.2, 2.6, 3.9, 4.1, 1e5])
def test_a_channel_that_takes_no_more_noise_is_no_obstacle_while_less_is_enough(
    most: float,
) -> None:
    # Here, noise of about 2.15 meets the target; doubling from 1 would try 4.
    def refusing(noise: float) -> DiscreteGaussianSum:
        if noise > most:
            raise ValueError(f"a ring of 32 bits has no room for noise {noise}")
        return sum_of_shares(noise)

    noise = calibrate_event(10.0, refusing, 16, DELTA)
    spent = epsilon({sum_of_shares(noise): 16}, delta=DELTA)
    assert 2.1 < noise < 2.2
    assert 0.995 * 10.0 <= spent <= 10.0


def test_where_every_noise_that_would_do_is_refused_the_reason_is_the_refusal() -> None:
    def refusing(noise: float) -> DiscreteGaussianSum:
        if noise > 1.9:
            raise ValueError(f"a ring of 32 bits has no room for noise {noise:.3f}")
        return sum_of_shares(noise)

    with pytest.raises(ValueError, match=r"a ring of 32 bits has no room for noise 1\.900"):
        calibrate_event(10.0, refusing, 16, DELTA)


def test_noise_that_is_refused_as_too_little_is_not_chosen() -> None:
    def refusing(noise: float) -> DiscreteGaussianSum:
        if noise < 3.0:
            raise ValueError("a share has to be a step of the grid")
        return sum_of_shares(noise)

    # All noise from 3 on wastes more than half a percent: the least of it is taken.
    noise = calibrate_event(10.0, lambda noise: refusing(3.0 * noise), 16, DELTA)
    assert noise == pytest.approx(1.0, rel=1e-6)
    assert noise >= 1.0


@pytest.mark.parametrize("releases", [0, -1])
def test_no_release_is_not_calibrated(releases: int) -> None:
    with pytest.raises(ValueError, match="releases must be >= 1, got"):
        calibrate_event(1.0, sum_of_shares, releases, DELTA)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_a_delta_outside_zero_and_one_is_refused_for_any_event(delta: float) -> None:
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got"):
        calibrate_event(1.0, sum_of_shares, 1, delta)


def test_a_target_that_a_mixed_past_has_spent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"earlier releases have spent epsilon [\d.]+ of 1$"):
        calibrate_event(1.0, gaussian, 1, DELTA, before={sum_of_shares(1.0): 1})
