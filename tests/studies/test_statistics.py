"""Paired statistics: known answers, coverage, and corrections that are shown to work."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from securefl.data.digits import RECORDS, TRAIN_RECORDS
from securefl.studies.statistics import Comparison, Noise, compare, holm, means_error, shares_error

SEEDS = 5
TRIALS = 4000  # standard error of a coverage of .95: .0034
SHARED = (
    RECORDS - TRAIN_RECORDS
) / RECORDS  # correlation of two splits' differences, as Nadeau and Bengio have it
OVERLAP = SHARED / (1 - SHARED)  # records that judge over records that train
ALL_RESAMPLES = np.array(list(itertools.product(range(SEEDS), repeat=SEEDS)))
EXPANDED_TAIL = float(
    stats.norm.cdf(math.sqrt(SEEDS / (SEEDS - 1)) * stats.t.ppf(0.025, SEEDS - 1))
)
Interval = tuple[float, float]


def interval(values: Sequence[float], noise: Noise) -> Interval:
    found = compare(values, noise)
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def percentile_bootstrap(values: Sequence[float]) -> Interval:
    """The interval of earlier tables: Hesterberg's expanded percentile bootstrap."""
    low, high = np.quantile(
        np.asarray(values)[ALL_RESAMPLES].mean(axis=1), [EXPANDED_TAIL, 1 - EXPANDED_TAIL]
    )
    return float(low), float(high)


def coverage(
    made: Callable[[Sequence[float]], Interval], draw: Callable[[], Sequence[float]], trials: int
) -> float:
    """How often an interval of drawn values holds their true mean, 0."""
    ends = [made(draw()) for _ in range(trials)]
    return sum(low <= 0 <= high for low, high in ends) / trials


class Draws:
    """Five differences with true mean 0; parts have variance 1, normal or (skewed) exponential."""

    def __init__(self, *, skewed: bool) -> None:
        self.random, self.skewed = np.random.default_rng(7), skewed

    def part(self, n: int) -> np.ndarray:
        return (
            self.random.exponential(size=n) - 1 if self.skewed else self.random.standard_normal(n)
        )

    def alone(self) -> list[float]:
        """Seeds that share nothing."""
        return list(self.part(SEEDS))

    def of_splits(self) -> list[float]:
        """Seeds that split the same records anew: correlated by what they share."""
        return list(math.sqrt(SHARED) * self.part(1) + math.sqrt(1 - SHARED) * self.part(SEEDS))

    def on_one_test_set(self) -> list[float]:
        """Seeds judged on the same records, whose error is as large as a run's spread."""
        return list(self.random.standard_normal(1) + self.part(SEEDS))


ALONE, SPLITS, ONE_SET = (
    Noise(),
    Noise(overlap=OVERLAP),
    Noise(records_error=1.0, same_records=True),
)


@pytest.mark.parametrize(
    ("noise", "draw", "normal", "skewed"),
    [
        (ALONE, "alone", 0.94, 0.87),
        (SPLITS, "of_splits", 0.94, 0.87),
        (ONE_SET, "on_one_test_set", 0.94, 0.94),
    ],
    ids=["seeds that share nothing", "new splits", "one test set"],
)
def test_intervals_cover_what_docs_studies_says(
    noise: Noise, draw: str, normal: float, skewed: float
) -> None:
    for skew, stated in ((False, normal), (True, skewed)):
        found = coverage(
            lambda values: interval(values, noise), getattr(Draws(skewed=skew), draw), TRIALS
        )
        assert found > stated
        assert found < 0.965  # nor are they wide to be safe


def test_the_intervals_that_the_tables_had_do_not_cover_that() -> None:
    # 600 trials: standard error .012. The range of five values itself holds the mean in
    # 1 - 2 / 32 = .9375 of cases.
    assert coverage(percentile_bootstrap, Draws(skewed=False).alone, 600) < 0.93
    assert coverage(percentile_bootstrap, Draws(skewed=False).of_splits, 600) < 0.80
    assert coverage(percentile_bootstrap, Draws(skewed=True).of_splits, 600) < 0.76
    assert coverage(percentile_bootstrap, Draws(skewed=False).on_one_test_set, 600) < 0.72
    for draw in (
        "of_splits",
        "on_one_test_set",
    ):  # nor does a t interval that forgets what seeds share
        assert (
            coverage(
                lambda values: interval(values, ALONE), getattr(Draws(skewed=False), draw), TRIALS
            )
            < 0.83
        )


def test_a_comparison_by_hand() -> None:
    values = [0.1, 0.2, 0.3, 0.2, 0.2]  # s^2 = .005
    found = compare(values, Noise(overlap=0.5, records_error=0.03))
    assert found.mean == pytest.approx(0.2)
    assert found.error == pytest.approx(math.sqrt(0.005 * (1 / 5 + 0.5)))
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, 4, loc=0.2, scale=found.error)
    )
    assert found.p == pytest.approx(float(2 * stats.t.sf(0.2 / math.sqrt(0.0035), 4)))
    assert (found.n, found.records_error) == (5, 0.03)
    both = compare(values, Noise(overlap=0.5, records_error=0.03, same_records=True))
    assert both.error == pytest.approx(math.sqrt(0.0035 + 0.0009))
    freedom = 4 * (0.0044 / 0.0035) ** 2  # Welch and Satterthwaite: the records' variance is known
    assert (both.low, both.high) == pytest.approx(
        stats.t.interval(0.95, freedom, loc=0.2, scale=both.error)
    )
    assert both.p == pytest.approx(float(2 * stats.t.sf(0.2 / math.sqrt(0.0044), freedom)))


