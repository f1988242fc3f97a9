"""Properties and sources: hand-worked answers, slow oracles, chance on shuffled coordinates."""

import math

import pytest
import torch
from torch import Tensor, nn

from attacks import property_inference, source_inference

# Means (1, 0) and (-1, 0); within a class both coordinates move together.
REFERENCES = torch.tensor([[2.0, 1.0], [0.0, -1.0], [0.0, 1.0], [-2.0, -1.0]])


LABELS = torch.tensor([0, 0, 1, 1])


SIDES = torch.tensor([True, True, False, False])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def shuffled(values: Tensor, draws: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=draws)]


def test_property_inference_known_answers() -> None:
    # With: 3, 5; without: 1, -1. R'R = 4, plus 4, over 2 degrees of freedom: variance 4. The score
    # at 3 is (4 / 4) (3 - 2).
    shadows = torch.tensor([[3.0], [5.0], [1.0], [-1.0]])
    assert property_inference(torch.tensor([3.0]), shadows, SIDES) == pytest.approx(1.0)
    assert property_inference(torch.tensor([2.0]), shadows, SIDES) == pytest.approx(0.0)
    # Residuals (0, +-1): R'R = (0, 4), plus 2, over 2 degrees of freedom: variances 1, 3. The score
    # at (.5, 9) is 2 / 1 * .5.
    shadows = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert property_inference(torch.tensor([0.5, 9.0]), shadows, SIDES) == pytest.approx(1.0)


@pytest.mark.parametrize("d", [4, 30])
def test_property_inference_equals_the_full_covariance(d: int) -> None:
    shadows, has, update = normal(12, d, seed=d), torch.arange(12) % 3 == 0, normal(d, seed=9)
    means = shadows[has].mean(dim=0), shadows[~has].mean(dim=0)
    residuals = shadows - torch.where(has[:, None], *means)
    squares = residuals.T @ residuals
    covariance = (squares + torch.eye(d).double() * squares.trace() / min(10, d)) / 10
    expected = (
        (means[0] - means[1]) @ torch.linalg.inv(covariance) @ (update - (means[0] + means[1]) / 2)
    )
    assert property_inference(update, shadows, has) == pytest.approx(float(expected), rel=1e-9)


def test_property_inference_ignores_order_scale_and_shift_and_changes_sign_with_the_property() -> (
    None
):
    shadows, has, update = normal(12, 30, seed=6), torch.arange(12) % 2 == 0, normal(30, seed=7)
    score = property_inference(update, shadows, has)
    rows, places = (
        torch.randperm(12, generator=generator(1)),
        torch.randperm(30, generator=generator(2)),
    )
    assert property_inference(update[places], shadows[rows][:, places], has[rows]) == pytest.approx(
        score
    )
    assert property_inference(update, shadows, ~has) == pytest.approx(-score)
    shift = normal(30, seed=8)
    assert property_inference(update + shift, shadows + shift, has) == pytest.approx(score)
    for factor in (1e-200, 1e200):
        assert property_inference(factor * update, factor * shadows, has) == pytest.approx(score)


