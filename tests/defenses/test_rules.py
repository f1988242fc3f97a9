"""Mean, median, trimmed mean and Krum: known answers by hand, properties, slow oracles."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from defenses import krum, krum_minimum_rows, mean, median, trimmed_mean, trimmed_mean_minimum_rows

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
DTYPES = [torch.float32, torch.float64]
NAN, INF = math.nan, math.inf
BAD = [NAN, INF, -INF, 1e19, -1e30]

Rule = Callable[[Tensor, int], Tensor]
WITH_F: dict[str, Rule] = {
    "trimmed_mean": lambda rows, f: trimmed_mean(rows, f=f),
    "krum": lambda rows, f: krum(rows, f=f),
}
ROBUST: dict[str, Rule] = {"median": lambda rows, _: median(rows), **WITH_F}
RULES: dict[str, Rule] = {"mean": lambda rows, _: mean(rows), **ROBUST}


def column(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype).unsqueeze(1)


@st.composite
def tables(draw: st.DrawFn, smallest: int = 5) -> Tensor:
    """Draws (n, d) small integers as float64, so that sums, distances and scores are exact.

    n >= 5 serves f = 1.
    """
    n = draw(st.integers(smallest, 9))
    d = draw(st.integers(1, 4))
    row = st.lists(st.integers(-20, 20), min_size=d, max_size=d)
    return torch.tensor(draw(st.lists(row, min_size=n, max_size=n)), dtype=torch.float64)


@st.composite
def honest_and_liars(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Draws more than f honest rows, all rows with f lies of any value among them, and f."""
    f = draw(st.integers(0, 3))
    d = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from(DTYPES))

    def some(count: int, values: st.SearchStrategy[float]) -> Tensor:
        cells = draw(st.lists(values, min_size=count * d, max_size=count * d))
        return torch.tensor(cells, dtype=dtype).reshape(count, d)

    honest = some(f + 1 + draw(st.integers(0, 3)), st.floats(-1e6, 1e6, width=32))
    lies = some(f, st.floats(width=32) | st.sampled_from([1e30, -1e30, 1e17, -1e17]))
    order = draw(st.permutations(range(len(honest) + f)))
    return honest, torch.cat([honest, lies])[list(order)], f


def krum_scores(rows: list[list[float]], f: int) -> list[float]:
    """Returns Krum's scores by Blanchard et al., section 4, one float at a time."""
    scores = []
    for i, own in enumerate(rows):
        distances = sorted(
            sum((a - b) ** 2 for a, b in zip(own, other, strict=True))
            for j, other in enumerate(rows)
            if j != i
        )
        scores.append(sum(distances[: len(rows) - f - 2]))
    return scores


# Mean


def test_mean_known_answer() -> None:
    rows = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    assert mean(rows).tolist() == [3.0, 30.0]


def test_mean_weighs_rows_and_normalises() -> None:
    # By hand (1 + 4 + 30) / 8. Weights ignored: 3; not normalised: 35; divided by n: 11.67.
    assert mean(column(1, 2, 6), weights=torch.tensor([1.0, 2.0, 5.0])).item() == pytest.approx(
        4.375, rel=1e-15
    )


def test_mean_drops_a_non_finite_row_together_with_its_weight() -> None:
    rows, weights = column(1, NAN, 6, -INF), torch.tensor([1.0, NAN, 3.0, -7.0])
    assert mean(rows, weights=weights).item() == pytest.approx(19 / 4, rel=1e-15)
    assert mean(rows).item() == 3.5


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_mean_drops_a_row_that_is_not_finite(bad: float) -> None:
    assert mean(column(1, bad, 3)).item() == 2.0


def test_mean_is_not_robust_and_keeps_a_huge_finite_row() -> None:
    assert mean(column(0, 3e30)).item() == 1.5e30


def test_mean_of_float32_does_not_lose_digits() -> None:
    # In float32, 2^24 + 1 + 1 + 2 is 2^24 + 2, a quarter of which is 4194304.5.
    assert mean(column(2**24, 1, 1, 2, dtype=torch.float32)).item() == 4194305.0
    # 2^24 + 9 is no float32, whatever the order of the sum.
    assert mean(column(2**24, *[1] * 9, dtype=torch.float32)).item() == 1677722.5
    assert mean(column(3e38, 3e38, 3e38, dtype=torch.float32)).item() == pytest.approx(3e38)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(20))
