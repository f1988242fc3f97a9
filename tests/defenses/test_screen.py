"""Screening: which rows are set aside."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from defenses import screen

deterministic = settings(derandomize=True, max_examples=100, deadline=None, database=None)
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e19, -1e19])
def test_one_bad_coordinate_marks_its_row_and_no_other(value: float, dtype: torch.dtype) -> None:
    rows = torch.zeros(3, 4, dtype=dtype)
    rows[1, 2] = value
    assert screen(rows).tolist() == [False, True, False]


def test_the_limit_itself_passes_and_the_next_float_does_not() -> None:
    limit = torch.tensor([[1e18], [-1e18]], dtype=torch.float64)
    beyond = torch.nextafter(limit, 2 * limit)
    assert screen(limit).tolist() == [False, False]
    assert screen(beyond).tolist() == [True, True]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_that_is_longer_than_the_limit_passes_if_no_coordinate_is(dtype: torch.dtype) -> None:
    rows = torch.full((2, 1000), 9.9e17, dtype=dtype)
    assert screen(rows).tolist() == [False, False]
    # Squares of the other coordinates vanish next to this one's.
    rows[0] = 1e-3
    rows[0, 500] = 1.001e18
    rows[1] = torch.finfo(dtype).tiny
    assert screen(rows).tolist() == [True, False]


def test_ordinary_and_empty_rows_pass() -> None:
    assert screen(torch.tensor([[0.0, -1e17], [1e-45, 3.0]])).tolist() == [False, False]
    assert screen(torch.zeros(2, 0)).tolist() == [False, False]


def test_the_mask_is_boolean_and_the_rows_are_untouched() -> None:
    rows = torch.tensor([[1.0, -2.0], [math.nan, -1e30]])
    before = rows.clone()
    mask = screen(rows)
    assert mask.dtype is torch.bool
    assert mask.shape == (2,)
    assert torch.equal(rows.nan_to_num(7.0), before.nan_to_num(7.0))


@deterministic
@given(st.lists(st.lists(st.floats(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_screen_agrees_with_a_loop_over_floats(table: list[list[float]]) -> None:
    expected = [any(not math.isfinite(x) or abs(x) > 1e18 for x in row) for row in table]
    assert screen(torch.tensor(table, dtype=torch.float64)).tolist() == expected


@pytest.mark.parametrize("shape", [(3,), (), (1, 2, 3)])
def test_rows_must_be_a_table(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"rows must be 2-D, \(n, d\), got shape \("):
        screen(torch.zeros(shape))


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows must have n >= 1, got shape \(0, 3\)"):
        screen(torch.zeros(0, 3))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.complex64])
def test_only_float32_and_float64_are_taken(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"rows must be float32 or float64, got {dtype}"):
        screen(torch.zeros(2, 2, dtype=dtype))
