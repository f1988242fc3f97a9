"""Membership from one model: known answers, promises, and Gaussian models without training."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from attacks import (
    auc,
    auc_error,
    confidence,
    lira_offline,
    lira_online,
    loss_threshold,
)

# Record 0: with it 3, 5, without 1, -1; record 1: with it 2, 8, without 0, 0.
SHADOWS = torch.tensor([[3.0, 0.0], [1.0, 2.0], [5.0, 0.0], [-1.0, 8.0]])
INSIDE = torch.tensor([[True, False], [False, True], [True, False], [False, True]])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def simulated(*, shift: float, k: int, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns target (n,), shadows (k, n), inside (k, n) and members (n,).

    Records differ in hardness; every confidence has deviation 1.
    """
    draws = generator(seed)
    hardness = 3 * torch.randn(n, generator=draws, dtype=torch.float64)
    inside = torch.rand(k + 1, n, generator=draws).argsort(dim=0) < (k + 1) // 2
    values = hardness + shift * inside + torch.randn(k + 1, n, generator=draws, dtype=torch.float64)
    return values[0], values[1:], inside[1:], inside[0]


# --- confidence


def test_confidence_known_answer() -> None:
    # For label 2: .2 to .8; for label 0: .5 to .5. The likeliest wrong class alone would give
    # log(.2 / .7).
    odds = confidence(
        torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]]).double(), torch.tensor([2, 0])
    )
    assert odds.tolist() == [pytest.approx(math.log(0.25)), 0.0]
    assert odds.dtype == torch.float64


def test_confidence_of_certainty_is_finite_and_the_largest() -> None:
    for kind, bound in ((torch.float32, 87.3365), (torch.float64, 708.3964)):
        certain = torch.tensor([[1.0, 0.0, 0.0]] * 2 + [[1 - 1e-6, 1e-6, 0.0]] * 2, dtype=kind)
        odds = confidence(certain, torch.tensor([0, 1, 0, 1]))
        assert odds[:2].tolist() == [
            pytest.approx(bound, abs=1e-3),
            pytest.approx(-bound, abs=1e-3),
        ]
        assert odds.argsort().tolist() == [1, 3, 2, 0]


def test_a_sum_that_is_a_little_above_one_does_not_lead_past_the_bound() -> None:
    odds = confidence(torch.tensor([[0.0, 1.0, 5e-4]]).double(), torch.tensor([0]))
    assert odds.tolist() == [math.log(torch.finfo(torch.float64).tiny)]


def test_probabilities_that_round_to_one_are_ordered_by_the_rest() -> None:
    # In float32 all three p_y are 1; log(p / (1 - p)) is infinite of each.
    rows = torch.tensor([[1.0, 1e-9, 0.0], [1.0, 1e-12, 1e-12], [1.0, 1e-30, 0.0]])
    expected = [9 * math.log(10), 12 * math.log(10) - math.log(2), 30 * math.log(10)]
    assert confidence(rows, torch.zeros(3, dtype=torch.int64)).tolist() == pytest.approx(
        expected, rel=1e-6
    )


def test_confidence_of_two_classes_is_antisymmetric_and_the_logit_of_a_softmax() -> None:
    logits = 5 * torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    ones = torch.ones(50, dtype=torch.int64)
    odds = confidence(logits.softmax(dim=1), ones)
    assert torch.allclose(odds, logits[:, 1] - logits[:, 0], rtol=1e-9)
    assert torch.equal(odds, -confidence(logits.softmax(dim=1), 1 - ones))


