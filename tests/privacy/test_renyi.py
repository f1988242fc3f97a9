"""Epsilon of sums with shares of discrete Gaussian noise.

They are held to the known answers, to the formulas written down once more, to other accountants,
and to the true divergence of small sums.
"""

import math
from collections import Counter
from decimal import Decimal, localcontext
from functools import reduce

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, ZCDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from securefl.privacy.accounting.allowance import largest_count
from securefl.privacy.accounting.ends import History
from securefl.privacy.accounting.epsilon import bounds, epsilon, fits, gaussian_epsilon
from securefl.privacy.accounting.profile import privacy_profile
from securefl.privacy.accounting.renyi import Line, _sampled, deltas_of, epsilon_of, lines
from securefl.privacy.events import Counts, DiscreteGaussianSum, PrivacyEvent, SampledGaussian

Array = NDArray[np.float64]
DELTA = 1e-5
some = settings(derandomize=True, max_examples=25, deadline=None, database=None)


def shares(
    sigma: float, number: int = 6, *, sample_rate: float = 1.0, grid: float = 1e-3, d: int = 1
) -> DiscreteGaussianSum:
    """Returns the event of a sum with sensitivity 1."""
    share = sigma / grid / math.sqrt(number)
    return DiscreteGaussianSum.of(
        share, number, sensitivity=1.0, granularity=grid, dimension=d, sample_rate=sample_rate
    )


# Known answers


@pytest.mark.parametrize(
    ("number", "bound", "continuous"),
    [
        (10, 7.1828, 6.4524),
        (7, 9.0368, 8.1507),
        (6, 9.9934, 9.0297),
        (3, 15.8955, 14.4852),
    ],
)
def test_ten_clients_sized_for_sigma_4_and_some_of_them_missing_or_lying(
    number: int, bound: float, continuous: float
) -> None:
    sigma = 4.0 * math.sqrt(number / 10)
    assert epsilon({shares(sigma, number): 50}, delta=1e-3) == pytest.approx(bound, abs=5.1e-5)
    # A Gaussian of that deviation: too low, and no bound.
    assert gaussian_epsilon(sigma, 50, 1e-3) == pytest.approx(continuous, abs=5.1e-5)


def concentrated_epsilon(rho: float, delta: float) -> float:
    """Returns epsilon of rho-zCDP by bisection over epsilon and a search over alpha inside."""

    def log_delta(eps: float) -> float:
        def at(log_excess: float) -> float:
            excess = math.exp(log_excess)
            alpha = 1 + excess
            loss = excess * (alpha * rho - eps)
            return loss + alpha * math.log(excess / alpha) - math.log(excess)

        return float(minimize_scalar(at, bounds=(-25, 25), method="bounded").fun)

    low, high = 0.0, 1.0
    while log_delta(high) > math.log(delta):
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if log_delta(middle) > math.log(delta):
            low = middle
        else:
            high = middle
    return high


@some
@given(st.floats(1e-4, 50.0), st.floats(1e-12, 0.1))
def test_epsilon_is_that_of_the_formulas_written_down_once_more(rho: float, delta: float) -> None:
    # One release with x^2 / 2 = rho.
    ours = epsilon({shares(1 / math.sqrt(2 * rho)): 1}, delta=delta)
    assert ours == pytest.approx(concentrated_epsilon(rho, delta), rel=2e-6, abs=1e-9)


@pytest.mark.parametrize("rho", [1e-4, 0.1, 1.5625, 30.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 1e-2])
def test_epsilon_is_at_most_a_little_below_dp_accounting_which_tries_fewer_orders(
    rho: float, delta: float
) -> None:
    accountant = RdpAccountant(orders=1 + np.geomspace(1e-3, 1e4, 3000))
    theirs = accountant.compose(ZCDpEvent(rho)).get_epsilon(delta)
    ours = epsilon({shares(1 / math.sqrt(2 * rho)): 1}, delta=delta)
    assert theirs * (1 - 1e-4) - 1e-9 <= ours <= theirs * (1 + 1e-9) + 1e-9


