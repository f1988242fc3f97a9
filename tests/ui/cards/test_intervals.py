"""Intervals against published numbers, and their limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefl.ui.cards.intervals import Z, auc_interval, wilson


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


def test_hanley_and_mcneil_known_answer() -> None:
    # Their example: an area of .893 with 51 abnormal and 58 normal images has an error of .0325.
    interval = auc_interval(0.893, 58, 51)
    assert interval is not None
    assert (0.893 - interval.low) / Z == pytest.approx(0.0325, abs=3e-4)
    # By hand, area 3/4, 2 and 1 records. Two negatives: (3/16 + (9/8 / (7/4) - 9/16)) / 2; two
    # positives: (3/16 + (3/5 - 9/16)) / 2. The first is larger.
    wide = auc_interval(0.75, 2, 1)
    assert wide is not None
    assert wide.high == 1.0
    expected = ((3 / 16 + (9 / 14 - 9 / 16)) / 2) ** 0.5
    assert wide.low == pytest.approx(max(0.0, 0.75 - Z * expected))
    # Which class is positive is not known: the order of the two numbers changes nothing.
    for area in (0.6, 0.9):
        assert auc_interval(area, 90, 40) == auc_interval(area, 40, 90)


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
