"""Membership from updates and from global models: known answers and promises."""

import math

import pytest
import torch
from scipy.stats import norm

from attacks import auc, auc_error, trajectory, update_alignment

# --- alignment


def test_update_alignment_known_answer() -> None:
    # A step of (3, 4): 1 against its own gradient, -1 along it, .6 for (1, 0); 0 for a gradient
    # across it, and for none.
    gradients = torch.tensor([[-3.0, -4.0], [6.0, 8.0], [-1.0, 0.0], [4.0, -3.0], [0.0, 0.0]])
    cosines = update_alignment(torch.tensor([3.0, 4.0]), gradients)
    assert cosines.tolist() == pytest.approx([1.0, -1.0, 0.6, 0.0, 0.0])
    assert cosines.dtype == torch.float64


def test_update_alignment_of_a_zero_update_is_zero() -> None:
    assert update_alignment(torch.zeros(2), torch.ones(3, 2)).tolist() == [0.0] * 3


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_update_alignment_does_not_depend_on_lengths(scale: float) -> None:
    gradients = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    update = torch.randn(9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    cosines = update_alignment(update, gradients)
    expected = torch.nn.functional.cosine_similarity(-gradients, update[None], dim=1)
    assert torch.allclose(cosines, expected, rtol=1e-12)
    assert torch.allclose(update_alignment(scale * update, gradients / scale), cosines, rtol=1e-12)


def test_update_alignment_adds_up_in_double_precision_and_stays_in_bounds() -> None:
    row = torch.rand(200_000, generator=torch.Generator().manual_seed(3))
    cosines = update_alignment(row, torch.stack([-row, row]))
    assert cosines.tolist() == pytest.approx([1.0, -1.0], abs=1e-12)
    for update in torch.randn(200, 3, generator=torch.Generator().manual_seed(8)):
        assert float(update_alignment(update, torch.stack([-update, update])).abs().max()) <= 1.0


def test_a_step_on_some_records_is_recognised_by_its_direction() -> None:
    # 20 of 400 random gradients in 1,000 dimensions: members' cosines are about 1 / sqrt 20, those
    # of non-members 0 +- .03.
    gradients = torch.randn(400, 1000, generator=torch.Generator().manual_seed(4))
    cosines = update_alignment(-0.1 * gradients[:20].mean(dim=0), gradients)
    assert auc(cosines[:20], cosines[20:]) > 0.99
    assert float(cosines[:20].mean()) == pytest.approx(1 / math.sqrt(20), abs=0.02)
    other = update_alignment(
        torch.randn(1000, generator=torch.Generator().manual_seed(5)), gradients
    )
    assert auc(other[:20], other[20:]) == pytest.approx(
        0.5, abs=4 * auc_error(other[:20], other[20:])
    )


def test_update_alignment_refuses_tensors_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="update must be finite, got 1 that are not finite"):
        update_alignment(torch.tensor([1.0, math.inf]), torch.ones(1, 2))
    with pytest.raises(ValueError, match="gradients must be finite, got 1 that are not finite"):
        update_alignment(torch.ones(2), torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match=r"gradients must have shape \(any, 2\), got \(1, 3\)"):
        update_alignment(torch.ones(2), torch.ones(1, 3))


# --- trajectory

LOSSES = torch.tensor([[1.0, 4.0], [0.0, 5.0]])
# Record 0 outside of the first two and the last, record 1 of the last two.
SHADOWS = torch.tensor(
    [
        [[1.0, 90.0], [2.0, 90.0]],
        [[2.0, 90.0], [4.0, 90.0]],
        [[70.0, 4.0], [70.0, 1.0]],
        [[3.0, 8.0], [6.0, 3.0]],
    ]
)
INSIDE = torch.tensor([[False, True], [False, True], [True, False], [False, False]])


def test_trajectory_known_answer() -> None:
    # Minus the means over rounds.
    assert trajectory(LOSSES, None, None).tolist() == [-0.5, -4.5]