def test_the_best_order_solves_the_equation_that_the_derivative_gives() -> None:
    # For K = lambda (1 + lambda) rho: rho lambda^2 + log(1 + lambda) = log(1 / delta).
    rho, delta = 1.5625, 1e-3
    low, high = 0.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        if rho * middle**2 + math.log1p(middle) < -math.log(delta):
            low = middle
        else:
            high = middle
    best = (1 + low) * rho - math.log1p(1 / low) + (-math.log(delta) - math.log1p(low)) / low
    assert epsilon({shares(4.0, 10): 50}, delta=delta) == pytest.approx(best, rel=1e-9)
    assert epsilon({shares(4.0, 10): 50}, delta=delta) >= best


def test_epsilon_is_never_below_the_same_formula_with_fifty_digits() -> None:
    with localcontext(prec=50):
        for number in range(60):
            event = shares(70.0 * 0.9**number, 1)
            x = 1 / Decimal(event.noise_multiplier)
            delta = 10.0 ** -(1 + number % 13)
            budget = -Decimal(delta).ln()
            low, high = Decimal(0), Decimal(10) ** 6
            for _ in range(150):
                middle = (low + high) / 2
                if x**2 / 2 * middle**2 + (1 + middle).ln() < budget:
                    low = middle
                else:
                    high = middle
            conversion = (budget - (1 + low).ln()) / low - (1 + 1 / low).ln()
            exact = float(max(Decimal(0), (1 + low) * x**2 / 2 + conversion))
            ours = epsilon({event: 1}, delta=delta)
            assert exact <= ours <= exact + 1e-9 * (1 + exact)


# The bound on one release


def test_the_two_lines_of_a_release_known_answer() -> None:
    event = DiscreteGaussianSum(1.0, 4.0, 2.0, 1.0, 1, 4, tau=0.1)
    # x = .5, tau d = .4, x + tau sqrt(d) = .7.
    assert lines(event) == (Line(0.125, 0.4), Line((0.5 + 0.1 * 2) ** 2 / 2, 0.0))
    assert lines(SampledGaussian(1.0, 2.0, 3)) == (Line(0.125, 0.0),)


def test_the_lower_line_counts_and_a_gap_never_lowers_the_cost() -> None:
    def cost(tau: float, d: int) -> float:
        return epsilon({DiscreteGaussianSum(1.0, 4.0, 1.0, 1.0, 1, d, tau): 10}, delta=DELTA)

    bare = cost(0.0, 1)
    costs = [cost(tau, 100) for tau in (1e-15, 1e-9, 1e-6, 1e-4, 1e-2)]
    assert [bare, *costs] == sorted([bare, *costs])
    assert costs[0] == pytest.approx(bare, rel=1e-9)
    # Over many coordinates, x grows from .25 to .251 and to .35: that is lower than 10 x tau d.
    for spent, ratio in ((costs[3], 0.251), (costs[4], 0.35)):
        assert spent == pytest.approx(epsilon({shares(1 / ratio, 1): 10}, delta=DELTA), rel=1e-9)
    # In one coordinate, 10 x tau is less than the other line adds.
    assert cost(1e-3, 1) == pytest.approx(bare + 0.01, rel=1e-9)


def pmf(share: float, number: int, reach: int = 120) -> Array:
    """Returns the probabilities of a sum of discrete Gaussians at -reach ... reach."""
    points = np.arange(-reach, reach + 1)
    one = np.exp(-(points**2) / (2 * share**2))
    one /= one.sum()
    total = reduce(np.convolve, [one] * number)
    middle = len(total) // 2
    return total[middle - reach : middle + reach + 1]


def hockey_stick(first: Array, second: Array, eps: float) -> float:
    return float(np.maximum(0.0, first - math.exp(eps) * second).sum())


def moved(noise: Array, by: int) -> Array:
    """Returns the noise around another sum; what falls off the end has no weight."""
    return np.roll(noise, by)


@some
@given(
    st.floats(0.5, 3.0),
    st.integers(1, 4),
    st.integers(1, 3),
    st.floats(1e-6, 0.1),
    st.floats(0.05, 1.0),
)
def test_the_true_divergence_of_a_small_sum_is_within_delta(
    share: float, number: int, by: int, delta: float, rate: float
) -> None:
    noise = pmf(share, number)
    event = DiscreteGaussianSum.of(
        share, number, sensitivity=float(by), granularity=1.0, dimension=1, sample_rate=rate
    )
    mixture = rate * moved(noise, by) + (1 - rate) * noise
    for rounds in (1, 2):
        eps = epsilon({event: rounds}, delta=delta)
        releases = [reduce(np.multiply.outer, [part] * rounds) for part in (mixture, noise)]
        for first, second in (releases, releases[::-1]):
            assert hockey_stick(first, second, eps) <= delta * (1 + 1e-9) + 1e-13


