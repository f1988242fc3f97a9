"""Epsilon: known answers, dp-accounting from both sides, the closed form once more, monotony."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from securefl.learning.plan import DpPlan
from securefl.privacy.accounting import grids
from securefl.privacy.accounting.crosscheck import renyi_epsilon, rounded_down_epsilon
from securefl.privacy.accounting.ends import Segments
from securefl.privacy.accounting.epsilon import (
    bounds,
    epsilon,
    fits,
    gaussian_epsilon,
    subsampled_gaussian_epsilon,
)
from securefl.privacy.accounting.inverse import inverted
from securefl.privacy.events import SampledGaussian

DELTA = 1e-5
few = settings(derandomize=True, max_examples=8, deadline=None, database=None)


@cache
def cost(sample_rate: float, noise_multiplier: float, steps: int, delta: float = DELTA) -> float:
    return subsampled_gaussian_epsilon(sample_rate, noise_multiplier, steps, delta)


# Known answers


@pytest.mark.parametrize(
    ("noise_multiplier", "steps", "expected"),
    [
        (0.5, 1, 9.99726),
        (1.0, 1, 4.37718),
        (2.0, 1, 1.99309),
        (4.0, 1, 0.92634),
        (20.0, 1000, 7.51128),
    ],
)
def test_gaussian_known_answer(noise_multiplier: float, steps: int, expected: float) -> None:
    # The classic sqrt(2 log(1.25 / delta)) / sigma would say 9.69, 4.84, 2.42, 1.21 and, composed,
    # 7.66.
    assert gaussian_epsilon(noise_multiplier, steps, DELTA) == pytest.approx(expected, abs=5.1e-6)


@pytest.mark.parametrize(
    ("sample_rate", "noise_multiplier", "steps", "expected"),
    [
        (0.01, 1.0, 1, 0.19945),
        (0.1, 1.0, 1, 1.68454),
        (0.064, 1.1, 320, 6.552),
        # A coarse discretisation says .497.
        (0.01, 4.0, 1000, 0.27214),
    ],
)
def test_subsampled_known_answer(
    sample_rate: float, noise_multiplier: float, steps: int, expected: float
) -> None:
    assert cost(sample_rate, noise_multiplier, steps) == pytest.approx(expected, rel=1e-3)


def test_500_records_in_batches_of_32_for_20_rounds_cost_6_55_and_nothing_less() -> None:
    plan = DpPlan(records=500, batch=32, epochs=1, clip=1.0, noise_multiplier=1.1)
    assert plan.cost == SampledGaussian(0.064, 1.1, 16)
    assert epsilon({plan.cost: 20}, delta=DELTA) == pytest.approx(6.552, abs=2e-3)
    # The accountant started again every round.
    assert epsilon({plan.cost: 1}, delta=DELTA) == pytest.approx(1.85, abs=5e-3)
    # A round taken for one step.
    assert cost(0.064, 1.1, 20) == pytest.approx(1.99, abs=5e-3)
    # Sampling forgotten.
    assert gaussian_epsilon(1.1, 320, DELTA) > 150
    # One over the batch as the rate.
    assert cost(1 / 32, 1.1, 320) < 3


# Against others


@pytest.mark.parametrize("noise_multiplier", [0.1, 0.5, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("steps", [1, 7, 1000])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.1])
def test_gaussian_epsilon_puts_delta_where_the_theorem_does(
    noise_multiplier: float, steps: int, delta: float
) -> None:
    # Balle and Wang 2018, theorem 8.
    mu = math.sqrt(steps) / noise_multiplier
    eps = gaussian_epsilon(noise_multiplier, steps, delta)
    if eps == 0:
        assert norm.cdf(mu / 2) - norm.cdf(-mu / 2) <= delta
        return
    spent = norm.cdf(mu / 2 - eps / mu) - math.exp(eps + float(norm.logcdf(-mu / 2 - eps / mu)))
    assert spent == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize(
    "events",
    [
        {SampledGaussian(1.0, 3.0, 10): 2},
        {SampledGaussian(0.01, 0.8, 100): 3},
        {SampledGaussian(0.064, 1.1, 16): 20},
        {SampledGaussian(0.3, 0.6, 1): 1},
        {SampledGaussian(0.5, 4.0, 30): 2},
        {SampledGaussian(0.1, 1.0, 10): 3, SampledGaussian(0.05, 0.7, 20): 1},
        {
            SampledGaussian(0.1, 1.0, 10): 1,
            SampledGaussian(1.0, 5.0, 2): 2,
            SampledGaussian(0.02, 0.9, 50): 1,
        },
    ],
    ids=str,
)
def test_epsilon_lies_between_the_optimistic_pld_and_renyi(
    events: Mapping[SampledGaussian, int],
) -> None:
    delta = 1e-6
    ours = epsilon(events, delta=delta)
    assert rounded_down_epsilon(events, delta=delta, interval=2e-4) <= ours
    assert ours <= renyi_epsilon(events, delta=delta)
    assert ours <= 1.005 * bounds(events, delta=delta).lower


# Within a budget


@pytest.mark.parametrize(
    "events",
    [
        {SampledGaussian(0.064, 1.1, 16): 20},
        # .497 on a coarse grid, .272 on a fine one.
        {SampledGaussian(0.01, 4.0, 1000): 1},
        {SampledGaussian(1.0, 20.0, 100): 3},
        {SampledGaussian(0.1, 1.0, 10): 1, SampledGaussian(1.0, 5.0, 2): 2},
    ],
    ids=str,
)
def test_events_fit_a_budget_if_they_cost_no_more(events: Mapping[SampledGaussian, int]) -> None:
    cost = epsilon(events, delta=DELTA)
    for budget in (cost, 1.0001 * cost, 1.2 * cost, 2.5 * cost, 100.0, math.inf):
        assert fits(events, delta=DELTA, budget=budget)
    for budget in (math.nextafter(cost, 0), 0.9999 * cost, 0.5 * cost, 0.0, -1.0, math.nan):
        assert not fits(events, delta=DELTA, budget=budget)


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_without_noise_only_an_infinite_budget_fits(rate: float) -> None:
    events = {SampledGaussian(rate, 0.0, 1): 1, SampledGaussian(0.1, 2.0, 1): 1}
    assert not fits(events, delta=DELTA, budget=1e300)
    assert fits(events, delta=DELTA, budget=math.inf)
    assert fits({SampledGaussian(rate, 0.0, 1): 0}, delta=DELTA, budget=0.0)


def test_nothing_fits_any_budget() -> None:
    assert fits({}, delta=DELTA, budget=0.0)
    assert not fits({}, delta=DELTA, budget=-1.0)


# Composition


def test_the_cut_of_steps_into_rounds_changes_nothing() -> None:
    whole = epsilon({SampledGaussian(0.064, 1.1, 320): 1}, delta=DELTA)
    for cut in (
        {SampledGaussian(0.064, 1.1, 1): 320},
        {SampledGaussian(0.064, 1.1, 16): 20},
        {SampledGaussian(0.064, 1.1, 16): 10, SampledGaussian(0.064, 1.1, 32): 5},
        {
            SampledGaussian(0.064, 1.1, 300): 1,
            SampledGaussian(0.064, 1.1, 4): 5,
            SampledGaussian(0.1, 1.0, 9): 0,
        },
    ):
        assert epsilon(cut, delta=DELTA) == whole


def test_gaussians_of_two_scales_compose_as_one_of_the_sum_of_squares() -> None:
    # 1 / sigma^2 adds up: 3 / 2^2 + 2 x 4 / 4^2 = 1.25.
    mixed = {SampledGaussian(1.0, 2.0, 3): 1, SampledGaussian(1.0, 4.0, 4): 2}
    assert epsilon(mixed, delta=DELTA) == pytest.approx(
        gaussian_epsilon(1 / math.sqrt(1.25), 1, DELTA), abs=1e-9
    )


PARTS = [
    SampledGaussian(0.064, 1.1, 16),
    SampledGaussian(0.1, 2.0, 30),
    SampledGaussian(1.0, 8.0, 2),
    SampledGaussian(0.064, 1.5, 16),
]


@pytest.mark.parametrize(("i", "j"), [(i, j) for i in range(4) for j in range(i)])
def test_two_kinds_of_events_cost_more_than_either_and_less_than_both_apart(i: int, j: int) -> None:
    first = PARTS[i]
    second = PARTS[j]
    both = epsilon({first: 2, second: 3}, delta=DELTA)
    assert both == epsilon({second: 3, first: 2}, delta=DELTA)
    alone = [epsilon({first: 2}, delta=DELTA), epsilon({second: 3}, delta=DELTA)]
    assert both > 1.01 * max(alone)
    # Simple composition, with half of delta each.
    halves = [epsilon({first: 2}, delta=DELTA / 2), epsilon({second: 3}, delta=DELTA / 2)]
    assert both < sum(halves)


def test_two_nearly_equal_events_cost_as_much_as_equal_ones() -> None:
    event = SampledGaussian(0.064, 1.1, 16)
    near = SampledGaussian(0.064, 1.1 * (1 + 1e-9), 16)
    mixed = epsilon({event: 2, near: 3}, delta=DELTA)
    assert mixed == pytest.approx(epsilon({event: 5}, delta=DELTA), rel=2e-3)


def test_nothing_released_costs_nothing() -> None:
    assert epsilon({}, delta=DELTA) == 0.0
    assert epsilon({SampledGaussian(0.1, 0.0, 1): 0}, delta=DELTA) == 0.0


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_one_release_without_noise_costs_infinity(rate: float) -> None:
    bare = SampledGaussian(rate, 0.0, 1)
    assert epsilon({bare: 1}, delta=0.5) == math.inf
    assert epsilon({bare: 1, SampledGaussian(0.1, 5.0, 1): 3}, delta=DELTA) == math.inf


def test_noise_that_hides_everything_within_delta_costs_nothing() -> None:
    assert gaussian_epsilon(1e6, 1, DELTA) == 0.0
    assert cost(0.001, 1e4, 1) == 0.0


# Monotony


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(st.floats(0.1, 30.0), st.integers(1, 2000), st.floats(1e-12, 0.4), st.floats(1.01, 3.0))
def test_gaussian_epsilon_grows_with_steps_and_falls_with_noise_and_delta(
    noise: float, steps: int, delta: float, more: float
) -> None:
    base = gaussian_epsilon(noise, steps, delta)
    assert gaussian_epsilon(noise * more, steps, delta) <= base
    assert gaussian_epsilon(noise, steps, delta * more if delta * more < 1 else delta) <= base
    assert gaussian_epsilon(noise, steps + 1, delta) >= base


def test_each_argument_counts() -> None:
    base = cost(0.064, 1.1, 20)
    assert cost(0.032, 1.1, 20) < 0.9 * base
    assert cost(0.064, 2.2, 20) < 0.9 * base
    assert cost(0.064, 1.1, 10) < 0.9 * base
    assert cost(0.064, 1.1, 20, 1e-3) < 0.9 * base


# Hostile settings: no crash, no hang, never too low


@pytest.fixture
def grids_used(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collects the cell widths of all grids, upper and lower ones; the caches are by-passed."""
    widths: list[float] = []
    for name in ("upper_end", "lower_end"):
        inner = getattr(grids, name).__wrapped__

        def counted(segments: Segments, delta: float, interval: float, inner: Any = inner) -> float:
            widths.append(interval)
            return float(inner(segments, delta, interval))

        monkeypatch.setattr(grids, name, counted)
    return widths


