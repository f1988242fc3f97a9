"""Paired statistics: known answers, coverage, and corrections that can be seen to work.

Mutants that die here: sqrt(n) left out of the expansion; n in place of n - 1; one-sided p-values; Bonferroni in place
of Holm's steps; Holm that goes on after the first survivor; None counted as nothing.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.statistics import bootstrap_interval, compare, holm, t_test

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=5)


def test_the_interval_by_hand_for_two_values() -> None:
    # Four resamples: means 0, 1, 1, 2. alpha' = Phi(-sqrt(2) * 12.706) = 0: the interval is the whole range.
    assert bootstrap_interval([0.0, 2.0]) == pytest.approx((0.0, 2.0))


def test_the_interval_by_hand_for_three_values() -> None:
    # Hesterberg: alpha' = Phi(-sqrt(3/2) * t), t(2 df, .25) = 0.8165: Phi(-1) = .158655. Of the 27 ordered resamples of
    # (0, 3, 6) the sorted means are 0, 1 x3, 2 x6, 3 x7, 4 x6, 5 x3, 6; position .158655 * 26 = 4.125 is a 2.
    low, high = bootstrap_interval([0.0, 3.0, 6.0], confidence=0.5)
    assert (low, high) == pytest.approx((2.0, 4.0))
    plain = np.quantile([sum(pick) / 3 for pick in itertools.product([0.0, 3.0, 6.0], repeat=3)], 0.25)
    assert plain == pytest.approx(2.0)
    wider, _ = bootstrap_interval([0.0, 3.0, 6.0], confidence=0.8)  # t = 1.8856, Phi(-2.3094) = .01046 -> 0.272
    assert wider == pytest.approx(26 * float(stats.norm.cdf(-math.sqrt(1.5) * stats.t.ppf(0.9, 2))))


@given(VALUES, st.floats(-5, 5), st.floats(0.1, 10))
@settings(max_examples=50, deadline=None)
def test_the_interval_moves_and_stretches_with_the_values(values: list[float], shift: float, scale: float) -> None:
    low, high = bootstrap_interval(values)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    moved = bootstrap_interval([scale * value + shift for value in values])
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-9)
    assert bootstrap_interval(list(reversed(values))) == pytest.approx((low, high), abs=1e-12)


def coverage(interval: object, n: int, trials: int) -> float:
    """How often an interval holds the mean 0 of n normal values."""
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(trials):
        low, high = interval(random.standard_normal(n).tolist())  # type: ignore[operator]
        hits += low <= 0 <= high
    return hits / trials


def test_the_interval_covers_far_better_than_the_plain_percentile_one() -> None:
    def plain(values: Sequence[float]) -> tuple[float, float]:
        means = [sum(pick) / len(values) for pick in itertools.product(values, repeat=len(values))]
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)

    # 600 trials: standard error .01. With five values the range itself covers only 1 - 2 / 32 = .9375.
    assert coverage(plain, 5, 600) < 0.87
    assert coverage(bootstrap_interval, 5, 600) > 0.90
    assert coverage(bootstrap_interval, 20, 100) > 0.88


def test_more_values_than_can_be_enumerated_are_drawn_with_a_fixed_seed() -> None:
    values = [float(value) for value in range(10)]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    low, high = bootstrap_interval(values)
    reference = stats.t.interval(0.95, 9, loc=4.5, scale=stats.sem(values))
    assert (low, high) == pytest.approx(reference, abs=0.35)


@pytest.mark.parametrize(("values", "confidence"), [([1.0], 0.95), ([], 0.95), ([1.0, 2.0], 1.0), ([1.0, 2.0], 0.0)])
def test_what_is_no_sample_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(ValueError, match="an interval needs two values and a confidence"):
        bootstrap_interval(values, confidence=confidence)


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=12))
@settings(max_examples=100, deadline=None)
def test_the_t_test_is_scipys(values: list[float]) -> None:
    if np.std(values) < 1e-9:
        return
    assert t_test(values) == pytest.approx(float(stats.ttest_1samp(values, 0.0).pvalue), rel=1e-6, abs=1e-12)


def test_equal_differences_and_fewer_than_five_are_not_tested() -> None:
    assert t_test([0.5] * 6) is None
    assert t_test([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]) is None  # equal but for rounding
    assert t_test([0.0] * 5) is None
    assert t_test([0.1, 0.2, 0.3, 0.4]) is None
    assert t_test([1.0]) is None
    assert t_test([0.1, 0.2, 0.3, 0.4, 0.5]) is not None


def test_holm_by_hand() -> None:
    # Ordered .01, .013, .02, .3 against .05 / 4 = .0125, .05 / 3 = .0167, .025, .05. Bonferroni would mark one only.
    assert holm([0.3, 0.01, 0.02, 0.013]) == [False, True, True, True]
    assert holm([0.3, 0.01, 0.03, 0.013]) == [False, True, False, True]
    assert holm([0.02, 0.001, None, None]) == [False, True, False, False]  # .02 > .05 / 3, and None counts
    assert holm([0.02, 0.04]) == [True, True]
    assert holm([0.03, 0.04]) == [False, False]  # the smallest stands, so all do
    assert holm([]) == []
    assert holm([None]) == [False]


def test_holm_keeps_false_alarms_at_the_level() -> None:
    random = np.random.default_rng(3)
    alarms = sum(any(holm([t_test(random.standard_normal(5).tolist()) for _ in range(10)])) for _ in range(1000))
    # Level .05 of 1,000: 50 expected, standard deviation 7; without correction it would be 400.
    assert 25 < alarms < 75


def test_a_comparison_tells_what_it_can() -> None:
    assert compare([0.25])._asdict() == {"mean": 0.25, "error": None, "n": 1, "low": None, "high": None, "p": None}
    values = [0.1, 0.2, 0.3, 0.2, 0.2]
    found = compare(values)
    assert found.mean == pytest.approx(0.2)
    assert found.n == 5
    assert found.error == pytest.approx(math.sqrt(0.02 / 4 / 5))
    assert found.p == pytest.approx(float(stats.ttest_1samp(values, 0.0).pvalue))
    assert (found.low, found.high) == bootstrap_interval(values)
    with pytest.raises(ValueError, match="no seed is in both"):
        compare([])
