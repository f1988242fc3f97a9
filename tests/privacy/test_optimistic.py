"""The lower end: below the true profile everywhere, and close to it."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.privacy.accounting.crosscheck import rounded_down_epsilon
from securefl.privacy.accounting.epsilon import (
    bounds,
    epsilon,
    gaussian_epsilon,
    subsampled_gaussian_epsilon,
)
from securefl.privacy.accounting.gaussian import largest_loss
from securefl.privacy.accounting.grids import lower_end, refined, rounding, upper_end, upper_ends
from securefl.privacy.accounting.inverse import inverted
from securefl.privacy.accounting.optimistic import optimistic
from securefl.privacy.events import SampledGaussian

SETTINGS = [
    (1.0, 1.0),
    (0.5, 0.5),
    (0.1, 1.0),
    (0.064, 1.1),
    (0.01, 0.4),
    (0.01, 4.0),
    (0.001, 0.8),
]


@pytest.mark.parametrize(("rate", "noise"), SETTINGS)
def test_one_release_is_nowhere_above_its_profile_and_hardly_below(
    rate: float, noise: float
) -> None:
    exact = GaussianPrivacyLoss(noise, sampling_prob=rate, adjacency_type=AdjacencyType.REMOVE)
    # The usual size of a loss is rate / noise.
    below = optimistic(rate, noise, 0.005 * rate * min(1.0, 1 / noise))
    assert below is not None
    # Few of these epsilons are on the grid.
    for eps in np.linspace(0.0, math.log1p(rate * math.expm1(3 / noise)), 101):
        true = exact.get_delta_for_epsilon(eps)
        low = below.get_delta_for_epsilon(float(eps))
        assert low <= true + 1e-15
        assert low >= 0.99 * true


@pytest.mark.parametrize(("rate", "noise"), SETTINGS)
def test_its_masses_make_a_distribution(rate: float, noise: float) -> None:
    below = optimistic(rate, noise, 0.005 * rate * min(1.0, 1 / noise))
    assert below is not None
    masses = below.to_dense_pmf()._probs
    losses = (np.arange(len(masses)) + below.to_dense_pmf()._lower_loss) * below._discretization
    assert masses.min() >= 0
    # With the record, and without it.
    assert masses.sum() == pytest.approx(1, abs=1e-9)
    assert (masses * np.exp(-losses)).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("rate", "noise"), [(0.01, 4.0), (0.001, 0.8), (0.1, 1.0)])
def test_a_grid_that_is_too_coarse_says_so(rate: float, noise: float) -> None:
    assert optimistic(rate, noise, 0.5) is None


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (5.0, 10), (20.0, 1000)])
@pytest.mark.parametrize("delta", [1e-8, 1e-5, 1e-2])
def test_without_sampling_it_is_below_the_closed_form(
    noise: float, steps: int, delta: float
) -> None:
    exact = gaussian_epsilon(noise, steps, delta)
    low = lower_end(((SampledGaussian(1.0, noise, 1), steps),), delta, 1e-3)
    assert 0.997 * exact <= low <= exact


@pytest.mark.parametrize(
    "segments",
    [
        ((SampledGaussian(0.064, 1.1, 1), 320),),
        ((SampledGaussian(0.01, 4.0, 1), 1000),),
        pytest.param(((SampledGaussian(0.3, 0.6, 1), 1),), marks=pytest.mark.slow),
        pytest.param(
            ((SampledGaussian(0.05, 0.7, 1), 20), (SampledGaussian(0.1, 1.0, 1), 30)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_it_is_above_the_optimist_of_dp_accounting_and_below_its_pessimist(
    segments: tuple[tuple[SampledGaussian, int], ...],
) -> None:
    rounded_down = rounded_down_epsilon(dict(segments), delta=1e-5, interval=2e-4)
    low = lower_end(segments, 1e-5, 2e-5)
    high = upper_end(segments, 1e-5, 2e-5)
    assert rounded_down <= 1.001 * low
    assert low <= high <= 1.005 * low


# The search over grids stops at a gain of a thousandth.
SETTLED = 1 + 1e-3
RARE = [
    (0.001, 0.3, 1000, 1e-5, 1.006),
    (0.01, 0.1, 1, 1e-5, 1 + 1e-6),
    pytest.param(0.5, 0.02, 1, 1e-5, 1.001, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "ratio"), RARE)
def test_losses_that_are_rarely_large_have_a_lower_end_too(
    rate: float, noise: float, steps: int, delta: float, ratio: float
) -> None:
    # Too wide for the grid: one step has a closed form, many are rounded down.
    lower, upper = bounds({SampledGaussian(rate, noise, steps): 1}, delta=delta)
    assert lower <= upper <= ratio * lower


@pytest.mark.parametrize(
    ("rate", "noise", "delta"), [(0.000591, 0.358, 1.5e-6), (0.3, 0.6, 1e-6), (0.98, 2.0, 1e-2)]
)
def test_one_step_lies_between_its_two_ends_exactly(
    rate: float, noise: float, delta: float
) -> None:
    # Balle, Barthe and Gaboardi 2018.
    exact = math.log1p(rate * math.expm1(gaussian_epsilon(noise, 1, delta / rate)))
    lower, upper = bounds({SampledGaussian(rate, noise, 1): 1}, delta=delta)
    assert lower <= exact <= upper * (1 + 1e-9)


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "ratio"),
    [
        # Sums of e^-710 have lost most of their digits.
        (0.6875, 0.6875, 944, 1e-7, 1.005),
        (0.6875, 0.34, 944, 1e-7, 1.005),
        (0.9, 0.5, 5000, 1e-5, 1.005),
        # No grid is wide enough: Rényi DP above, one step below.
        (0.5, 0.001, 3, 1e-6, 4.0),
    ],
)
def test_an_epsilon_whose_exponential_is_no_float_has_two_ends_too(
    rate: float, noise: float, steps: int, delta: float, ratio: float
) -> None:
    lower, upper = bounds({SampledGaussian(rate, noise, steps): 1}, delta=delta)
    assert 700 < lower <= upper <= ratio * lower


def test_a_search_over_grids_keeps_the_best_and_ends_where_nothing_is_gained() -> None:
    ends = {4.0: 3.0, 2.0: 2.0, 1.0: 2.5, 0.5: 1.0}
    assert list(refined(ends.__getitem__, ends)) == [(3.0, 4.0), (2.0, 2.0), (2.0, 1.0)]
    assert list(refined({1.0: math.inf}.__getitem__, [1.0, 0.5])) == [(math.inf, 1.0)]


@pytest.mark.parametrize(
    ("rate", "noise", "loss"), [(1.0, 2.0, 5.125), (0.1, 1.0, 8.197663), (0.5, 0.001, 509999.3069)]
)
def test_the_largest_loss_known_answer(rate: float, noise: float, loss: float) -> None:
    # log(1 - q + q exp(10 / s + 1 / (2 s^2)))
    assert largest_loss(rate, noise) == pytest.approx(loss, rel=1e-6)


def test_an_inverted_profile_is_the_closed_form_far_beyond_a_float() -> None:
    exact = gaussian_epsilon(0.1, 20, 1e-6)  # 1220
    loss = pld.from_gaussian_mechanism(0.1, value_discretization_interval=1e-3).self_compose(20)
    lower, upper = inverted(loss, 1e-6)
    assert exact <= upper <= 1.001 * exact
    assert 0 <= upper - lower <= 1e-9 * upper
    assert inverted(loss, 0.0) == (0.0, math.inf)


few = settings(derandomize=True, max_examples=15, deadline=None, database=None)
many = settings(derandomize=True, max_examples=1000, deadline=None, database=None)


def check_tight(rate: float, noise: float, steps: int, delta: float) -> None:
    lower, upper = bounds({SampledGaussian(rate, noise, steps): 1}, delta=delta)
    assert lower <= upper
    if upper >= 0.01:
        assert upper <= 1.005 * lower


@few
@given(st.floats(0.003, 1.0), st.floats(0.5, 8.0), st.integers(1, 2000), st.floats(1e-7, 1e-3))
def test_both_ends_meet(rate: float, noise: float, steps: int, delta: float) -> None:
    check_tight(rate, noise, steps, delta)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(many, max_examples=150)
@given(st.floats(0.001, 1.0), st.floats(0.4, 20.0), st.integers(1, 10_000), st.floats(1e-7, 1e-2))
def test_both_ends_meet_at_many_more_settings(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    check_tight(rate, noise, steps, delta)


def check_monotone(rate: float, noise: float, steps: int, delta: float, more: float) -> None:
    """Checks that epsilon grows with rate and steps, and falls with noise and delta."""
    base = subsampled_gaussian_epsilon(rate, noise, steps, delta) * SETTLED + 1e-9
    assert subsampled_gaussian_epsilon(rate / more, noise, steps, delta) <= base
    assert subsampled_gaussian_epsilon(rate, noise * more, steps, delta) <= base
    assert subsampled_gaussian_epsilon(rate, noise, max(1, int(steps / more)), delta) <= base
    assert subsampled_gaussian_epsilon(rate, noise, steps, delta * more) <= base


@settings(few, max_examples=8)
@given(
    st.floats(0.005, 0.4),
    st.floats(0.8, 4.0),
    st.integers(1, 60),
    st.floats(1e-7, 1e-3),
    st.floats(1.05, 2.0),
)
def test_epsilon_is_monotone_in_every_argument(
    rate: float, noise: float, steps: int, delta: float, more: float
) -> None:
    check_monotone(rate, noise, steps, delta, more)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(
    st.floats(0.005, 1.0),
    st.floats(0.6, 20.0),
    st.integers(1, 1000),
    st.floats(1e-7, 1e-2),
    st.floats(1.001, 3.0),
)
def test_a_thousand_settings_are_monotone_in_every_argument(
    rate: float, noise: float, steps: int, delta: float, more: float
) -> None:
    check_monotone(rate, noise, steps, delta, more)


@pytest.mark.parametrize("delta", [1e-8, 1e-10, 1e-12, 1e-14])
@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (20.0, 1000), (50.0, 20_000)])
def test_an_epsilon_is_never_too_low_at_a_delta_within_floating_point_noise(
    delta: float, noise: float, steps: int
) -> None:
    # By itself, dp-accounting is too low from 1e-12 at 1,000 steps, from 1e-10 at 20,000 on.
    segments = ((SampledGaussian(1.0, noise, 1), steps),)
    exact = gaussian_epsilon(noise, steps, delta)
    *_, best = upper_ends(segments, delta)
    assert exact <= best.epsilon <= 1.05 * exact
    if delta > 1e3 * rounding(steps):
        assert best.epsilon <= 1.001 * exact
        assert lower_end(segments, delta, 1e-3) <= exact


def test_dp_accounting_by_itself_can_be_too_low() -> None:
    one_step = pld.from_gaussian_mechanism(50.0, value_discretization_interval=2.5e-4)
    loss = one_step.self_compose(20_000)
    assert loss.get_epsilon_for_delta(1e-12) < gaussian_epsilon(50.0, 20_000, 1e-12) - 0.01


def test_nothing_and_no_noise_have_two_equal_ends() -> None:
    assert bounds({}, delta=1e-5) == (0.0, 0.0)
    assert bounds({SampledGaussian(0.5, 0.0, 1): 1}, delta=1e-5) == (math.inf, math.inf)
    unsampled = {SampledGaussian(1.0, 2.0, 1): 1}
    exact = epsilon(unsampled, delta=1e-5)
    assert bounds(unsampled, delta=1e-5) == pytest.approx((exact, exact), abs=1e-10)
