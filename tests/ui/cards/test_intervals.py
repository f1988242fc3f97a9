"""Intervals against published numbers, and their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from securefl.ui.cards.intervals import Z, _error, auc_interval, wilson


def test_wilson_known_answer() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, records, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        interval = wilson(hits / records, records)
        assert interval is not None
        assert interval == pytest.approx((low, high), abs=6e-5)


def test_newcombe_known_answer() -> None:
    # By hand, one record of each class and so one pair: the error is that of one coin, and Wilson's
    # interval is known. Of 1 it is 1 / (1 + z^2) to 1.
    assert auc_interval(1.0, 1, 1) == pytest.approx((1 / (1 + Z * Z), 1.0))
    assert auc_interval(0.0, 1, 1) == pytest.approx((0.0, Z * Z / (1 + Z * Z)))
    # The example of Hanley and McNeil: an area of .893 with 51 abnormal and 58 normal images has an
    # error of .0325, here with the mean size of both. An end is z of its own errors away.
    assert _error(0.893, 58, 51) == pytest.approx(0.0325, abs=1e-3)
    interval = auc_interval(0.893, 58, 51)
    assert interval is not None
    for end in interval:
        assert abs(0.893 - end) == pytest.approx(Z * _error(end, 58, 51))
    # By hand, area 3/4, 2 and 1 records: 3/16 x (1 + 1/2 x (1/5 + 3/7)) / 2.
    assert _error(0.75, 2, 1) ** 2 == pytest.approx(3 / 16 * (1 + 11 / 35) / 2)
    # Which class is positive is not known: the order of the two numbers changes nothing.
    for area in (0.6, 0.9):
        assert auc_interval(area, 90, 40) == auc_interval(area, 40, 90)


@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 60))
def test_the_interval_holds_all_areas_that_allow_the_measured_one_and_no_other(
    sixtieths: int, more: int, less: int
) -> None:
    # The slow version: every area of a grid by itself.
    area = sixtieths / 60
    interval = auc_interval(area, more, less)
    assert interval is not None
    for end in np.linspace(0, 1, 101).tolist():
        is_allowed = abs(area - end) <= Z * _error(end, more, less)
        if min(abs(end - interval.low), abs(end - interval.high)) > 1e-9:
            assert is_allowed is (interval.low < end < interval.high)


@pytest.mark.parametrize(
    ("area", "positives", "coverage"),
    [
        (0.95, 10, 0.966),
        (0.95, 20, 0.963),
        (0.95, 30, 0.963),
        (0.98, 10, 0.964),
        (0.98, 20, 0.972),
        (0.98, 30, 0.966),
        (0.99, 10, 0.964),
        (0.99, 20, 0.967),
        (0.99, 30, 0.973),
    ],
)
def test_intervals_near_one_hold_the_true_area_as_often_as_they_say(
    area: float, positives: int, coverage: float
) -> None:
    # Normal scores, 10 negatives. The table has the share of 4,000 intervals that held the area,
    # and .01 are three standard errors. Intervals of the measured area's own error, which is none
    # at 1, would hold it in .37 to .90 of cases.
    trials, generator = 4000, np.random.default_rng(7)
    positive = generator.normal(size=(trials, positives)) + norm.ppf(area) * 2**0.5
    negative = generator.normal(size=(trials, 10))
    wins = (positive[:, :, None] > negative[:, None, :]).mean(axis=(1, 2))
    held = 0
    for measured, count in zip(*np.unique(wins, return_counts=True), strict=True):
        interval = auc_interval(float(measured), positives, 10)
        assert interval is not None
        held += count * (interval.low <= area <= interval.high)
    assert held / trials == pytest.approx(coverage, abs=0.01)


def test_without_records_there_is_no_interval() -> None:
    assert wilson(0.5, 0) is None
    assert auc_interval(0.5, 3, 0) is None


@given(st.floats(0, 1), st.integers(1, 10_000), st.integers(1, 10_000))
def test_intervals_hold_the_value_and_stay_within_zero_and_one(
    value: float, more: int, less: int
) -> None:
    for interval in (wilson(value, more), auc_interval(value, more, less)):
        assert interval is not None
        assert 0.0 <= interval.low <= value + 1e-12
        assert value - 1e-12 <= interval.high <= 1.0


def test_a_model_that_ranks_the_wrong_way_round_has_the_same_error() -> None:
    right, wrong = auc_interval(0.8, 40, 30), auc_interval(0.2, 40, 30)
    assert right is not None
    assert wrong is not None
    assert right.high - 0.8 == pytest.approx(0.2 - wrong.low)