def test_mean_of_the_largest_floats_is_finite(seed: int, dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    weights = torch.rand(
        2 + seed, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    rows = torch.full((2 + seed, 1), largest, dtype=dtype)
    assert mean(rows, weights=weights).item() == pytest.approx(largest)
    assert mean(-rows, weights=1e307 * weights).item() == pytest.approx(-largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [1.0, 1e308, 5e-324])
def test_mean_does_not_overflow_on_the_way(weight: float, dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    rows = column(*[largest] * 5, *[-largest] * 2, dtype=dtype)
    weights = torch.full((7,), weight, dtype=torch.float64)
    assert mean(rows, weights=weights).item() == pytest.approx(3 / 7 * largest)


@deterministic
@given(tables(smallest=1), st.data())
def test_mean_agrees_with_numpy(rows: Tensor, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(1e-3, 1e3), min_size=len(rows), max_size=len(rows)))
    expected = np.average(rows.numpy(), axis=0, weights=weights)
    result = mean(rows, weights=torch.tensor(weights, dtype=torch.float64))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_mean_of_no_finite_row_is_refused() -> None:
    with pytest.raises(ValueError, match="mean needs a finite row, all n=2 were set aside"):
        mean(column(NAN, INF))


@pytest.mark.parametrize("weight", [0.0, -1.0, NAN, INF])
def test_mean_refuses_a_weight_that_is_not_positive_and_finite(weight: float) -> None:
    message = f"weights must be finite and positive for every finite row, got {weight:g}"
    with pytest.raises(ValueError, match=message):
        mean(column(1, 2), weights=torch.tensor([1.0, weight]))


@pytest.mark.parametrize("shape", [(3,), (2, 1), ()])
def test_mean_refuses_weights_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"weights must have shape \(2,\), got \("):
        mean(column(1, 2), weights=torch.ones(shape))


# Median


def test_median_known_answers() -> None:
    # Even n: the lower median is 2, the upper 4, the mean 26.75. Rows are not sorted as a whole.
    assert median(torch.tensor([[100.0, 2.0], [1.0, 100.0], [4.0, 1.0], [2.0, 4.0]])).tolist() == [
        3.0,
        3.0,
    ]
    assert median(column(100, 1, 2)).item() == 2.0
    assert median(column(7)).item() == 7.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_median_midpoint_does_not_overflow(dtype: torch.dtype) -> None:
    assert median(column(1e18, 1e18, dtype=dtype)).item() == pytest.approx(1e18)
    assert median(column(1e18, -1e18, dtype=dtype)).item() == 0.0


def test_median_sets_bad_rows_aside_instead_of_sorting_them() -> None:
    # NaN and infinity sort last: with the bad rows, the middle values would be 7 and 1e19.
    assert median(column(NAN, 1, INF, 3, 7, 1e19)).item() == 3.0


def test_median_of_no_row_left_is_refused() -> None:
    with pytest.raises(ValueError, match="median needs a row, all n=3 were set aside"):
        median(column(NAN, 1e19, INF))


@deterministic
@given(tables(smallest=1))
def test_median_agrees_with_numpy(rows: Tensor) -> None:
    assert np.array_equal(median(rows).numpy(), np.median(rows.numpy(), axis=0))


# Trimmed mean


def test_trimmed_mean_known_answer() -> None:
    # (1 + 2 + 6) / 3. One side only: 2.25 or 27.25; divided by n: 1.8; median: 2; mean: 21.8.
    assert trimmed_mean(column(6, 100, 0, 2, 1), f=1).item() == 3.0
    assert trimmed_mean(column(6, 100, 0, 2, 1), f=2).item() == 2.0
    assert trimmed_mean(column(6, 100, 0, 2, 2), f=0).item() == 22.0


def test_trimmed_mean_trims_each_coordinate_on_its_own() -> None:
    # Dropping whole rows (the first and last by the first coordinate) would leave 5 in the second.
    rows = torch.tensor([[0.0, 1.0], [1.0, 9.0], [2.0, 1.0], [100.0, 2.0]])
    assert trimmed_mean(rows, f=1).tolist() == [1.5, 1.5]


def test_trimmed_mean_sums_the_values_that_it_keeps() -> None:
    # The total minus the extremes, 1e17 + 2 + 3 + 4 - 0 - 1e17, is 16 or 0 in float64, never 9.
    assert trimmed_mean(column(1e17, 2, 3, 4, 0), f=1).item() == 3.0
    assert trimmed_mean(column(1e17, 2, 3, 4, -1e17), f=1).item() == 3.0


def test_trimmed_mean_of_equal_rows_is_that_row() -> None:
    # In float64, (0.1 + 0.1 + 0.1) / 3 is above 0.1.
    assert trimmed_mean(column(0.1, 0.1, 0.1), f=0).item() == 0.1
    assert trimmed_mean(column(-0.1, -0.1, -0.1), f=0).item() == -0.1


def test_trimmed_mean_of_float32_does_not_lose_digits() -> None:
    # In float32, 1 is lost next to 2^30, and the mean comes out as 0.
    assert trimmed_mean(column(-(2**30), 1, 1, 2**30, dtype=torch.float32), f=0).item() == 0.5


@deterministic
@given(tables(), st.integers(0, 2))
def test_trimmed_mean_agrees_with_numpy(rows: Tensor, f: int) -> None:
    expected = np.sort(rows.numpy(), axis=0)[f : len(rows) - f].mean(axis=0)
    np.testing.assert_allclose(trimmed_mean(rows, f=f).numpy(), expected, rtol=1e-14)


# Krum


def test_krum_known_answer() -> None:
    # By hand, n - f - 2 = 2 neighbours: scores 26, 18, 17, 25, 45. The usual slips
    # (n - f - 1 neighbours, fourth powers, self counted) elect 6, 9 and 1 instead.
    rows = torch.tensor([[1.0], [9.0], [2.0], [6.0], [12.0]])
    assert krum(rows, f=1) == 2.0


def test_krum_counts_an_equal_row_as_a_neighbour_and_itself_not() -> None:
    # Scores 8, 4, 13, 4, 29. If every zero distance counted as the row itself, 0 would score 29 and
    # 2 would win.
    assert krum(column(2, 0, 5, 0, 7), f=1).item() == 0.0
    assert krum(column(4, 4, 4), f=0).item() == 4.0


def test_krum_takes_the_first_of_equal_scores() -> None:
    assert krum(column(5, 7, 100), f=0).item() == 5.0
    assert krum(column(100, 7, 5), f=0).item() == 7.0


@deterministic
@given(tables(), st.integers(0, 1))
def test_krum_agrees_with_a_loop_over_floats(rows: Tensor, f: int) -> None:
    scores = krum_scores(rows.tolist(), f)
    assert torch.equal(krum(rows, f=f), rows[scores.index(min(scores))])


@pytest.mark.parametrize("f", range(5))
def test_krum_agrees_with_the_loop_on_more_rows_and_floats(f: int) -> None:
    rows = torch.randn(11, 30, generator=torch.Generator().manual_seed(f), dtype=torch.float64)
    scores = krum_scores(rows.tolist(), f)
    assert torch.equal(krum(rows, f=f), rows[scores.index(min(scores))])


@pytest.mark.parametrize("seed", range(10))
def test_krum_elects_the_same_row_far_from_the_origin(seed: int) -> None:
    rows = 1e-4 * torch.randn(
        8, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    elected = (rows == krum(rows, f=2)).all(dim=1)
    assert elected.sum() == 1
    assert torch.equal(krum(rows + 1e3, f=2), (rows + 1e3)[elected].squeeze(0))


@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 1024.0), (torch.float64, 2.0**33)])
@pytest.mark.parametrize("seed", range(10))
def test_krum_sees_differences_that_squared_norms_would_cancel(
    seed: int, dtype: torch.dtype, offset: float
) -> None:
    # Multiples of 2^-13, about 1e-4, are exact next to either offset; their squares are not.
    units = torch.randint(-9, 10, (8, 20), generator=torch.Generator().manual_seed(seed))
    rows = units.to(dtype) * 2.0**-13
    assert torch.equal(krum(rows + offset, f=2), krum(rows, f=2) + offset)


