"""Choices by distances are the rules' own weights: answers by hand, equality on rows, refusals."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from defenses import (
    dnc_choice,
    dnc_weights,
    mda_choice,
    mda_weights,
    multi_krum_choice,
    multi_krum_weights,
)

deterministic = settings(derandomize=True, max_examples=20, deadline=None, database=None)
Squared = NDArray[np.float64]
PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Squared]]] = {
    "multi_krum": (multi_krum_weights, multi_krum_choice),
    "multi_krum of four": (partial(multi_krum_weights, m=4), partial(multi_krum_choice, m=4)),
    "mda": (mda_weights, mda_choice),
    "dnc": (dnc_weights, dnc_choice),
    "dnc that removes more": (partial(dnc_weights, filter=1.5), partial(dnc_choice, filter=1.5)),
    "dnc at once": (partial(dnc_weights, at_once=True), partial(dnc_choice, at_once=True)),
}
F = 3
each_pair = pytest.mark.parametrize("name", PAIRS)


def apart(rows: Tensor) -> Squared:
    """Returns squared distances, each from a difference of two rows."""
    squared: Squared = (rows[:, None] - rows).double().square().sum(dim=2).numpy()
    return squared


def on_a_line(*places: float) -> Squared:
    return apart(torch.tensor(places, dtype=torch.float64)[:, None])


def chosen(weights: Squared) -> list[int]:
    return np.flatnonzero(weights).tolist()


def heavy(seed: int, n: int = 13, d: int = 6) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_t(1.5, size=(n, d)))


# Known answers


def test_multi_krum_by_hand() -> None:
    # n = 6, f = 1: three neighbours each. Scores of 0 1 2 4 10: 21, 11, 9, 29, 201.
    squared = on_a_line(60, 0, 1, 2, 4, 10)
    assert chosen(multi_krum_choice(squared, f=1)) == [1, 2, 3, 4, 5]
    assert multi_krum_choice(squared, f=1, m=2).tolist() == [0, 0, 0.5, 0.5, 0, 0]


def test_mda_by_hand() -> None:
    # Dropping 9 leaves a diameter of 5, dropping 0 one of 6. With two dropped, 3, 4 and 5 remain.
    squared = on_a_line(0, 3, 4, 5, 9)
    assert mda_choice(squared, f=1).tolist() == [0.25, 0.25, 0.25, 0.25, 0]
    assert chosen(mda_choice(squared, f=2)) == [1, 2, 3]


def test_dnc_by_hand() -> None:
    # Around their mean, 3, the rows lie at -3, -2, -1, -1 and 7: 12 goes. Of 0 1 2 2, 0 goes next.
    squared = on_a_line(0, 1, 2, 2, 12)
    assert dnc_choice(squared, f=1).tolist() == [0.25, 0.25, 0.25, 0.25, 0]
    assert chosen(dnc_choice(squared, f=2)) == [1, 2, 3]


def test_dnc_at_once_removes_along_one_direction_only() -> None:
    # Across, the rows lie at 0, and 9 / 7 is their mean: 12 lies furthest out, then -3. Once 12 is
    # gone, the long axis is the other one, on which 6 lies furthest out.
    rows = torch.tensor(
        [[-3, 0], [0, 0], [0, 0], [0, -1], [0, 6], [0, -5], [12, 0]], dtype=torch.float64
    )
    assert chosen(dnc_choice(apart(rows), f=2)) == [0, 1, 2, 3, 5]
    assert chosen(dnc_choice(apart(rows), f=2, at_once=True)) == [1, 2, 3, 4, 5]
    assert chosen(dnc_weights(rows, f=2, at_once=True).numpy()) == [1, 2, 3, 4, 5]


def test_of_rows_equal_along_the_direction_the_first_go_at_once() -> None:
    squared = on_a_line(0, 2, 2, 2, 0, 0, 2, 2, 2)
    # Around the mean 4/3, rows at 0 lie further out than rows at 2; after those the first at 2.
    assert chosen(dnc_choice(squared, f=4, at_once=True)) == [2, 3, 6, 7, 8]


# Equality with the rules on rows


@each_pair
@pytest.mark.parametrize("f", [0, 1, F])
@pytest.mark.parametrize("seed", range(4))
def test_a_choice_is_the_weights_of_the_rule_on_rows(name: str, f: int, seed: int) -> None:
    weigh, choose = PAIRS[name]
    rows = heavy(seed) + 3.0
    np.testing.assert_array_equal(choose(apart(rows), f=f), weigh(rows, f=f).numpy())


def liars_beside(kind: str, honest: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    noise = torch.randn(F, honest.shape[1], generator=draw, dtype=torch.float64)
    # Not quite equal: which of two equal rows `dnc` takes is a matter of rounding.
    little = (honest.mean(dim=0) - 1.2 * honest.std(dim=0)).expand(F, -1) + 1e-3 * noise
    return {
        "far": 1e6 * noise,
        "ladder": torch.diag(torch.tensor([1e9, 1e6, 1e3, 0, 0, 0], dtype=torch.float64))[:F],
        "a little is enough": little,
        "opposite": -5 * honest[:F],
        "near one honest row": honest[:1] + 1e-3 * noise,
    }[kind]


@each_pair
@pytest.mark.parametrize(
    "kind", ["far", "ladder", "a little is enough", "opposite", "near one honest row"]
)
@pytest.mark.parametrize("seed", range(2))
def test_a_choice_is_the_weights_of_the_rule_among_liars(name: str, kind: str, seed: int) -> None:
    weigh, choose = PAIRS[name]
    honest = torch.from_numpy(np.random.default_rng(seed).normal(size=(10, 6)))
    rows = torch.cat([honest, liars_beside(kind, honest)])
    np.testing.assert_array_equal(choose(apart(rows), f=F), weigh(rows, f=F).numpy())


@each_pair
@given(seed=st.integers(0, 2**32 - 1))
@deterministic
def test_the_order_of_the_rows_moves_with_the_weights(name: str, seed: int) -> None:
    squared = apart(heavy(seed))
    order = np.random.default_rng(seed).permutation(len(squared))
    _, choose = PAIRS[name]
    moved = choose(squared[np.ix_(order, order)], f=F)
    np.testing.assert_array_equal(moved, choose(squared, f=F)[order])


@each_pair
def test_a_choice_goes_by_ratios_of_distances_up_to_those_of_sketches(name: str) -> None:
    squared = apart(heavy(2))
    _, choose = PAIRS[name]
    expected = choose(squared, f=F)
    # Sketches of 1,024 words of 32 bits lie at most this far apart, squared.
    for scale in (2.0**-60, 2.0**74 / squared.max()):
        np.testing.assert_array_equal(choose(scale * squared, f=F), expected)


@each_pair
def test_weights_are_equal_sum_to_one_and_the_table_stays_as_it_is(name: str) -> None:
    squared = apart(heavy(4))
    before = squared.copy()
    weights = PAIRS[name][1](squared, f=F)
    assert weights.shape == (13,)
    assert weights.sum() == pytest.approx(1.0)
    assert len(set(weights[chosen(weights)])) == 1
    np.testing.assert_array_equal(squared, before)


@each_pair
def test_rows_that_are_all_equal_are_a_choice_like_any_other(name: str) -> None:
    weights = PAIRS[name][1](np.zeros((13, 13)), f=F)
    assert weights.sum() == pytest.approx(1.0)


def test_a_long_row_costs_the_choice_of_dnc_no_digits() -> None:
    honest = torch.from_numpy(np.random.default_rng(3).normal(size=(9, 4)))
    ladder = torch.tensor([[1e15, 0, 0, 0], [1e8, 0, 0, 0], [50, 0, 0, 0]], dtype=torch.float64)
    squared = apart(torch.cat([honest, ladder]))
    assert chosen(dnc_choice(squared, f=3)) == list(range(9))


# Refusals


def table(value: float) -> Squared:
    squared = on_a_line(*range(9))
    squared[2, 5] = squared[5, 2] = value
    return squared


@each_pair
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e301])
def test_distances_that_are_none_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"finite, 0 or more and at most 1e\+300"):
        PAIRS[name][1](table(value), f=1)


@each_pair
def test_distances_that_no_rows_have_are_refused(name: str) -> None:
    choose = PAIRS[name][1]
    lopsided = table(4.0)
    lopsided[5, 2] = 5.0
    with pytest.raises(ValueError, match="symmetric, and 0 from each row to itself"):
        choose(lopsided, f=1)
    with pytest.raises(ValueError, match="symmetric, and 0 from each row to itself"):
        choose(table(4.0) + np.eye(9), f=1)


@pytest.mark.parametrize(
    ("squared", "message"),
    [
        (np.zeros((9, 8)), r"square, \(n, n\), got shape \(9, 8\)"),
        (np.zeros((0, 0)), r"square, \(n, n\), got shape \(0, 0\)"),
        (np.zeros(9), r"square, \(n, n\), got shape \(9,\)"),
        (np.float64(3), "a numpy array of float64, got float64"),
        (np.zeros((9, 9), np.float32), "a numpy array of float64, got float32"),
        (torch.zeros(9, 9), "a numpy array of float64, got Tensor"),
        ([[0.0]], "a numpy array of float64, got list"),
    ],
    ids=["oblong", "empty", "flat", "scalar", "single", "tensor", "list"],
)
@each_pair
def test_what_is_no_table_of_floats_is_refused(name: str, squared: Squared, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PAIRS[name][1](squared, f=1)


def test_the_refusals_of_the_rules_are_those_of_their_choices() -> None:
    four = np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"multi_krum needs n >= 2f \+ 3, got n=4, f=1"):
        multi_krum_choice(four, f=1)
    with pytest.raises(ValueError, match=r"mda needs n >= 2f \+ 1, got n=4, f=2"):
        mda_choice(four, f=2)
    with pytest.raises(ValueError, match=r"dnc needs n >= 2f \+ 1, got n=4, f=2"):
        dnc_choice(four, f=2)
    with pytest.raises(ValueError, match="needs f >= 0, got f=-1"):
        dnc_choice(four, f=-1)
    with pytest.raises(ValueError, match="needs a whole number as f"):
        mda_choice(four, f=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("m", [0, -1, 6])
def test_multi_krum_averages_one_row_to_n_minus_f(m: int) -> None:
    with pytest.raises(ValueError, match=f"multi_krum needs an m of 1 to n - f = 5, got {m}"):
        multi_krum_choice(np.zeros((6, 6)), f=1, m=m)


@pytest.mark.parametrize("filter", [0.0, 0.5, 3.0, math.nan, math.inf])
def test_dnc_refuses_a_filter_that_removes_too_few_or_all(filter: float) -> None:
    with pytest.raises(ValueError, match="a filter of 1 or more that leaves a row of n=5, got"):
        dnc_choice(np.zeros((5, 5)), f=2, filter=filter)