@pytest.mark.parametrize(
    ("probabilities", "labels", "match"),
    [
        ([[0.5, math.nan]], [0], "probabilities must be finite, got 1 that are not finite"),
        ([[1.5, -0.5]], [0], r"must lie in \[0, 1\], got -0.5 to 1.5"),
        ([[0.5, 0.4]], [0], "must sum to 1, got a row 0.1 off"),
        ([[0.5, 0.5]], [2], "labels must lie in 0 to 1, got 2 to 2"),
        ([[0.5, 0.5]], [-1], "got -1 to -1"),
        ([[0.5, 0.5]], [0, 1], "labels must be 1 whole numbers"),
        ([[0.5, 0.5]], [0.0], "labels must be 1 whole numbers"),
        ([[1.0]], [0], "classes >= 2, got classes=1"),
        ([0.5, 0.5], [0], r"shape \(any, any\), got \(2,\)"),
    ],
)
def test_tensors_that_are_no_probabilities_or_labels_are_refused(
    probabilities: list[list[float]], labels: list[int], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        confidence(torch.tensor(probabilities), torch.tensor(labels))


# --- the loss


def test_loss_threshold_known_answer() -> None:
    assert loss_threshold(torch.tensor([0.5, 2.0, 0.0])).tolist() == [-0.5, -2.0, 0.0]
    with pytest.raises(ValueError, match="losses must be finite, got 1 that are not finite"):
        loss_threshold(torch.tensor([0.5, math.inf]))
    with pytest.raises(ValueError, match=r"losses must have shape \(any\), got \(0,\)"):
        loss_threshold(torch.zeros(0))


# --- the likelihood ratio


def test_lira_online_known_answer_a_variance_a_record() -> None:
    # Record 0: means 4, 0, variances 2, 2; at 3: -1/4 + 9/4 = 2. With divisor n for n - 1: 4.
    # Record 1: means 5, 0, variances 18, 0 -> 1e-6; at 0: -(log 18 + 25/18) / 2 + log(1e-6) / 2.
    scores = lira_online(torch.tensor([3.0, 0.0]), SHADOWS, INSIDE, pooled=False)
    assert scores.tolist() == pytest.approx(
        [2.0, -(math.log(18) + 25 / 18) / 2 + math.log(1e-6) / 2]
    )


def test_lira_online_known_answer_one_variance() -> None:
    # With it (2 + 18) / 2 = 10, without (2 + 0) / 2 = 1, each about the record's own mean.
    scores = lira_online(torch.tensor([3.0, 0.0]), SHADOWS, INSIDE, pooled=True)
    expected = [-(math.log(10) + 1 / 10) / 2 + 9 / 2, -(math.log(10) + 25 / 10) / 2]
    assert scores.tolist() == pytest.approx(expected)


def test_lira_offline_known_answer() -> None:
    # One variance, 1, and means 0, 0: the p-value is .025 at 1.959964 and Phi(1) at -1. A
    # two-sided one would be .05.
    target = torch.tensor([1.959963984540054, -1.0]).double()
    expected = [-math.log(0.025), -math.log(norm.cdf(1.0))]
    assert lira_offline(target, SHADOWS, INSIDE, pooled=True).tolist() == pytest.approx(expected)
    # A variance a record: 2, and the least.
    expected = [-norm.logsf(1.959963984540054 / math.sqrt(2)), 0.0]
    assert lira_offline(target, SHADOWS, INSIDE, pooled=False).tolist() == pytest.approx(expected)


def test_lira_offline_has_no_ties_at_the_top_and_does_not_look_at_the_models_with_the_record() -> (
    None
):
    target = torch.linspace(-30.0, 500.0, 2000).double()
    shadows = torch.tensor([[1.0], [-1.0], [0.0]]).double().repeat(1, 2000)
    inside = torch.tensor([[False], [False], [True]]).repeat(1, 2000)
    scores = lira_offline(target, shadows, inside, pooled=True)
    assert bool((scores.diff() > 0).all())
    shadows[2] = 77.0
    assert torch.equal(scores, lira_offline(target, shadows, inside, pooled=True))


@pytest.mark.parametrize(("k", "pooled"), [(63, True), (64, False)])
def test_variances_are_pooled_below_64_shadows(k: int, pooled: bool) -> None:
    target, shadows, inside, _ = simulated(shift=1.0, k=k, n=20, seed=3)
    for attack in (lira_online, lira_offline):
        scores = attack(target, shadows, inside, pooled=None)
        assert torch.equal(scores, attack(target, shadows, inside, pooled=pooled))
        assert not torch.equal(scores, attack(target, shadows, inside, pooled=not pooled))


def test_one_shadow_a_side_compares_the_distances() -> None:
    # There is no variance to estimate: any value orders records alike, here 1e-6.
    shadows, inside = (
        torch.tensor([[4.0, 4.0], [0.0, 0.0]]),
        torch.tensor([[True, True], [False, False]]),
    )
    scores = lira_online(torch.tensor([3.0, 1.0]), shadows, inside, pooled=True)
    assert scores.tolist() == pytest.approx([4e6, -4e6])
    assert lira_offline(
        torch.tensor([1e-3, 0.0]), shadows, inside, pooled=True
    ).tolist() == pytest.approx([-norm.logsf(1.0), math.log(2)])


def test_a_side_of_single_shadows_takes_the_variance_of_the_other() -> None:
    # Without: 1, -1, variance 2; with: 4 alone. At 3: -1/4 + 9/4.
    shadows, inside = torch.tensor([[4.0], [1.0], [-1.0]]), torch.tensor([[True], [False], [False]])
    assert lira_online(torch.tensor([3.0]), shadows, inside, pooled=True).tolist() == pytest.approx(
        [2.0]
    )
    assert lira_online(
        torch.tensor([3.0]), shadows, ~inside, pooled=True
    ).tolist() == pytest.approx([-2.0])


def test_lira_does_not_depend_on_order_or_on_a_common_shift() -> None:
    target, shadows, inside, _ = simulated(shift=1.0, k=20, n=30, seed=4)
    models, records = (
        torch.randperm(20, generator=generator(1)),
        torch.randperm(30, generator=generator(2)),
    )
    for attack in (lira_online, lira_offline):
        for pooled in (True, False):
            scores = attack(target, shadows, inside, pooled=pooled)
            moved = attack(
                target[records] + 5,
                shadows[models][:, records] + 5,
                inside[models][:, records],
                pooled=pooled,
            )
            assert torch.allclose(moved, scores[records])


def test_lira_is_finite_of_the_largest_confidences_and_of_shadows_that_agree() -> None:
    shadows = torch.tensor([[1e100], [1e100], [-1e100], [-1e100]], dtype=torch.float64)
    inside = torch.tensor([[True], [True], [False], [False]])
    for pooled in (True, False):
        for value in (1e100, -1e100, 0.0):
            target = torch.tensor([value], dtype=torch.float64)
            assert bool(lira_online(target, shadows, inside, pooled=pooled).isfinite())
            assert bool(lira_offline(target, shadows, inside, pooled=pooled).isfinite())
    with pytest.raises(
        ValueError, match=r"lira_online needs confidences of size <= 1e\+100, got 1e\+101"
    ):
        lira_online(torch.tensor([1e101], dtype=torch.float64), shadows, inside, pooled=True)


def test_lira_refuses_records_without_enough_shadows_and_names_the_first() -> None:
    target, shadows = torch.zeros(3), torch.zeros(5, 3)
    counts = torch.arange(5)[:, None]  # the first so many shadows trained with a record
    with pytest.raises(
        ValueError, match=r"lira_online needs >= 2 .* trained with every record, got 1 for record 1"
    ):
        lira_online(target, shadows, counts < torch.tensor([2, 1, 1]), pooled=False)
    with pytest.raises(
        ValueError, match=r"lira_online needs >= 1 .* trained with every record, got 0 for record 2"
    ):
        lira_online(target, shadows, counts < torch.tensor([2, 1, 0]), pooled=True)
    for attack in (lira_online, lira_offline):
        with pytest.raises(
            ValueError,
            match=f"{attack.__name__} needs >= 2 .* without every record, got 1 for record 1",
        ):
            attack(target, shadows, counts < torch.tensor([3, 4, 4]), pooled=False)
        with pytest.raises(
            ValueError,
            match=f"{attack.__name__} needs >= 1 .* without every record, got 0 for record 0",
        ):
            attack(target, shadows, counts < torch.tensor([5, 4, 5]), pooled=True)
    assert bool(
        lira_offline(target, shadows, INSIDE.new_zeros(5, 3), pooled=False).isfinite().all()
    )


def test_lira_refuses_arrays_that_do_not_fit() -> None:
    target = torch.zeros(2)
    with pytest.raises(ValueError, match="target must be finite, got 1 that are not finite"):
        lira_online(torch.tensor([0.0, math.nan]), SHADOWS, INSIDE, pooled=True)
    with pytest.raises(ValueError, match="shadows must be finite, got 8"):
        lira_offline(target, SHADOWS / 0.0 * 0.0, INSIDE, pooled=True)
    with pytest.raises(ValueError, match=r"shadows must have shape \(any, 2\), got \(4, 1\)"):
        lira_online(target, SHADOWS[:, :1], INSIDE, pooled=True)
    with pytest.raises(ValueError, match=r"inside must be bool, got torch\.int64"):
        lira_online(target, SHADOWS, INSIDE.long(), pooled=True)
    with pytest.raises(ValueError, match=r"inside must have shape \(4, 2\)"):
        lira_offline(target, SHADOWS, INSIDE[:2], pooled=True)


# --- Gaussian models


@pytest.mark.parametrize("pooled", [True, False])
def test_lira_approaches_the_best_area_and_the_loss_does_not(pooled: bool) -> None:
    # With known means the best AUC is Phi(1 / sqrt 2) = .7602; without any record's mean it is
    # Phi(1 / sqrt 20) = .5885. Means off by 1/8 cost less than .01. Four standard errors: one
    # false alarm in 15,000.
    target, shadows, inside, members = simulated(shift=1.0, k=128, n=20_000, seed=5)
    best = norm.cdf(1 / math.sqrt(2))
    for attack in (lira_online, lira_offline):
        scores = attack(target, shadows, inside, pooled=pooled)
        error = auc_error(scores[members], scores[~members])
        # Offline, a variance per record comes from 64 models: its error costs up to another .01.
        assert best - 0.02 - 4 * error < auc(scores[members], scores[~members]) < best + 4 * error
    scores = loss_threshold(-target)
    assert auc(scores[members], scores[~members]) == pytest.approx(
        norm.cdf(1 / math.sqrt(20)), abs=0.017
    )


def test_without_a_shift_every_attack_is_at_chance() -> None:
    # Four standard errors each: missed once in 15,000.
    target, shadows, inside, members = simulated(shift=0.0, k=32, n=4000, seed=6)
    for scores in (
        lira_online(target, shadows, inside, pooled=None),
        lira_online(target, shadows, inside, pooled=False),
        lira_offline(target, shadows, inside, pooled=None),
        loss_threshold(-target),
    ):
        error = auc_error(scores[members], scores[~members])
        assert auc(scores[members], scores[~members]) == pytest.approx(0.5, abs=4 * error)