@pytest.mark.parametrize("dtype", DTYPES)
def test_krum_distances_do_not_overflow_just_below_the_screen(dtype: torch.dtype) -> None:
    # Scores 125, 50, 34, 45, 117, times 5000 * 1e34: every one of them is beyond float32.
    rows = column(-1e18, -5e17, 0, 3e17, 9e17, dtype=dtype).expand(5, 5000)
    assert torch.equal(krum(rows, f=1), rows[2])


def test_krum_adds_up_all_columns() -> None:
    # By hand, the first column alone scores 26, 2, 17, 5, 5, the last one alone 5, 10, 26, 13, 17,
    # and both together 87, 47, 67, 30, 37.
    rows = torch.zeros(5, 10_000)
    rows[:, 0] = torch.tensor([9.0, 3.0, 8.0, 2.0, 4.0])
    rows[:, -1] = torch.tensor([2.0, 1.0, 9.0, 4.0, 8.0])
    assert torch.equal(krum(rows, f=1), rows[3])


@pytest.mark.parametrize("lie", [1e17, -1e18, 1e30, INF, NAN])
@pytest.mark.parametrize("seed", range(5))
def test_krum_never_elects_f_colluders_however_far(seed: int, lie: float) -> None:
    honest = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([torch.full((2, 3), lie), honest])
    assert (honest == krum(rows, f=2)).all(dim=1).any()