def test_trajectory_with_shadows_known_answer() -> None:
    # Round 0: means 2, 6; squares 2 + 8 over 2 + 1: 10/3. Round 1: means 4, 2; squares 8 + 2: 10/3.
    # Record 0: -1, -4; record 1: -2, 3. Divisors n (5) or n - 1 (4) give 2, 2.5.
    scores = trajectory(LOSSES, SHADOWS, INSIDE) * math.sqrt(10 / 3)
    assert scores.tolist() == pytest.approx([2.5, -0.5])


def test_a_round_in_which_all_shadows_are_one_model_counts_nothing() -> None:
    start = torch.ones(1, 2)
    with_start = trajectory(
        torch.cat([start, LOSSES]), torch.cat([start.repeat(4, 1, 1), SHADOWS], dim=1), INSIDE
    )
    assert torch.allclose(with_start * 3 / 2, trajectory(LOSSES, SHADOWS, INSIDE))


def test_trajectory_ignores_shadows_with_the_record_and_the_order_of_rounds() -> None:
    scores = trajectory(LOSSES, SHADOWS, INSIDE)
    changed = torch.where(INSIDE[:, None], torch.tensor(-5.0), SHADOWS)
    assert torch.equal(trajectory(LOSSES, changed, INSIDE), scores)
    assert torch.allclose(trajectory(LOSSES.flip(0), SHADOWS.flip(1), INSIDE), scores)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_shadows_remove_the_hardness_of_a_record(shift: float) -> None:
    # Four rounds of deviation 1, hardness of deviation 3. AUC: Phi(2 shift / sqrt 2) with known
    # means, Phi(2 shift / sqrt(2 (1 + 4 9))) without. Means of 16 shadows cost less than .015; four
    # standard errors: one false alarm in 15,000.
    n, k = 8000, 33
    draws = torch.Generator().manual_seed(6)
    inside = torch.rand(k, n, generator=draws).argsort(dim=0) < 16
    losses = 3 * torch.randn(n, generator=draws, dtype=torch.float64) - shift * inside[:, None]
    losses = losses + torch.randn(k, 4, n, generator=draws, dtype=torch.float64)
    plain, best = norm.cdf(2 * shift / math.sqrt(2 * 37)), norm.cdf(2 * shift / math.sqrt(2))
    alone = trajectory(losses[0], None, None)
    scores = trajectory(losses[0], losses[1:], inside[1:])
    for scores_of_attack, expected in ((alone, plain), (scores, best)):
        members, nonmembers = scores_of_attack[inside[0]], scores_of_attack[~inside[0]]
        error = 4 * auc_error(members, nonmembers)
        assert expected - error - 0.03 * shift < auc(members, nonmembers) < expected + error


def test_trajectory_refuses_tensors_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="shadows and inside, or neither, got shadows alone"):
        trajectory(LOSSES, SHADOWS, None)
    with pytest.raises(ValueError, match="or neither, got inside alone"):
        trajectory(LOSSES, None, INSIDE)
    with pytest.raises(ValueError, match="losses must be finite, got 4 that are not finite"):
        trajectory(LOSSES * math.nan, None, None)
    with pytest.raises(ValueError, match="shadows must be finite"):
        trajectory(LOSSES, SHADOWS * math.inf, INSIDE)
    with pytest.raises(ValueError, match=r"shadows must have shape \(any, 2, 2\), got \(4, 1, 2\)"):
        trajectory(LOSSES, SHADOWS[:, :1], INSIDE)
    with pytest.raises(ValueError, match="trained without every record, got 0 for record 1"):
        trajectory(LOSSES, SHADOWS[:2], INSIDE[:2])
    with pytest.raises(ValueError, match="needs a record with >= 2 shadows"):
        trajectory(LOSSES, SHADOWS[1:3], INSIDE[1:3])