def test_one_seed_has_no_interval_and_none_no_comparison() -> None:
    assert compare([0.25], Noise()) == Comparison(0.25, None, 1, None, None, None, 0.0)
    with pytest.raises(ValueError, match="no seed is in both"):
        compare([], Noise())


def test_equal_differences_have_the_test_records_for_their_interval() -> None:
    found = compare([0.5] * 5, Noise(records_error=0.1, same_records=True))
    assert (found.low, found.high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-4)
    assert interval([0.5] * 5, Noise()) == (0.5, 0.5)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_no_two_models_of_these_accuracies_differ_more_than_the_bound(
    one: float, other: float
) -> None:
    # Every joint table with these margins, by the share that both get right.
    both = np.linspace(max(0.0, one + other - 1), min(one, other), 1001)
    deviation = np.sqrt(one + other - 2 * both - (one - other) ** 2)
    assert shares_error(one, other, 1.0) == pytest.approx(float(deviation.max()), rel=1e-9)
    assert means_error(one, other, 1.0) >= shares_error(one, other, 1.0) - 1e-9


def test_the_bound_shrinks_with_the_root_of_the_records() -> None:
    assert shares_error(0.8, 0.8, 100) == pytest.approx(
        math.sqrt(0.4) / 10
    )  # each wrong where the other is right
    assert shares_error(1.0, 0.5, 100) == pytest.approx(0.05)  # the binomial of the one that errs
    assert means_error(0.5, 0.9, 400) == pytest.approx((0.5 + 0.3) / 20)


def test_two_test_images_of_156_never_earn_a_star() -> None:
    # BreastMNIST: always two images more than the other with hardly any spread, which earlier
    # tables starred.
    values = [2 / 156, 2 / 156, 2 / 156, 2 / 156, 2.001 / 156]
    plain = compare(values, Noise())
    assert plain.p is not None
    assert plain.p < 1e-12
    assert plain.testable == plain.p  # nobody's test records, as the old tables had it
    error = shares_error(0.824, 0.824 - 2 / 156, 156)
    for noise in (Noise(records_error=error, same_records=True), Noise(records_error=error)):
        assert holm([compare(values, noise).testable]) == [False]
    many = shares_error(0.824, 0.624, 156)  # 31 images more are another matter
    assert holm(
        [compare([31 / 156 + value for value in values], Noise(0.0, many, True)).testable]
    ) == [True]


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=12))
@settings(max_examples=100, deadline=None)
def test_seeds_that_share_nothing_are_tested_as_scipy_does(values: list[float]) -> None:
    if np.std(values) < 1e-9:
        return
    assert compare(values, Noise()).p == pytest.approx(
        float(stats.ttest_1samp(values, 0.0).pvalue), rel=1e-6, abs=1e-12
    )


def test_equal_differences_and_fewer_than_five_are_not_tested() -> None:
    assert compare([0.5] * 6, Noise()).p is None
    assert compare([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3], Noise()).p is None  # equal but for rounding
    assert compare([0.0] * 5, Noise()).p is None
    assert compare([0.1, 0.2, 0.3, 0.4], Noise()).p is None
    assert compare([0.1, 0.2, 0.3, 0.4, 0.5], Noise()).p is not None


def test_a_mean_within_the_test_records_error_is_not_tested() -> None:
    values = [0.1, 0.11, 0.09, 0.1, 0.1]
    assert compare(values, Noise(records_error=0.101)).testable is None
    assert compare([-value for value in values], Noise(records_error=0.101)).testable is None
    assert (
        compare(values, Noise(records_error=None)).testable is None
    )  # nobody knows how many judged
    for outside in (values, [-value for value in values]):
        found = compare(outside, Noise(records_error=0.099))
        assert found.testable == found.p
        assert found.p is not None


def test_holm_by_hand() -> None:
    # Ordered .01, .013, .02, .3 against .05 / 4 = .0125, .05 / 3 = .0167, .025, .05.
    # Bonferroni would mark one only.
    assert holm([0.3, 0.01, 0.02, 0.013]) == [False, True, True, True]
    assert holm([0.3, 0.01, 0.03, 0.013]) == [False, True, False, True]
    assert holm([0.02, 0.001, None, None]) == [
        False,
        True,
        False,
        False,
    ]  # .02 > .05 / 3, and None counts
    assert holm([0.02, 0.04]) == [True, True]
    assert holm([0.03, 0.04]) == [False, False]  # the smallest stands, so all do
    assert holm([]) == []
    assert holm([None]) == [False]


def test_holm_keeps_false_alarms_at_the_level() -> None:
    random = np.random.default_rng(3)
    alarms = sum(
        any(holm([compare(random.standard_normal(5).tolist(), Noise()).p for _ in range(10)]))
        for _ in range(1000)
    )
    # Level .05 of 1,000: 50 expected, standard deviation 7; without correction it would be 400.
    assert 25 < alarms < 75