def test_the_divergence_of_a_small_sum_is_no_more_than_a_few_times_below_delta() -> None:
    # The bound is far from void: half its epsilon is broken.
    noise = pmf(1.5, 3)
    event = DiscreteGaussianSum.of(1.5, 3, sensitivity=2.0, granularity=1.0, dimension=1)
    eps = epsilon({event: 1}, delta=1e-3)
    spent = hockey_stick(moved(noise, 2), noise, eps)
    assert 1e-4 < spent < 1e-3
    assert hockey_stick(moved(noise, 2), noise, eps / 2) > 1e-3


@pytest.mark.parametrize(("share", "number"), [(0.5, 2), (0.5, 3), (0.6, 4), (0.7, 2)])
def test_a_sum_differs_from_one_discrete_gaussian_by_no_more_than_half_tau(
    share: float, number: int
) -> None:
    event = DiscreteGaussianSum.of(share, number, sensitivity=1.0, granularity=1.0, dimension=1)
    total = pmf(share, number, reach=3)
    alone = pmf(share * math.sqrt(number), 1)[117:124]
    largest = np.abs(np.log(total / alone)).max()
    assert 1e-5 < largest <= event.tau / 2


# Sampling


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.7])
@pytest.mark.parametrize("noise", [0.5, 1.1, 6.0])
def test_at_whole_orders_sampled_gaussians_cost_what_dp_accounting_says(
    rate: float, noise: float
) -> None:
    orders = [2, 3, 7, 32, 128]
    accountant = RdpAccountant(orders=orders)
    accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)))
    ours = _sampled(Line(1 / (2 * noise**2), 0.0), rate)[[alpha - 1 for alpha in orders]]
    theirs = accountant._rdp * (np.array(orders) - 1)
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-15)


def test_a_sampled_sum_costs_the_moment_of_the_binomial_by_hand() -> None:
    # alpha = 3, q = 1/4: 27/64 + 27/64 + 3 x 3/64 e^(D_2) + 1/64 e^(2 D_3), with D = alpha / 8.
    expected = 54 / 64 + 9 / 64 * math.exp(0.25) + math.exp(0.75) / 64
    curve = _sampled(Line(0.125, 0.0), 0.25)
    assert curve[0] == 0.0
    assert curve[2] == pytest.approx(math.log(expected), rel=1e-12)
    # The gap counts in each divergence: D_2 = .25 + .1, D_3 = .375 + .1.
    expected = 54 / 64 + 9 / 64 * math.exp(0.35) + math.exp(0.95) / 64
    assert _sampled(Line(0.125, 0.1), 0.25)[2] == pytest.approx(math.log(expected), rel=1e-12)


@settings(derandomize=True, max_examples=200, deadline=None, database=None)
@given(st.floats(1.0, 40.0), st.floats(0.001, 0.999), st.floats(1e-6, 1e6))
def test_the_mixture_against_its_part_diverges_no_less_than_the_part_against_it(
    alpha: float, rate: float, ratio: float
) -> None:
    # Symmetric noise pairs each outcome of likelihood ratio r, and weight 1, with one of 1 / r and
    # weight r. The theorem holds for each pair.
    up = 1 - rate + rate * ratio
    down = 1 - rate + rate / ratio
    forth = up**alpha + ratio * down**alpha
    back = up ** (1 - alpha) + ratio * down ** (1 - alpha)
    assert forth >= back * (1 - 1e-9)


def test_sampling_lowers_the_cost_and_a_rate_of_nearly_one_changes_nothing() -> None:
    costs = [
        epsilon({shares(2.0, sample_rate=rate): 30}, delta=DELTA) for rate in (0.01, 0.1, 0.5, 0.9)
    ]
    whole = epsilon({shares(2.0): 30}, delta=DELTA)
    assert [*costs, whole] == sorted([*costs, whole])
    assert costs[1] < 0.3 * whole
    near = epsilon({shares(2.0, sample_rate=1 - 1e-12): 30}, delta=DELTA)
    # Chords between whole orders cost at most 2 % here.
    assert whole * (1 - 1e-9) <= near <= 1.02 * whole