@pytest.mark.parametrize(
    ("update", "has", "match"),
    [
        (torch.zeros(3), SIDES, r"shadows must have shape \(any, 3\), got \(4, 2\)"),
        (torch.tensor([0.0, math.inf]), SIDES, "update must be finite, got 1"),
        (torch.zeros(2), SIDES.long(), r"has must be 4 truth values, got torch.int64"),
        (torch.zeros(2), SIDES[:2], r"has must be 4 truth values, got torch.bool of shape \(2,\)"),
        (torch.zeros(2), SIDES | True, "needs shadows with and without the property, got 4 of 4"),
        (torch.zeros(2), SIDES & False, "needs shadows with and without the property, got 0 of 4"),
    ],
)
def test_shadows_that_say_nothing_of_a_property_are_refused(
    update: Tensor, has: Tensor, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        property_inference(update, REFERENCES, has)
    with pytest.raises(
        ValueError, match="needs shadows of a side that differ, got 4 without a difference"
    ):
        property_inference(torch.zeros(2), REFERENCES[[0, 0, 2, 2]], SIDES)
    with pytest.raises(ValueError, match="shadows must be finite, got 8"):
        property_inference(torch.zeros(2), REFERENCES / 0.0 * 0.0, SIDES)


def test_source_inference_known_answer() -> None:
    # Sums over rounds, by client: (3, 7, 5) and (5, 2, 5). The last record is a tie, for the first
    # client. The last round alone would give each of the first two records to the other client.
    losses = torch.tensor([[[0.0, 6.0, 1.0], [3.0, 0.0, 1.0]], [[3.0, 1.0, 4.0], [2.0, 2.0, 4.0]]])
    sources = source_inference(losses)
    assert sources.tolist() == [0, 1, 0]
    assert sources.dtype == torch.int64


def test_the_source_follows_clients_and_records_and_not_rounds() -> None:
    losses = normal(3, 5, 40, seed=10)
    sources = source_inference(losses)
    rounds, clients, records = (torch.randperm(k, generator=generator(k)) for k in (3, 5, 40))
    moved = source_inference(losses[rounds][:, clients][:, :, records])
    assert torch.equal(clients[moved], sources[records])
    hard = 10 * normal(3, 1, 40, seed=11)  # a record that is hard for all is nobody's more
    assert torch.equal(source_inference(losses + hard), sources)


@pytest.mark.parametrize(
    ("losses", "match"),
    [
        (torch.zeros(2, 3), r"losses must have shape \(any, any, any\), got \(2, 3\)"),
        (torch.zeros(1, 1, 3), "source_inference needs clients >= 2, got clients=1"),
        (torch.full((1, 2, 1), math.nan), "losses must be finite, got 2"),
        (torch.zeros(1, 2, 3).long(), "losses must be floats"),
    ],
)
def test_losses_that_say_nothing_of_a_source_are_refused(losses: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        source_inference(losses)


def test_the_property_of_a_shuffled_update_is_chance() -> None:
    # 600 trials of chance .5: four standard errors. As they are, the sides lie 6 deviations apart.
    draws = generator(14)
    has = torch.arange(640) % 2 == 0
    updates = torch.randn(640, 100, generator=draws) + 3.0 * has[:, None] * (torch.arange(100) < 4)
    shadows, victims, truth = updates[:40], updates[40:], has[40:]
    clean = torch.tensor([property_inference(update, shadows, has[:40]) > 0 for update in victims])
    mixed = torch.tensor(
        [property_inference(shuffled(update, draws), shadows, has[:40]) > 0 for update in victims]
    )
    assert float((clean == truth).double().mean()) > 0.95
    assert float((mixed == truth).double().mean()) == pytest.approx(
        0.5, abs=4 * 0.5 / math.sqrt(600)
    )


def test_the_source_under_shuffled_updates_is_chance() -> None:
    # One step of logistic regression from zero, ten clients of ten records each, 40 times: 4,000
    # trials of chance .1. A hundred of them share models: twice four standard errors.
    draws, owner, clean, mixed = generator(15), torch.arange(100) // 10, 0, 0
    for _ in range(40):
        records = torch.randn(100, 80, generator=draws)  # each times its label, +-1
        updates = torch.stack([records[owner == client].mean(dim=0) for client in range(10)])
        controls = torch.stack([shuffled(update, draws) for update in updates])
        losses = [
            nn.functional.softplus(-(models @ records.T))[None] for models in (updates, controls)
        ]
        clean += int((source_inference(losses[0]) == owner).sum())
        mixed += int((source_inference(losses[1]) == owner).sum())
    assert clean / 4000 > 0.8
    assert mixed / 4000 == pytest.approx(0.1, abs=8 * math.sqrt(0.09 / 4000))
