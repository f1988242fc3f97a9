"""How scores separate members: hand-worked answers, slow oracles, and coverage."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, norm
from torch import Tensor

from attacks import Operating, at_false_positive_rate, auc, auc_error, clopper_pearson, roc

WHOLE = st.lists(st.integers(-4, 4), min_size=2, max_size=12)
MEMBERS = torch.tensor([3.0, 2.0, 2.0, 1.0])
NONMEMBERS = torch.tensor([2.0, 1.0, 0.0, 0.0, -1.0])


def draws(seed: int, n: int, mean: float = 0.0) -> Tensor:
    return mean + torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quantiles(mean: float, n: int) -> Tensor:
    return torch.from_numpy(norm.ppf((np.arange(n) + 0.5) / n)) + mean


# --- the interval


def test_clopper_pearson_known_answer() -> None:
    # None of ten: 1 - .025^(1/10). Two of ten, from a printed table: .0252 to .5561; Wilson's
    # interval would be .0567 to .5098.
    assert clopper_pearson(0, 10, confidence=0.95) == pytest.approx(
        (0.0, 1 - 0.025**0.1), rel=1e-12
    )
    assert clopper_pearson(10, 10, confidence=0.95) == pytest.approx((0.025**0.1, 1.0), rel=1e-12)
    assert clopper_pearson(2, 10, confidence=0.95) == pytest.approx((0.02521, 0.55610), abs=1e-5)


@pytest.mark.parametrize(("successes", "trials"), [(1, 1), (1, 1000), (37, 90), (99_999, 100_000)])
def test_the_interval_ends_at_beta_quantiles(successes: int, trials: int) -> None:
    lower = beta.ppf(0.005, successes, trials - successes + 1)
    upper = beta.ppf(0.995, successes + 1, trials - successes) if successes < trials else 1.0
    assert clopper_pearson(successes, trials, confidence=0.99) == pytest.approx((lower, upper))


@pytest.mark.parametrize("chance", [0.01, 0.3, 0.5])
def test_the_interval_covers_at_least_as_often_as_it_says(chance: float) -> None:
    # Summed over all outcomes, so that nothing is drawn.
    ends = [clopper_pearson(successes, 40, confidence=0.9) for successes in range(41)]
    weights = [math.comb(40, s) * chance**s * (1 - chance) ** (40 - s) for s in range(41)]
    assert (
        sum(
            weight
            for weight, (low, high) in zip(weights, ends, strict=True)
            if low <= chance <= high
        )
        >= 0.9
    )


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "match"),
    [
        (0, 0, 0.9, "trials >= 1, got trials=0"),
        (3, 2, 0.9, "successes <= 2, got successes=3"),
        (-1, 2, 0.9, "got successes=-1"),
        (1, 2, 1.0, "confidence=1.0"),
        (1, 2, math.nan, "confidence=nan"),
    ],
)
def test_an_impossible_interval_is_refused(
    successes: int, trials: int, confidence: float, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        clopper_pearson(successes, trials, confidence=confidence)


# --- the curve


def test_roc_known_answer() -> None:
    # At 2 one non-member and two members move together: a curve that breaks ties would have a point
    # (0, 3/4) or (1/5, 1/4).
    curve = roc(MEMBERS, NONMEMBERS)
    assert curve.thresholds.tolist() == [math.inf, 3, 2, 1, 0, -1]
    assert curve.false_positive.tolist() == [0, 0, 0.2, 0.4, 0.8, 1]
    assert curve.true_positive.tolist() == [0, 0.25, 0.75, 1, 1, 1]
    assert {rate.dtype for rate in curve} == {torch.float64}


@given(WHOLE, WHOLE)
def test_every_point_of_the_curve_has_its_thresholds_rates(a: list[int], b: list[int]) -> None:
    curve = roc(torch.tensor(a).double(), torch.tensor(b).double())
    assert len(curve.thresholds) == len({*a, *b}) + 1
    for false, true, threshold in zip(*(rate.tolist() for rate in curve), strict=True):
        assert false == sum(score >= threshold for score in b) / len(b)
        assert true == sum(score >= threshold for score in a) / len(a)


# --- the area


def test_auc_known_answer() -> None:
    # Wins 5 + 4.5 + 4.5 + 3.5 of 20; ties for nothing give 16, ties for one 19.
    assert auc(MEMBERS, NONMEMBERS) == 17.5 / 20


@given(WHOLE, WHOLE)
def test_auc_is_the_area_under_the_curve_and_the_share_of_pairs_won(
    a: list[int], b: list[int]
) -> None:
    members, nonmembers = torch.tensor(a).double(), torch.tensor(b).double()
    curve = roc(members, nonmembers)
    won = sum((x > y) + 0.5 * (x == y) for x in a for y in b) / (len(a) * len(b))
    assert auc(members, nonmembers) == pytest.approx(won, abs=1e-12)
    assert float(torch.trapezoid(curve.true_positive, curve.false_positive)) == pytest.approx(
        won, abs=1e-12
    )


@given(WHOLE, WHOLE)
def test_neither_order_nor_scale_of_scores_matters(a: list[int], b: list[int]) -> None:
    members, nonmembers = torch.tensor(a).double(), torch.tensor(b).double()
    shuffled = members[torch.randperm(len(a), generator=torch.Generator().manual_seed(1))]
    assert (
        auc(shuffled.exp(), nonmembers.exp())
        == auc(members, nonmembers)
        == pytest.approx(1 - auc(nonmembers, members))
    )
    assert auc_error(shuffled.exp(), nonmembers.exp()) == pytest.approx(
        auc_error(members, nonmembers), abs=1e-12
    )
    first = at_false_positive_rate(members, nonmembers, at=0.5, confidence=0.9)
    second = at_false_positive_rate(shuffled.exp(), nonmembers.exp(), at=0.5, confidence=0.9)
    assert first is not None
    assert second is not None
    assert first[1:] == second[1:]


def test_two_gaussians_known_answer() -> None:
    # Phi(1 / sqrt 2) and 1 - Phi(3.0902 - 1).
    members, nonmembers = quantiles(1.0, 200_000), quantiles(0.0, 200_000)
    operating = at_false_positive_rate(members, nonmembers, at=0.001, confidence=0.95)
    assert auc(members, nonmembers) == pytest.approx(0.76025, abs=1e-4)
    assert operating is not None
    assert operating.true_positive_rate == pytest.approx(0.01830, abs=1e-4)
    assert operating.false_positive_rate == 0.001
    assert operating.threshold == pytest.approx(3.0902, abs=2e-3)


# --- the error of the area


def test_auc_error_known_answer() -> None:
    # Members 3, 1 win against 1, 1/2 of the non-members 2, 0, which lose to 1/2, 1 of the members:
    # variances 1/8 and 1/8, over two each.
    # Dividing by n for n - 1 gives .25.
    assert auc_error(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0])) == pytest.approx(
        math.sqrt(1 / 8)
    )


def test_auc_error_counts_members_and_nonmembers_apart() -> None:
    # Placements of members 1, .9, .9, .7 have variance .015833; of non-members .5, .875, 1, 1, 1
    # .046875.
    expected = math.sqrt(0.0475 / 3 / 4 + 0.046875 / 5)
    assert auc_error(MEMBERS, NONMEMBERS) == pytest.approx(expected, rel=1e-9)


def test_auc_error_is_the_spread_of_the_area_over_draws() -> None:
    # 2,000 draws: their standard deviation is within 5 % of the truth, three of its standard errors
    # (one false alarm in 370). A scale 10 % wrong fails.
    areas, errors = [], []
    for seed in range(2000):
        members, nonmembers = draws(seed, 30, 1.0), draws(10_000 + seed, 120)
        areas.append(auc(members, nonmembers))
        errors.append(auc_error(members, nonmembers) ** 2)
    assert np.std(areas, ddof=1) == pytest.approx(math.sqrt(float(np.mean(errors))), rel=0.05)


# --- the rate at a rate


def test_at_false_positive_rate_known_answer() -> None:
    # Two of five false alarms are allowed: threshold 1 takes all members. With one: threshold 2,
    # three of four.
    assert at_false_positive_rate(MEMBERS, NONMEMBERS, at=0.4, confidence=0.9) == Operating(
        1.0, 0.4, 1.0, *clopper_pearson(4, 4, confidence=0.9)
    )
    assert at_false_positive_rate(MEMBERS, NONMEMBERS, at=0.39, confidence=0.9) == Operating(
        2.0, 0.2, 0.75, *clopper_pearson(3, 4, confidence=0.9)
    )


def test_of_equally_good_thresholds_the_one_of_fewest_false_alarms_is_taken() -> None:
    operating = at_false_positive_rate(MEMBERS, NONMEMBERS, at=0.9, confidence=0.9)
    assert operating is not None
    assert (operating.threshold, operating.false_positive_rate) == (1.0, 0.4)


def test_a_tie_above_the_rate_leaves_an_infinite_threshold() -> None:
    same = torch.zeros(20)
    operating = at_false_positive_rate(same, same, at=0.1, confidence=0.9)
    assert operating == Operating(math.inf, 0.0, 0.0, *clopper_pearson(0, 20, confidence=0.9))


@pytest.mark.parametrize("at", [0.01, 0.001, 0.07, 0.29])
def test_the_rate_is_not_measured_with_fewer_nonmembers_than_one_over_it(at: float) -> None:
    enough = math.ceil(round(1 / at, 6))
    assert at_false_positive_rate(draws(1, 9), draws(2, enough - 1), at=at, confidence=0.9) is None
    assert at_false_positive_rate(draws(1, 9), draws(2, enough), at=at, confidence=0.9) is not None


@settings(max_examples=50)
@given(st.integers(1, 99))
def test_a_rate_in_hundredths_allows_as_many_of_a_hundred(count: int) -> None:
    nonmembers = torch.arange(100.0)
    operating = at_false_positive_rate(nonmembers, nonmembers, at=count / 100, confidence=0.9)
    assert operating is not None
    assert operating.false_positive_rate == operating.true_positive_rate == count / 100
    assert operating[3:] == clopper_pearson(count, 100, confidence=0.9)


@pytest.mark.parametrize(
    ("at", "confidence"), [(0.0, 0.9), (1.5, 0.9), (math.nan, 0.9), (0.1, 0.0), (0.1, 2.0)]
)
def test_rates_out_of_range_are_refused_even_where_nothing_is_measured(
    at: float, confidence: float
) -> None:
    with pytest.raises(ValueError, match="at_false_positive_rate needs 0 < "):
        at_false_positive_rate(MEMBERS, NONMEMBERS, at=at, confidence=confidence)


# --- what is refused


@pytest.mark.parametrize("measure", [roc, auc, auc_error])
def test_numbers_that_are_no_scores_are_refused(
    measure: Callable[[Tensor, Tensor], object],
) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(
            ValueError, match="nonmembers must be finite, got 1 that are not finite"
        ):
            measure(MEMBERS, torch.tensor([0.0, bad]))
    with pytest.raises(ValueError, match=r"members must have shape \(any\), got \(2, 2\)"):
        measure(torch.zeros(2, 2), NONMEMBERS)
    with pytest.raises(ValueError, match=r"got \(0,\)"):
        measure(torch.zeros(0), NONMEMBERS)
    with pytest.raises(ValueError, match="must be floats"):
        measure(torch.zeros(2, dtype=torch.int64), NONMEMBERS)


def test_an_error_needs_two_of_each() -> None:
    with pytest.raises(ValueError, match="two members and two non-members, got 1 and 5"):
        auc_error(torch.tensor([1.0]), NONMEMBERS)