def test_chords_between_orders_cost_less_than_two_percent_here() -> None:
    accountant = RdpAccountant(orders=1 + np.geomspace(0.5, 30, 60))
    accountant.compose(PoissonSampledDpEvent(0.1, GaussianDpEvent(1.5)), 200)
    theirs = accountant.get_epsilon(DELTA)
    ours = epsilon({shares(1.5, sample_rate=0.1): 200}, delta=DELTA)
    assert theirs <= ours <= 1.02 * theirs


# Mixed histories

GAUSSIAN: PrivacyEvent = SampledGaussian(0.064, 1.1, 16)
SUM: PrivacyEvent = shares(3.0)


def test_a_mixed_history_costs_more_than_each_part_and_less_than_both_apart() -> None:
    both = epsilon({GAUSSIAN: 5, SUM: 10}, delta=DELTA)
    assert both == epsilon({SUM: 10, GAUSSIAN: 5}, delta=DELTA)
    parts: list[Counts] = [{GAUSSIAN: 5}, {SUM: 10}]
    for part in parts:
        assert both > 1.01 * epsilon(part, delta=DELTA)
    halves = [epsilon(part, delta=DELTA / 2) for part in parts]
    assert both < sum(halves)


def test_full_gaussians_next_to_shares_add_their_squares() -> None:
    # 1 / 2^2 + 2 / 4^2 = 3/8 of squared sensitivity over noise.
    one: PrivacyEvent = SampledGaussian(1.0, 2.0, 1)
    events: Counts = {one: 1, shares(4.0): 2}
    mixed = epsilon(events, delta=DELTA)
    assert mixed == pytest.approx(epsilon({shares(math.sqrt(8 / 3)): 1}, delta=DELTA), rel=1e-9)


def test_the_lower_end_of_a_mixed_history_is_that_of_its_gaussians() -> None:
    assert bounds({SUM: 10}, delta=DELTA).lower == 0.0
    mixed = bounds({SUM: 10, GAUSSIAN: 5}, delta=DELTA)
    assert mixed.lower == bounds({GAUSSIAN: 5}, delta=DELTA).lower > 0
    assert mixed.upper == epsilon({SUM: 10, GAUSSIAN: 5}, delta=DELTA)


def test_a_release_without_noise_costs_infinity_next_to_shares() -> None:
    bare: PrivacyEvent = SampledGaussian(1.0, 0.0, 1)
    events = Counter({SUM: 1, bare: 1})
    assert epsilon(events, delta=DELTA) == math.inf
    assert not fits(events, delta=DELTA, budget=1e300)
    assert bounds(events, delta=DELTA) == (math.inf, math.inf)


def test_the_cut_of_steps_into_events_changes_nothing() -> None:
    whole = epsilon({shares(3.0): 12}, delta=DELTA)
    cut = DiscreteGaussianSum(**{**vars(shares(3.0)), "steps": 4})
    assert epsilon({cut: 3}, delta=DELTA) == whole
    assert epsilon({cut: 2, shares(3.0): 4, shares(9.0): 0}, delta=DELTA) == whole
    assert epsilon({shares(9.0): 0}, delta=DELTA) == 0.0


@pytest.mark.parametrize("event", [SUM, shares(3.0, sample_rate=0.2)], ids=["whole", "sampled"])
def test_events_fit_a_budget_if_they_cost_no_more(event: PrivacyEvent) -> None:
    events = Counter({event: 7, GAUSSIAN: 1})
    cost = epsilon(events, delta=DELTA)
    assert fits(events, delta=DELTA, budget=cost)
    assert not fits(events, delta=DELTA, budget=math.nextafter(cost, 0))


@pytest.mark.parametrize("budget", [1.6, 2.5, 8.0])
def test_the_largest_count_fits_and_one_more_does_not(budget: float) -> None:
    others = Counter[PrivacyEvent]({SampledGaussian(1.0, 20.0, 1): 3})
    count = largest_count(SUM, others, delta=DELTA, budget=budget)
    assert count >= 1
    assert epsilon(others + Counter({SUM: count}), delta=DELTA) <= budget
    assert epsilon(others + Counter({SUM: count + 1}), delta=DELTA) > budget