def test_an_epsilon_below_the_floor_takes_no_grid_of_millions_of_cells(
    grids_used: list[float],
) -> None:
    # It took nine grids, down to cells of 1.5e-7, and 45 seconds of CPU.
    rare = SampledGaussian(2.684e-4, 0.5574, 5)
    low, high = bounds({rare: 1}, delta=5.36e-4)
    assert min(grids_used) >= 1e-4
    assert len(grids_used) <= 5
    # Four times finer, the answer is 1.4236e-4; at the floor it is a little higher, never lower.
    assert 1.4236e-4 <= high <= 1.4236e-4 + grids.FLOOR
    assert 0.0 <= low <= high


def test_the_floor_counts_below_a_hundredth_only() -> None:
    def tried(*ends: float) -> list[float]:
        """Returns the upper ends that the search took of those that ever finer grids would give."""
        coming = iter(ends)
        intervals = [1.0, 0.1, 0.01, 0.001][: len(ends) + 1]
        return [upper.epsilon for upper in grids.refined(lambda _: next(coming), intervals)]

    assert tried(0.0102, 0.0101, 0.01009, 0.010085) == [0.0102, 0.0101, 0.01009]
    assert tried(0.0099, 0.0098, 0.0097) == [0.0099, 0.0098]
    # A gain above the floor.
    assert len(tried(0.0099, 0.0093, 0.0092)) == 3


