"""Rules that choose rows, except Krum: answers by hand, slow oracles, forms that return weights."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from defenses import (
    bucketing,
    bulyan,
    bulyan_minimum_rows,
    clip_norms,
    dnc,
    dnc_weights,
    krum,
    krum_weights,
    mda,
    mda_minimum_rows,
    mda_weights,
    meamed,
    monna,
    monna_weights,
    multi_krum,
    multi_krum_weights,
)
from defenses.rules import weights as weights_of_rules

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def heavy(n: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_t(1.5, size=(n, d)))


# Mean around the median


def test_meamed_by_hand() -> None:
    # Around 2: 2, 1, and 0 before 4.
    assert meamed(column(0, 1, 2, 4, 100), f=2).item() == pytest.approx(1.0)
    # Around 5: all except 100.
    assert meamed(column(0, 1, 5, 6, 100), f=1).item() == pytest.approx(3.0)
    # Around 3.5.
    assert meamed(column(0, 3, 4, 10), f=1).item() == pytest.approx(7 / 3)


def nearest_first(values: Sequence[float]) -> list[float]:
    center = float(np.median(values))
    return sorted(values, key=lambda value: (abs(value - center), value))


def slow_meamed(values: list[float], size: int) -> float:
    return float(np.mean(nearest_first(values)[:size]))


@given(st.lists(st.integers(-4, 4), min_size=3, max_size=9), st.integers(0, 4))
@deterministic
def test_meamed_keeps_the_nearest_values_however_many_are_equal(values: list[int], f: int) -> None:
    f = min(f, (len(values) - 1) // 2)
    expected = slow_meamed([float(value) for value in values], len(values) - f)
    for dtype in (torch.float32, torch.float64):
        assert meamed(column(*values).to(dtype), f=f).item() == pytest.approx(expected, rel=1e-6)


def test_equal_liars_do_not_stay_together() -> None:
    assert meamed(column(-5, -5, 0, 0, 1), f=1).item() == pytest.approx(-1.0)
    assert meamed(column(5, 5, 0, 0, -1), f=1).item() == pytest.approx(1.0)
    assert meamed(column(-5, -5, 6, 1, 0, 0, 0), f=2).item() == pytest.approx(-0.8)


def test_meamed_of_equal_rows_is_that_row() -> None:
    # 0.1 + 0.1 + 0.1 is more than 3 x 0.1.
    assert meamed(column(0.1, 0.1, 0.1, 0.1), f=1).item() == 0.1


# Multi-Krum


def test_multi_krum_by_hand() -> None:
    # n = 6, f = 1: three neighbours each. Scores of 0 1 2 4 10 60: 21, 11, 9, 29, 201, ...; the
    # five least count.
    rows = column(60, 0, 1, 2, 4, 10)
    assert multi_krum(rows, f=1).item() == pytest.approx(17 / 5)
    assert multi_krum(rows, f=1, m=3).item() == pytest.approx(1.0)
    assert multi_krum(rows, f=1, m=1).item() == krum(rows, f=1).item() == 2.0
    assert multi_krum_weights(rows, f=1, m=3).tolist() == pytest.approx(
        [0, 1 / 3, 1 / 3, 1 / 3, 0, 0]
    )


@pytest.mark.parametrize("m", [0, -1, 6])
def test_multi_krum_averages_one_row_to_n_minus_f(m: int) -> None:
    with pytest.raises(ValueError, match=f"multi_krum needs an m of 1 to n - f = 5, got {m}"):
        multi_krum(column(60, 0, 1, 2, 4, 10), f=1, m=m)


def test_a_row_set_aside_lowers_f_of_multi_krum() -> None:
    rows = column(0, math.nan, 1, 2, 4, 10)
    # f = 0 among five rows: all of them.
    assert multi_krum(rows, f=1).item() == pytest.approx(17 / 5)
    assert multi_krum_weights(rows, f=1).tolist() == pytest.approx([0.2, 0, 0.2, 0.2, 0.2, 0.2])


# Bulyan


def slow_bulyan(rows: Tensor, f: int) -> Tensor:
    """Returns the estimate by El Mhamdi et al., section 4, with `krum` written out."""
    remaining: list[list[float]] = [row.tolist() for row in rows]
    chosen: list[list[float]] = []
    while len(chosen) < len(rows) - 2 * f:
        neighbours = max(1, len(remaining) - f - 2)
        scores = []
        for i, own in enumerate(remaining):
            distances = [
                sum((a - b) ** 2 for a, b in zip(own, other, strict=True))
                for j, other in enumerate(remaining)
                if j != i
            ]
            scores.append(sum(sorted(distances)[:neighbours]))
        chosen.append(remaining.pop(scores.index(min(scores))))
    size = len(chosen) - 2 * f
    columns = [slow_meamed(list(values), size) for values in zip(*chosen, strict=True)]
    return torch.tensor(columns, dtype=rows.dtype)


@pytest.mark.parametrize(("n", "f"), [(3, 0), (7, 1), (9, 1), (11, 2), (16, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_bulyan_is_the_paper_written_out(n: int, f: int, seed: int) -> None:
    rows = heavy(n, 4, seed)
    torch.testing.assert_close(bulyan(rows, f=f), slow_bulyan(rows, f))


@given(st.data())
@deterministic
def test_bulyan_is_the_paper_on_ties_too(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(-2, 2), min_size=33, max_size=33))
    rows = torch.tensor(numbers, dtype=torch.float64).reshape(11, 3)
    torch.testing.assert_close(bulyan(rows, f=2), slow_bulyan(rows, 2))


def test_bulyan_says_how_many_rows_it_needs() -> None:
    assert [bulyan_minimum_rows(f) for f in range(3)] == [3, 7, 11]
    with pytest.raises(ValueError, match=r"bulyan needs n >= 4f \+ 3, got n=6, f=1"):
        bulyan(torch.zeros(6, 1), f=1)


# Minimum diameter


def slow_mda(rows: Tensor, f: int) -> tuple[float, float]:
    """Returns the least diameter of n - f rows, and the least total distance at that diameter."""
    squared = torch.cdist(rows, rows).square().numpy()
    results = []
    for chosen in itertools.combinations(range(len(rows)), len(rows) - f):
        among = squared[np.ix_(chosen, chosen)]
        results.append((float(among.max()), float(among.sum())))
    least = min(diameter for diameter, _ in results)
    return least, min(total for diameter, total in results if diameter <= least * (1 + 1e-12))


@given(st.data(), st.integers(0, 3), st.integers(0, 3))
@deterministic
def test_mda_finds_the_least_diameter_and_for_one_liar_the_least_total(
    data: st.DataObject, f: int, more: int
) -> None:
    n = 2 * f + 1 + more
    numbers = data.draw(st.lists(st.integers(-6, 6), min_size=2 * n, max_size=2 * n))
    rows = torch.tensor(numbers, dtype=torch.float64).reshape(n, 2)
    weights = mda_weights(rows, f=f)
    chosen = weights.nonzero().flatten().tolist()
    assert weights[chosen].tolist() == pytest.approx([1 / (n - f)] * (n - f))
    squared = torch.cdist(rows, rows).square().numpy()[np.ix_(chosen, chosen)]
    diameter, total = slow_mda(rows, f)
    assert float(squared.max()) == pytest.approx(diameter)
    assert float(squared.sum()) >= total * (1 - 1e-9)
    # With more liars, the first row to go may not be among those that should.
    if f <= 1:
        assert float(squared.sum()) == pytest.approx(total)
    torch.testing.assert_close(mda(rows, f=f), rows[chosen].mean(dim=0))


def test_mda_by_hand() -> None:
    # Dropping 9 leaves a diameter of 5, dropping 0 one of 6. With two dropped, 3, 4 and 5 remain.
    assert mda(column(0, 3, 4, 5, 9), f=1).item() == 3.0
    assert mda(column(0, 3, 4, 5, 9), f=2).item() == pytest.approx(4.0)
    assert mda(column(0, 3, 4, 5, 9), f=0).item() == pytest.approx(21 / 5)


def test_where_no_single_row_lowers_the_diameter_the_furthest_row_goes() -> None:
    assert mda_weights(column(5, 0, 0, 10, 10), f=1).tolist() == [0.25, 0.0, 0.25, 0.25, 0.25]


def test_of_covers_of_equal_size_the_cover_of_the_least_total_counts() -> None:
    # Without 0 or without 10 the diameter is 9; 0 is further from the other rows.
    assert mda_weights(column(0, 1, 9, 9, 10), f=1).tolist() == [0.0, 0.25, 0.25, 0.25, 0.25]
    assert mda_weights(column(10, 9, 1, 1, 0), f=1).tolist() == [0.0, 0.25, 0.25, 0.25, 0.25]


def test_many_colluders_cost_mda_no_time() -> None:
    rows = torch.cat([heavy(60, 3, 1), torch.full((30, 3), 1e6, dtype=torch.float64)])
    assert float(mda(rows, f=30).abs().max()) < 1e3


def test_mda_gives_up_with_a_sentence_where_the_search_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights_of_rules, "MAX_COVER_TRIALS", 3)
    message = "mda found no set of n - f rows within 3 trials: use a smaller f"
    with pytest.raises(ValueError, match=message):
        mda(heavy(15, 4, 1), f=5)


def test_liars_each_far_from_one_honest_row_cost_mda_seconds_at_most() -> None:
    draw = torch.Generator().manual_seed(1)
    honest = torch.randn(80, 100, generator=draw, dtype=torch.float64)
    liars = -honest[:20] / 2 + 0.75**0.5 * torch.randn(20, 100, generator=draw, dtype=torch.float64)
    assert mda(torch.cat([honest, liars]), f=20).isfinite().all()


def test_mda_takes_the_best_set_of_those_tried_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of eight liars is opposite to an honest row: few of 256 smallest sets are tried."""
    honest = torch.cat([torch.eye(8, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.float64)])
    rows = torch.cat([honest, -honest[:8]])
    monkeypatch.setattr(weights_of_rules, "MAX_COVER_TRIALS", 40)
    chosen = mda_weights(rows, f=8).nonzero().flatten().tolist()
    assert len(chosen) == 16
    assert not any(i in chosen and 16 + i in chosen for i in range(8))