# The profile


@pytest.mark.parametrize(
    "events",
    [{SUM: 10}, {shares(2.0, sample_rate=0.1): 30}, {SUM: 10, GAUSSIAN: 5}],
    ids=["whole", "sampled", "mixed"],
)
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_the_profile_and_epsilon_agree(events: Counts, delta: float) -> None:
    profile = privacy_profile(events)
    assert profile.delta(epsilon(events, delta=delta)) == pytest.approx(delta, rel=1e-6)


def test_the_profile_falls_and_bounds_the_best_attack_of_a_small_sum() -> None:
    noise = pmf(1.5, 3)
    event = DiscreteGaussianSum.of(1.5, 3, sensitivity=2.0, granularity=1.0, dimension=1)
    profile = privacy_profile({event: 1})
    deltas = [profile.delta(eps) for eps in (0.0, 0.1, 1.0, 3.0, 6.0)]
    assert deltas == sorted(deltas, reverse=True)
    for eps, delta in zip((0.0, 0.1, 1.0, 3.0, 6.0), deltas, strict=True):
        assert hockey_stick(moved(noise, 2), noise, eps) <= delta
    # Flag sums above a cut: the best tests of a shift upwards.
    for cut in range(110, 130):
        alarms = float(noise[cut:].sum())
        finds = float(moved(noise, 2)[cut:].sum())
        assert finds <= profile.most_true_positives(min(1.0, alarms)) + 1e-9


def test_at_an_epsilon_the_profile_is_the_formula_written_down_once_more() -> None:
    # By hand at alpha = 3: e^(2 (3 rho - eps)) / 2 x (2/3)^3; no order gives less than the best.
    rho, eps = 0.5, 4.0
    history = History((), ((shares(1.0), 1),))
    (delta,) = deltas_of(history, np.array([eps]))
    by_hand = math.exp(2 * (3 * rho - eps)) / 2 * (2 / 3) ** 3
    assert delta <= by_hand
    alphas = 1 + np.geomspace(1e-3, 30, 20_001)
    each = np.exp((alphas - 1) * (alphas * rho - eps)) / (alphas - 1) * (1 - 1 / alphas) ** alphas
    assert delta == pytest.approx(each.min(), rel=1e-6)
    assert epsilon_of(history, float(delta)) == pytest.approx(eps, rel=1e-9)


# Hostile settings


@pytest.mark.parametrize(
    ("event", "count", "delta"),
    [
        (shares(1e-3, grid=1e-4), 1, 1e-5),
        (shares(1e6), 1, 1e-12),
        (shares(1.0), 10**9, 1e-300),
        (shares(0.01, sample_rate=1e-6), 1, 1e-300),
        (shares(5.0, sample_rate=1e-9), 10**6, 1e-12),
        (DiscreteGaussianSum(1.0, 1.0, 1.0, 1.0, 1, 10**9, 1e6), 1, 1e-5),
    ],
    ids=["little", "much", "often", "rare", "rarer", "gap"],
)
def test_hostile_settings_have_a_finite_cost(event: PrivacyEvent, count: int, delta: float) -> None:
    cost = epsilon({event: count}, delta=delta)
    assert 0 <= cost < math.inf
    assert epsilon({event: 2 * count}, delta=delta) >= cost
    assert epsilon({event: count}, delta=delta / 2) >= cost


def test_noise_that_hides_everything_within_delta_costs_nothing() -> None:
    assert epsilon({shares(1e6): 1}, delta=0.1) == 0.0
    # Its square is below the smallest float.
    hidden = DiscreteGaussianSum(0.5, 1e200, 1.0, 1.0, 1, 1, tau=0.0)
    assert epsilon({hidden: 10}, delta=DELTA) == pytest.approx(0.0, abs=1e-8)


def test_noise_whose_inverse_square_is_no_float_costs_infinity() -> None:
    events = {DiscreteGaussianSum(0.5, 1e-200, 1.0, 1.0, 1, 1, tau=0.0): 1}
    assert epsilon(events, delta=DELTA) == math.inf
    assert privacy_profile(events).delta(1e6) == 1.0