def test_bounds_of_many_rare_steps_at_a_tiny_delta_do_not_overflow(grids_used: list[float]) -> None:
    many = SampledGaussian(7.008e-4, 0.64638, 164_016)
    low, high = bounds({many: 1}, delta=1.07e-13)
    assert 3.0 < low <= high == renyi_epsilon({many: 1}, delta=1.07e-13)
    assert len(grids_used) <= 7


def test_the_lower_end_of_a_huge_epsilon_makes_no_huge_grid(
    grids_used: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> float:
        raise AssertionError("a grid of a hundred million cells")

    monkeypatch.setattr(grids, "rounded_down_epsilon", refuse)
    low, high = bounds({SampledGaussian(0.137104, 0.143214, 173_450): 1}, delta=2.24e-14)
    assert grids_used == []
    assert 0.0 < low < 1e6 < high


class Overflowing:
    """A loss whose delta is .5 at an epsilon of 0, and whose epsilons need losses below -700."""

    def get_delta_for_epsilon(self, epsilon: float) -> float:
        return 0.5 * math.exp(-epsilon)

    def get_epsilon_for_delta(self, delta: float) -> float:
        raise OverflowError("math range error")


@pytest.mark.parametrize("delta", [0.5, 0.6, 1.0])
def test_a_delta_that_covers_all_losses_is_an_epsilon_of_zero_and_nothing_overflows(
    delta: float,
) -> None:
    assert inverted(Overflowing(), delta) == (0.0, 0.0)
    with pytest.raises(OverflowError, match="math range error"):
        inverted(Overflowing(), 0.49)


HOSTILE = [
    (7.008e-4, 0.64638, 5, 1e-13),
    (2.684e-4, 0.5574, 1, 5.36e-4),
    (1e-5, 0.3, 1, 4e-6),
    (1e-6, 0.2, 1, 1e-9),
    (0.01, 1.0, 1, 1e-12),
    (0.3, 0.15, 1, 1e-11),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), HOSTILE)