def test_mda_says_how_many_rows_it_needs() -> None:
    assert [mda_minimum_rows(f) for f in range(3)] == [1, 3, 5]
    with pytest.raises(ValueError, match=r"mda needs n >= 2f \+ 1, got n=4, f=2"):
        mda(torch.zeros(4, 1), f=2)


# MoNNA


def test_monna_by_hand() -> None:
    rows = column(10, 0, 1, 3, -50)
    assert monna(rows, f=2, pivot=1).item() == pytest.approx(4 / 3)
    assert monna(rows, f=2, pivot=4).item() == pytest.approx(-49 / 3)
    assert monna(rows, f=0, pivot=3).item() == pytest.approx(-36 / 5)


def test_monna_counts_its_pivot_before_rows_equal_to_it() -> None:
    assert monna(column(1, 1, 1, 7, 7), f=2, pivot=2).item() == 1.0


def test_the_pivot_keeps_its_number_where_rows_are_set_aside() -> None:
    rows = column(math.nan, 0, math.inf, 8, 1, 9)
    assert monna(rows, f=2, pivot=3).item() == pytest.approx(18 / 4)
    assert monna(rows, f=2, pivot=5).item() == pytest.approx(18 / 4)


@pytest.mark.parametrize("pivot", [-1, 5])
def test_monna_refuses_a_pivot_that_is_not_there(pivot: int) -> None:
    with pytest.raises(ValueError, match=f"monna needs a pivot of 0 to 4, got {pivot}"):
        monna(column(10, 0, 1, 3, -50), f=1, pivot=pivot)