def test_krum_returns_a_copy() -> None:
    rows = column(1, 2, 3)
    elected = krum(rows, f=0)
    elected.fill_(9.0)
    assert rows.flatten().tolist() == [1.0, 2.0, 3.0]
    # No view that keeps the other rows in memory.
    assert elected.untyped_storage().nbytes() == 8


# Rows set aside


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_row_set_aside_uses_up_one_f(place: int, bad: float) -> None:
    # With f = 2 still, Krum would need 7 rows and the trimmed mean would be the median, 6 and 2.
    values = [1.0, 9.0, 2.0, 6.0, 12.0]
    values.insert(place, bad)
    assert krum(column(*values), f=2).item() == 2.0
    values = [6.0, 100.0, 0.0, 2.0, 1.0]
    values.insert(place, bad)
    assert trimmed_mean(column(*values), f=2).item() == 3.0


@pytest.mark.parametrize("name", WITH_F)
def test_as_many_rows_set_aside_as_f_leave_a_rule_without_liars(name: str) -> None:
    rows = column(NAN, 3, 3, INF, 3, 5)
    assert WITH_F[name](rows, 2).item() == {"krum": 3.0, "trimmed_mean": 3.5}[name]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", WITH_F)
def test_more_rows_set_aside_than_f_are_refused(name: str, bad: float) -> None:
    rows = column(1, bad, 2, 3, bad, 4, 5)
    with pytest.raises(ValueError, match=f"{name} set aside 2 of n=7 rows, more than f=1"):
        WITH_F[name](rows, 1)


# Needs


@pytest.mark.parametrize("f", range(4))
def test_each_rule_works_on_its_minimum_and_on_no_fewer(f: int) -> None:
    assert krum_minimum_rows(f) == 2 * f + 3
    assert trimmed_mean_minimum_rows(f) == 2 * f + 1
    assert krum(torch.ones(2 * f + 3, 2), f=f).tolist() == [1.0, 1.0]
    assert trimmed_mean(torch.ones(2 * f + 1, 2), f=f).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=rf"^krum needs n >= 2f \+ 3, got n={2 * f + 2}, f={f}$"):
        krum(torch.ones(2 * f + 2, 2), f=f)


def test_trimmed_mean_says_how_many_rows_it_needs() -> None:
    with pytest.raises(ValueError, match=r"^trimmed_mean needs n >= 2f \+ 1, got n=4, f=2$"):
        trimmed_mean(torch.ones(4, 2), f=2)


def test_the_need_is_checked_on_the_remaining_rows() -> None:
    assert krum(column(NAN, 1, 1, 2), f=1).item() == 1.0  # 3 rows, f = 0
    with pytest.raises(ValueError, match=r"krum needs n >= 2f \+ 3, got n=2, f=0 \(1 set aside\)"):
        krum(column(NAN, 1, 2), f=1)
    with pytest.raises(
        ValueError, match=r"trimmed_mean needs n >= 2f \+ 1, got n=0, f=0 \(1 set aside\)"
    ):
        trimmed_mean(column(NAN), f=1)


def test_an_f_that_is_no_whole_number_is_refused() -> None:
    for rule in (krum, trimmed_mean):
        with pytest.raises(ValueError, match=r"needs a whole number as f, got 1\.5"):
            rule(torch.zeros(9, 1), f=1.5)  # type: ignore[arg-type]


def test_weights_that_require_a_gradient_count_as_numbers() -> None:
    assert mean(column(1, 4), weights=torch.tensor([1.0, 2.0], requires_grad=True)).item() == 3.0


