"""Attacks from honest rows: hand-worked answers, and promises on random rows."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attacks import (
    a_little_is_enough,
    adaptive,
    adaptive_weight,
    fang_krum,
    fang_trimmed_mean,
    inner_product,
    mimic,
    min_max,
    min_sum,
    most_deviations,
    non_finite,
    zero,
)
from defenses import geometric_median_weights, krum, median

Attack = Callable[[Tensor, int], Tensor]
ATTACKS: dict[str, Attack] = {
    "zero": zero,
    "non_finite": non_finite,
    "inner_product": lambda rows, f: inner_product(rows, f, scale=0.5),
    "a_little_is_enough": lambda rows, f: a_little_is_enough(rows, f, 20, z=1.2),
    "min_max": min_max,
    "min_sum": min_sum,
    "mimic": mimic,
    "fang_krum": lambda rows, f: fang_krum(rows, f, krum=lambda sent: krum(sent, f=f)),
    "fang_trimmed_mean": lambda rows, f: fang_trimmed_mean(
        rows, f, generator=torch.Generator().manual_seed(1)
    ),
    "adaptive": lambda rows, f: adaptive(rows, f, rule=median),
    "adaptive_weight": lambda rows, f: adaptive_weight(rows, f, weigh=geometric_median_weights),
}
each = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
SQUARE = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def some_rows(seed: int, h: int = 6, d: int = 9) -> Tensor:
    return torch.randn(h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- all of them


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("f", [1, 4])
def test_f_rows_of_the_honest_dtype_come_out_and_honest_rows_stay_as_they_are(
    attack: Attack, dtype: torch.dtype, f: int
) -> None:
    rows = some_rows(1).to(dtype)
    before = rows.clone()
    sent = attack(rows, f)
    assert sent.shape == (f, 9)
    assert sent.dtype == dtype
    assert torch.equal(rows, before)


@each
def test_no_row_to_send_and_no_honest_row_are_refused(attack: Attack) -> None:
    with pytest.raises(ValueError, match="needs f >= 1 rows to send, got f=0"):
        attack(some_rows(1), 0)
    with pytest.raises(
        ValueError, match=r"rows must be 2-D, \(f, d\), with f >= 1, got shape \(0, 3\)"
    ):
        attack(torch.zeros(0, 3), 1)
    with pytest.raises(ValueError, match=r"rows must be float32 or float64, got torch\.int64"):
        attack(torch.ones(2, 2, dtype=torch.int64), 1)


# --- known answers


def test_zero_sends_nothing() -> None:
    assert torch.equal(zero(SQUARE, 2), torch.zeros(2, 2))


def test_non_finite_sends_every_kind() -> None:
    sent = non_finite(SQUARE, 4)
    assert sent[0].isnan().all()
    assert sent[1].tolist() == [math.inf, math.inf]
    assert sent[2].tolist() == [-math.inf, -math.inf]
    assert sent[3].isnan().all()


def test_inner_product_known_answer() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [4.0, 3.0]])  # mean (2, 1), median (1, 0)
    assert inner_product(rows, 2, scale=0.5).tolist() == [[-1.0, -0.5], [-1.0, -0.5]]


@pytest.mark.parametrize("seed", range(5))
def test_inner_product_reverses_the_mean_once_its_scale_exceeds_the_odds(seed: int) -> None:
    rows, f = some_rows(seed), 2
    for scale, turned in ((2.9, False), (3.1, True)):  # (n - f) / f = 3
        mean = torch.cat([rows, inner_product(rows, f, scale=scale)]).mean(dim=0)
        assert bool(mean @ rows.mean(dim=0) < 0) is turned


def test_a_little_is_enough_known_answer() -> None:
    rows = torch.tensor([[1.0, 5.0], [3.0, 5.0]])  # mean (2, 5), sample deviation (sqrt 2, 0)
    assert a_little_is_enough(rows, 1, 3, z=2.0)[0].tolist() == pytest.approx(
        [2 - 2 * math.sqrt(2), 5.0]
    )
    assert torch.equal(a_little_is_enough(rows[:1], 2, 9, z=2.0), rows[:1].repeat(2, 1))


@pytest.mark.parametrize(
    ("n", "f", "share"),
    [
        (50, 24, 24 / 26),  # the source's: s = 26 - 24 = 2
        (50, 12, 24 / 38),
        (20, 4, 9 / 16),
        (21, 4, 10 / 17),
        (10, 2, 4 / 8),
    ],
)
def test_most_deviations_known_answers(n: int, f: int, share: float) -> None:
    z = most_deviations(n, f)
    assert 0.5 * math.erfc(-z / math.sqrt(2)) == pytest.approx(share, abs=1e-12)


def test_most_deviations_at_the_ends() -> None:
    assert most_deviations(50, 24) == pytest.approx(1.426, abs=1e-3)
    assert most_deviations(5, 3) == math.inf  # a majority needs nobody
    assert most_deviations(4, 1) < 0  # 2 of 3 honest rows would have to be further out
    for n, f in ((4, 0), (4, 4)):
        with pytest.raises(ValueError, match=f"most_deviations needs 1 <= f < n, got f={f}, n={n}"):
            most_deviations(n, f)


def test_a_little_is_enough_takes_the_most_deviations_and_none_where_it_cannot_hide() -> None:
    rows = some_rows(3)
    expected = rows.mean(dim=0) - most_deviations(20, 4) * rows.std(dim=0)
    assert torch.allclose(a_little_is_enough(rows, 4, 20)[0], expected)
    assert torch.allclose(a_little_is_enough(rows, 1, 4)[0], rows.mean(dim=0))
    with pytest.raises(ValueError, match="needs z where f has a majority, got f=3, n=5"):
        a_little_is_enough(rows, 3, 5)
    for z in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="a_little_is_enough needs z finite and > 0"):
            a_little_is_enough(rows, 1, 4, z=z)


def test_min_max_known_answer() -> None:
    # Mean (2, 2) and equal deviations: it moves along (-1, -1). The largest distance, sqrt 32, is
    # reached at (0, 0), seen from (4, 4).
    assert min_max(SQUARE, 1)[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_min_sum_known_answer() -> None:
    # Sums of squared distances: 64 at each corner, 32 at the mean. Moving by (g, g) adds
    # 4 x 2 g^2, which is 32 for g = 2.
    assert min_sum(SQUARE, 1)[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    lopsided = torch.tensor(
        [[0.0], [0.0], [3.0]]
    )  # sums 9, 9, 18; 6 at the mean 1; 3 (x - 1)^2 = 12
    assert min_sum(lopsided, 1)[0].tolist() == pytest.approx([-1.0], abs=1e-6)


# --- what they promise


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(
    st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 12), st.sampled_from([1e-4, 1.0, 1e3])
)
def test_min_max_touches_the_largest_distance_and_min_sum_the_largest_sum(
    seed: int, h: int, d: int, scale: float
) -> None:
    rows = scale * some_rows(seed, h, d) + 1.0
    apart = torch.stack([(rows - row).square().sum(dim=1) for row in rows])
    furthest, summed = (attack(rows, 1)[0] for attack in (min_max, min_sum))
    assert float((rows - furthest).square().sum(dim=1).max()) == pytest.approx(
        float(apart.max()), rel=1e-6
    )
    assert float((rows - summed).square().sum()) == pytest.approx(
        float(apart.sum(dim=1).max()), rel=1e-6
    )
    away = -rows.std(dim=0)
    for sent in (furthest, summed):
        assert float((sent - rows.mean(dim=0)) @ away) >= 0


@pytest.mark.parametrize(
    "attack", [ATTACKS["a_little_is_enough"], min_max, min_sum], ids=["alie", "max", "sum"]
)
@pytest.mark.parametrize("shift", [-3.0, 7.0])
def test_attacks_by_distance_move_with_the_rows(attack: Attack, shift: float) -> None:
    rows = some_rows(4)
    assert torch.allclose(attack(rows + shift, 2), attack(rows, 2) + shift)


@pytest.mark.parametrize("attack", [min_max, min_sum], ids=["min_max", "min_sum"])
def test_equal_rows_and_a_single_row_are_sent_as_they_are(attack: Attack) -> None:
    row = some_rows(2, h=1)
    assert torch.equal(attack(row, 2), row.repeat(2, 1))
    assert torch.allclose(attack(row.repeat(4, 1), 2), row.repeat(2, 1))