def test_monna_does_not_guess_its_pivot_where_rows_moved_up() -> None:
    rows = column(math.nan, 0, 1000, 1, 1001, 2, 3, 4)
    assert monna(rows, f=3, pivot=1).item() == 2.0
    mixed = clip_norms(rows, radius=1e9)
    assert (mixed.shape, mixed.set_aside) == ((7, 1), 1)
    with pytest.raises(
        ValueError,
        match=r"monna cannot tell its pivot behind a pre-filter that set 1 row\(s\) aside",
    ):
        monna(mixed, f=3, pivot=1)
    assert monna(clip_norms(rows[1:], radius=1e9), f=2, pivot=0).item() == 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rows: krum(rows, f=2.0), "krum needs a whole number as f, got 2.0"),  # type: ignore[arg-type]
        (
            lambda rows: multi_krum(rows, f=1, m=2.5),  # type: ignore[arg-type]
            "multi_krum needs a whole number as m, got 2.5",
        ),
        (lambda rows: monna(rows, f=1, pivot=1.5), "monna needs a whole number as pivot, got 1.5"),  # type: ignore[arg-type]
        (
            lambda rows: bucketing(rows, size=1.5, generator=torch.Generator()),  # type: ignore[arg-type]
            "bucketing needs a whole number as size",
        ),
        (
            lambda rows: krum(rows.numpy(), f=1),
            "rows must be a torch.Tensor or a Mixture, got ndarray",
        ),
        (
            lambda rows: krum(rows.tolist(), f=1),
            "rows must be a torch.Tensor or a Mixture, got list",
        ),
    ],
)
def test_arguments_of_another_type_are_named_in_the_refusal(
    call: Callable[[Tensor], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(9, 2))


def test_monna_refuses_a_pivot_that_was_set_aside() -> None:
    with pytest.raises(ValueError, match="monna cannot trust row 0, which was set aside"):
        monna(column(math.nan, 0, 1), f=1, pivot=0)


# Divide and conquer


def slow_dnc(rows: Tensor, removed: int) -> Tensor:
    """Returns the estimate by singular value decompositions of the centred, remaining rows."""
    for _ in range(removed):
        centred = rows - rows.mean(dim=0)
        furthest = (centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]).abs().argmax()
        rows = torch.cat([rows[:furthest], rows[furthest + 1 :]])
    return rows.mean(dim=0)