def test_hostile_settings_never_cost_less_than_by_the_tails_of_two_normals(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    # One step, from erfc, whose relative precision holds in the tails; more steps cost no less.
    ends = bounds({SampledGaussian(rate, noise, steps): 1}, delta=delta)
    exact = one_step_epsilon(rate, noise, delta)
    assert ends.upper >= exact * (1 - 1e-9)
    if steps == 1:
        assert ends.lower <= exact * (1 + 1e-9) + 1e-12


def one_step_epsilon(rate: float, noise: float, delta: float) -> float:
    """Returns epsilon for a record with against without, by two tails of normals and bisection."""

    def tail(deviations: float) -> float:
        return 0.5 * math.erfc(deviations / math.sqrt(2))

    def spent(eps: float) -> float:
        reach = math.expm1(eps) + rate  # e^eps - (1 - q)
        # In deviations of the noise; beyond, the loss exceeds eps.
        at = noise * math.log(reach / rate) + 1 / (2 * noise)
        return rate * tail(at - 1 / noise) - reach * tail(at)

    low, high = 0.0, 400.0
    if spent(low) <= delta:
        return 0.0
    for _ in range(120):
        middle = (low + high) / 2
        if spent(middle) > delta:
            low = middle
        else:
            high = middle
    return low


# Refusals


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_a_delta_outside_zero_and_one_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got"):
        epsilon({}, delta=delta)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="count of releases cannot be negative"):
        epsilon({SampledGaussian(1.0, 1.0, 1): 3, SampledGaussian(1.0, 2.0, 1): -1}, delta=DELTA)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_a_rate_outside_zero_and_one_is_no_event(rate: float) -> None:
    with pytest.raises(ValueError, match=r"sample_rate must be in \(0, 1\], got"):
        SampledGaussian(rate, 1.0, 1)


@pytest.mark.parametrize("noise", [-1e-9, math.inf, math.nan])
def test_noise_that_is_negative_or_not_finite_is_no_event(noise: float) -> None:
    with pytest.raises(ValueError, match="noise_multiplier must be finite and >= 0, got"):
        SampledGaussian(0.1, noise, 1)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_step_is_no_event(steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be >= 1, got"):
        SampledGaussian(0.1, 1.0, steps)
