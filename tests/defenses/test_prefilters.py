"""Pre-filters: answers by hand, and chains that equal rules on the written-out rows."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import defenses
from defenses import Mixture, adaptive_clipping, bucketing, clip_norms, nearest_neighbor_mixing


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def heavy(n: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_t(1.5, size=(n, d)))


def values(mixture: Mixture) -> list[float]:
    return mixture.tensor().flatten().tolist()


def dealing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixing_by_hand() -> None:
    rows = column(0, 1, 3, 10, 100)
    mixed = nearest_neighbor_mixing(rows, f=2)
    assert len(mixed) == 5
    assert values(mixed) == pytest.approx([4 / 3, 4 / 3, 4 / 3, 14 / 3, 113 / 3])
    assert values(nearest_neighbor_mixing(rows, f=0)) == pytest.approx([22.8] * 5)


def test_a_row_is_its_own_nearest_even_next_to_equal_rows() -> None:
    mixed = nearest_neighbor_mixing(column(5, 5, 0, 0, 0), f=2)
    assert values(mixed) == pytest.approx([10 / 3, 10 / 3, 0, 0, 0])


def test_rows_set_aside_are_not_mixed_in_and_use_up_f_for_the_rule_behind() -> None:
    rows = column(0, 1, math.nan, 3, 10, 4)
    mixed = nearest_neighbor_mixing(rows, f=1)
    assert values(mixed) == pytest.approx([18 / 5] * 5)
    assert defenses.trimmed_mean(mixed, f=1).item() == pytest.approx(18 / 5)
    with pytest.raises(ValueError, match="krum set aside 1 of n=5 rows, more than f=0"):
        defenses.krum(mixed, f=0)
    with pytest.raises(
        ValueError, match="nearest_neighbor_mixing set aside 1 of n=6 rows, more than f=0"
    ):
        nearest_neighbor_mixing(rows, f=0)


def test_buckets_are_means_of_rows_dealt_at_random() -> None:
    rows = torch.arange(7, dtype=torch.float64).exp2().unsqueeze(1)
    buckets = bucketing(rows, size=3, generator=dealing())
    order = torch.randperm(7, generator=dealing()).tolist()
    expected = [sum(2.0**i for i in order[a:b]) / (b - a) for a, b in ((0, 3), (3, 6), (6, 7))]
    assert values(buckets) == pytest.approx(expected)
    deals = {tuple(values(bucketing(rows, size=3, generator=dealing(seed)))) for seed in range(20)}
    assert len(deals) > 15
    assert len(bucketing(rows, size=100, generator=dealing())) == 1
    with pytest.raises(ValueError, match="bucketing needs a size >= 1, got 0"):
        bucketing(rows, size=0, generator=dealing())


def test_long_rows_are_shortened_and_no_other() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]], dtype=torch.float64)
    assert clip_norms(rows, radius=2.5).tensor().tolist() == [
        [1.5, 2.0],
        [0.3, 0.4],
        [0.0, 0.0],
        [-1.5, 2.0],
    ]
    assert torch.equal(clip_norms(rows, radius=10.0).tensor(), rows)
    for radius in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="clip_norms needs a radius > 0"):
            clip_norms(rows, radius=radius)


def test_adaptive_clipping_by_hand() -> None:
    # n = 5, f = 1: floor(2 x 4 / 5) = 1 row, the longest, is cut to the second longest.
    rows = column(1, -9, 3, 5, -2)
    assert values(adaptive_clipping(rows, f=1)) == pytest.approx([1, -5, 3, 5, -2])
    # f = 2: floor(2.4) = 2 rows.
    assert values(adaptive_clipping(rows, f=2)) == pytest.approx([1, -3, 3, 3, -2])
    assert torch.equal(adaptive_clipping(rows, f=0).tensor(), rows)


PREFILTERS: dict[str, Callable[[Tensor | Mixture], Mixture]] = {
    "mixing": lambda rows: nearest_neighbor_mixing(rows, f=2),
    "buckets": lambda rows: bucketing(rows, size=2, generator=dealing()),
    "clipping": lambda rows: clip_norms(rows, radius=3.0),
    "adaptive": lambda rows: adaptive_clipping(rows, f=2),
    "clipping, mixing": lambda rows: nearest_neighbor_mixing(clip_norms(rows, radius=3.0), f=2),
    "mixing, buckets": lambda rows: bucketing(
        nearest_neighbor_mixing(rows, f=2), size=2, generator=dealing()
    ),
}
RULES: dict[str, Callable[[Tensor | Mixture], Tensor]] = {
    "mean": defenses.mean,
    "median": defenses.median,
    "trimmed_mean": lambda rows: defenses.trimmed_mean(rows, f=2),
    "meamed": lambda rows: defenses.meamed(rows, f=2),
    "krum": lambda rows: defenses.krum(rows, f=2),
    "multi_krum": lambda rows: defenses.multi_krum(rows, f=2),
    "bulyan": lambda rows: defenses.bulyan(rows, f=1),
    "geometric_median": defenses.geometric_median,
    "centered_clipping": lambda rows: defenses.centered_clipping(rows, radius=1.0, iterations=2),
    "mda": lambda rows: defenses.mda(rows, f=2),
    "monna": lambda rows: defenses.monna(rows, f=2, pivot=3),
    "dnc": lambda rows: defenses.dnc(rows, f=2),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("prefilter", PREFILTERS)
def test_a_chain_gives_the_answer_of_the_written_out_rows(prefilter: str, rule: str) -> None:
    rows = heavy(15, 6, 7)
    mixed = PREFILTERS[prefilter](rows)
    torch.testing.assert_close(
        RULES[rule](mixed), RULES[rule](mixed.tensor()), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("rule", ["krum", "multi_krum", "mda", "geometric_median", "dnc"])
@pytest.mark.parametrize("prefilter", ["buckets", "mixing"])
@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_a_chain_sees_small_differences_far_from_the_origin(
    prefilter: str, rule: str, offset: float
) -> None:
    rows = torch.from_numpy(np.random.default_rng(8).normal(size=(30, 40)))
    estimate = RULES[rule](PREFILTERS[prefilter](rows + offset)) - offset
    expected = RULES[rule](PREFILTERS[prefilter](rows))
    torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-5)


def test_a_liar_in_the_first_row_costs_a_chain_far_from_the_origin_no_digits() -> None:
    rows = torch.from_numpy(np.random.default_rng(8).normal(size=(12, 40)))
    liar = torch.full((1, 40), 1e17, dtype=torch.float64)
    near = torch.cat([liar, rows])
    for offset in (1e6, 1e8):
        far = torch.cat([liar, rows + offset])
        for rule in (defenses.geometric_median, lambda mixed: defenses.dnc(mixed, f=1)):
            estimate = rule(nearest_neighbor_mixing(far, f=2)) - offset
            expected = rule(nearest_neighbor_mixing(near, f=2))
            torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-5)


def test_clipped_rows_far_from_the_origin_are_no_means_of_rows() -> None:
    rows = torch.from_numpy(np.random.default_rng(9).normal(size=(12, 40))) + 1e6
    clipped = clip_norms(rows, radius=3.0)
    estimate = defenses.geometric_median(clipped)
    expected = defenses.geometric_median(clipped.tensor())
    torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-24, 1e-12, 1.0, 1e12, 1e18])
def test_norms_that_float32_cannot_square_are_measured_in_float64(
    scale: float, dtype: torch.dtype
) -> None:
    rows = torch.eye(5, 1000, dtype=dtype) * scale
    rows[0] = scale
    shortened = clip_norms(rows, radius=0.5 * scale).tensor().double().norm(dim=1) / scale
    assert shortened.tolist() == pytest.approx([0.5] * 5, rel=1e-5)
    adapted = adaptive_clipping(rows, f=1).tensor().double().norm(dim=1) / scale
    assert adapted.tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    moved = (
        defenses.centered_clipping(rows, radius=0.5 * scale, iterations=2).double().norm() / scale
    )
    assert 0.1 < float(moved) < 1.0
    assert defenses.monna(rows, f=2, pivot=3).isfinite().all()


@pytest.mark.parametrize(
    ("weights", "rows", "message"),
    [
        (
            torch.ones(2, 3),
            torch.ones(4, 1),
            r"a mixture of n=4 rows needs weights \(m, 4\) of at most 1e\+06",
        ),
        (torch.ones(4), torch.ones(4, 1), "needs weights"),
        (torch.full((1, 4), math.inf), torch.ones(4, 1), "needs weights"),
        (torch.full((1, 4), 3e5), torch.ones(4, 1), "needs weights"),
        (torch.ones(1, 1), torch.full((1, 1), math.nan), "cannot hold a row that screen marks"),
        (torch.ones(1, 1), torch.ones(1), "rows must be 2-D"),
    ],
)
def test_a_mixture_with_weights_or_rows_that_do_not_fit_is_refused(
    weights: Tensor, rows: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(weights, rows)


def test_a_mixture_can_be_made_by_hand() -> None:
    mixture = Mixture(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 2.0]]), column(1, 3, 5))
    assert mixture.tensor().flatten().tolist() == [2.0, 10.0]
    assert defenses.mean(mixture, weights=torch.tensor([3.0, 1.0])).item() == pytest.approx(4.0)