@pytest.mark.parametrize("filter", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_dnc_removes_the_rows_furthest_along_the_first_singular_vector(
    seed: int, filter: float
) -> None:
    rows = heavy(11, 4, seed) + 5.0
    torch.testing.assert_close(dnc(rows, f=3, filter=filter), slow_dnc(rows, math.ceil(3 * filter)))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_no_liar_hides_from_dnc_behind_a_longer_one(offset: float) -> None:
    honest = torch.from_numpy(np.random.default_rng(1).normal(size=(16, 10))) + offset
    ladder = torch.zeros(4, 10, dtype=torch.float64)
    for lengths in ((1e17, 1e16, 1e15, 1e14), (1e6, 1e5, 1e4, 1e3), (1e17, -1e10, 1e3, 1e2)):
        ladder[:, 0] = torch.tensor(lengths)
        ladder[1, 1] = 1e10
        estimate = dnc(torch.cat([honest, ladder]), f=4)
        assert float((estimate - honest.mean(dim=0)).abs().max()) < 1e-6


def test_dnc_by_hand() -> None:
    rows = torch.tensor(
        [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [9.0, 0.0], [1.0, 0.5]], dtype=torch.float64
    )
    assert dnc(rows, f=1).tolist() == pytest.approx([1.0, 0.125])
    assert dnc(rows, f=0).tolist() == pytest.approx([2.6, 0.1])


@pytest.mark.parametrize("filter", [0.0, 0.5, 3.0, math.nan, math.inf])
def test_dnc_refuses_a_filter_that_removes_too_few_or_all(filter: float) -> None:
    with pytest.raises(
        ValueError, match="dnc needs a filter of 1 or more that leaves a row of n=5, got"
    ):
        dnc(column(1, 2, 3, 4, 5), f=2, filter=filter)


# Weights


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        (krum, krum_weights),
        (multi_krum, multi_krum_weights),
        (mda, mda_weights),
        (dnc, dnc_weights),
        (partial(monna, pivot=3), partial(monna_weights, pivot=3)),
    ],
)
@pytest.mark.parametrize("bad", [None, 0, 5])
def test_weights_times_rows_is_the_rule(
    rule: Callable[..., Tensor], weights: Callable[..., Tensor], bad: int | None
) -> None:
    rows = heavy(9, 5, 3)
    if bad is not None:
        rows[bad, 2] = math.nan
    result = weights(rows, f=2)
    assert result.shape == (9,)
    assert result.sum().item() == pytest.approx(1.0)
    assert bad is None or result[bad] == 0.0
    torch.testing.assert_close(result @ rows.nan_to_num(), rule(rows, f=2))