def test_a_negative_f_is_refused() -> None:
    rows = torch.ones(5, 2)
    with pytest.raises(ValueError, match="krum needs f >= 0, got f=-1"):
        krum(rows, f=-1)
    with pytest.raises(ValueError, match="krum needs f >= 0, got f=-1"):
        krum_minimum_rows(-1)
    with pytest.raises(ValueError, match="trimmed_mean needs f >= 0, got f=-1"):
        trimmed_mean(rows, f=-1)
    with pytest.raises(ValueError, match="trimmed_mean needs f >= 0, got f=-1"):
        trimmed_mean_minimum_rows(-1)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_refuses_what_is_not_a_table_of_float_rows(name: str) -> None:
    for rows, message in [
        (torch.ones(3), r"rows must be 2-D, \(n, d\), got shape \(3,\)"),
        (torch.ones(0, 3), r"rows must have n >= 1, got shape \(0, 3\)"),
        (torch.ones(3, 3, dtype=torch.int64), r"rows must be float32 or float64, got torch\.int64"),
    ]:
        with pytest.raises(ValueError, match=message):
            RULES[name](rows, 0)


# Properties


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_dtype_and_shape_and_leaves_its_input_alone(
    name: str, dtype: torch.dtype
) -> None:
    rows = torch.tensor(
        [[3.0, 1.0], [NAN, 2.0], [2.0, 5.0], [1.0, 4.0], [0.0, 0.0], [9.0, 9.0]], dtype=dtype
    )
    before = rows.clone()
    estimate = RULES[name](rows, 2)
    assert estimate.dtype is dtype
    assert estimate.shape == (2,)
    assert estimate.isfinite().all()
    estimate.fill_(7.0)
    assert torch.equal(rows.nan_to_num(-7.0), before.nan_to_num(-7.0))


@pytest.mark.parametrize("name", RULES)
def test_one_row_or_no_column_is_enough_where_the_rule_allows_it(name: str) -> None:
    assert RULES[name](torch.zeros(5, 0), 1).shape == (0,)
    if name != "krum":
        row = torch.tensor([[2.0, -3.0]])
        estimate = RULES[name](row, 0)
        assert torch.equal(estimate, row[0])
        estimate.fill_(7.0)
        assert row.tolist() == [[2.0, -3.0]]


@pytest.mark.parametrize("name", ["mean", "median", "trimmed_mean"])
@deterministic
@given(rows=tables(), data=st.data())
def test_the_order_of_the_rows_does_not_matter(
    name: str, rows: Tensor, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    assert torch.equal(RULES[name](rows[list(order)], 1), RULES[name](rows, 1))


@deterministic
@given(tables(), st.data())
def test_the_order_of_the_rows_matters_to_krum_only_among_equals(
    rows: Tensor, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    scores = krum_scores(rows.tolist(), 1)
    elected = (rows == krum(rows[list(order)], f=1)).all(dim=1)
    assert all(scores[i] == min(scores) for i in elected.nonzero().flatten().tolist())


@pytest.mark.parametrize("name", RULES)
@deterministic
@given(rows=tables(), exponent=st.integers(-30, 30))
def test_scaled_rows_give_a_scaled_estimate(name: str, rows: Tensor, exponent: int) -> None:
    assert torch.equal(RULES[name](2.0**exponent * rows, 1), 2.0**exponent * RULES[name](rows, 1))


@pytest.mark.parametrize("name", RULES)
@deterministic
@given(rows=tables(), shift=st.integers(-1000, 1000))
def test_shifted_rows_give_a_shifted_estimate(name: str, rows: Tensor, shift: int) -> None:
    torch.testing.assert_close(
        RULES[name](rows + shift, 1), RULES[name](rows, 1) + shift, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
@deterministic
@given(drawn=honest_and_liars())
def test_f_liars_cannot_leave_the_honest_box(name: str, drawn: tuple[Tensor, Tensor, int]) -> None:
    honest, rows, f = drawn
    estimate = ROBUST[name](rows, f)
    assert (estimate >= honest.amin(dim=0)).all()
    assert (estimate <= honest.amax(dim=0)).all()


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("lie", [1e17, -1e17, 1e30, -1e30])
def test_one_liar_moves_every_robust_rule_by_at_most_the_honest_spread(
    name: str, lie: float
) -> None:
    honest = [1.0, 2.0, 3.0, 4.0]
    for place in range(5):
        values = [*honest[:place], lie, *honest[place:]]
        assert 1.0 <= ROBUST[name](column(*values), 1).item() <= 4.0
        assert abs(mean(column(*values)).item()) > 1e16
