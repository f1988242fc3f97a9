"""RMIA: a hand-worked answer, the table that it does not build, and its ties."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from attacks import auc, auc_error, rmia, rmia_population

# Pr(x): record 0 has (.5 + .25) / 2 = .375 (with it: .5; without: .25, .25), record 1 has
# (.25 + .75) / 2 = .5.
TARGET = torch.tensor([0.75, 0.5])
SHADOWS = torch.tensor([[0.5, 0.75], [0.25, 0.25], [0.25, 0.75]])
INSIDE = torch.tensor([[True, False], [False, True], [False, False]])
# Pr(z) = .5 each: ratios 1, .5, 2, .25.
POPULATION = torch.tensor([0.5, 0.25, 1.0, 0.125])
SHADOW_POPULATION = torch.tensor([[0.25] * 4, [0.5] * 4, [0.75] * 4])


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rmia_known_answer() -> None:
    # Ratios 2 and 1. At gamma 1 they beat all four, and three of four (an equal one counts); at 2
    # they beat three (2 >= 1), and two. The plain mean of shadows would give the first 2.25, which
    # beats four of four at 1.1.
    for gamma, counts in ((1.0, [4, 3]), (2.0, [3, 2]), (1.1, [3, 2])):
        shares = rmia(TARGET, POPULATION, SHADOWS, SHADOW_POPULATION, INSIDE, gamma=gamma)
        assert (shares * 4).floor().tolist() == counts
        fractions = [(math.log(2) + 104) / 208, 0.5]
        assert (shares * 4 % 1).tolist() == pytest.approx(fractions, abs=1e-6)


def test_rmia_equals_the_share_from_the_whole_table() -> None:
    n, z, k = 40, 60, 9
    target, population = uniform(1, n), uniform(2, z)
    shadows, shadow_population = uniform(3, k, n), uniform(4, k, z)
    inside = uniform(5, k, n).argsort(dim=0) < 4
    with_it = (shadows * inside).sum(dim=0) / 4
    without = (shadows * ~inside).sum(dim=0) / 5
    ratio, other = target / ((with_it + without) / 2), population / shadow_population.mean(dim=0)
    share = (ratio[:, None] / other >= 1.3).double().mean(dim=1)
    shares = rmia(target, population, shadows, shadow_population, inside, gamma=1.3)
    assert bool((shares >= share).all())
    assert bool((shares < share + 1 / z).all())
    assert (
        shares.argsort().tolist() == ratio.argsort().tolist()
    )  # ties of the share are broken by the ratio
    assert len(set(share.tolist())) < n


def test_rmia_on_zeros_and_ones_is_finite_and_ordered() -> None:
    target = torch.tensor([0.0, 0.0, 1e-30, 1.0, 1.0]).double()
    shadows = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]] * 2).double()
    inside = torch.tensor([[True], [False]]).repeat(1, 5)
    population, shadow_population = (
        torch.tensor([0.0, 1.0, 0.0]).double(),
        torch.tensor([[0.0, 0.0, 1.0]] * 2).double(),
    )
    for gamma in (1e-200, 1.0, 1e200):
        shares = rmia(target, population, shadows, shadow_population, inside, gamma=gamma)
        assert bool(shares.isfinite().all())
        assert bool((shares >= 0).all())
        assert bool((shares < 1 + 1 / 3).all())
        assert shares.argsort(stable=True).tolist() == [0, 1, 3, 2, 4]


def test_rmia_does_not_depend_on_the_order_of_population_or_shadows() -> None:
    shares = rmia(TARGET, POPULATION, SHADOWS, SHADOW_POPULATION, INSIDE, gamma=1.0)
    models, people = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    moved = rmia(
        TARGET,
        POPULATION[people],
        SHADOWS[models],
        SHADOW_POPULATION[models][:, people],
        INSIDE[models],
        gamma=1.0,
    )
    assert torch.allclose(shares, moved)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_rmia_separates_members_where_training_left_a_trace(shift: float) -> None:
    # Log-odds of deviation 1 about means that differ by 3; four errors: 1 in 15,000.
    n, z, k = 6000, 1000, 32
    draws = torch.Generator().manual_seed(7)
    hardness = 3 * torch.randn(n + z, generator=draws, dtype=torch.float64)
    inside = torch.rand(k + 1, n + z, generator=draws).argsort(dim=0) < k // 2
    inside[:, n:] = False
    odds = (
        hardness + shift * inside + torch.randn(k + 1, n + z, generator=draws, dtype=torch.float64)
    )
    chances = odds.sigmoid()
    scores = rmia(
        chances[0, :n], chances[0, n:], chances[1:, :n], chances[1:, n:], inside[1:, :n], gamma=1.0
    )
    members, nonmembers = scores[inside[0, :n]], scores[~inside[0, :n]]
    if shift == 0:
        assert auc(members, nonmembers) == pytest.approx(
            0.5, abs=4 * auc_error(members, nonmembers)
        )
    else:
        alone = auc(chances[0, :n][inside[0, :n]], chances[0, :n][~inside[0, :n]])
        assert (
            alone + 0.05
            < auc(members, nonmembers)
            < norm.cdf(1 / math.sqrt(2)) + 4 * auc_error(members, nonmembers)
        )


def test_rmia_population_is_ten_over_the_rate() -> None:
    assert [rmia_population(rate) for rate in (1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5)] == [
        10**p for p in range(1, 7)
    ]
    assert rmia_population(0.003) == 3334
    assert all(rmia_population(10 / count) == count for count in range(10, 3000))
    for rate in (0.0, -1.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="0 < rate <= 1, got false_positive_rate="):
            rmia_population(rate)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan, math.inf])
def test_rmia_refuses_a_gamma_that_is_not_positive(gamma: float) -> None:
    with pytest.raises(ValueError, match="rmia needs gamma finite and > 0, got gamma="):
        rmia(TARGET, POPULATION, SHADOWS, SHADOW_POPULATION, INSIDE, gamma=gamma)


def test_rmia_refuses_impossible_probabilities_and_records_without_shadows() -> None:
    with pytest.raises(ValueError, match="target must be finite, got 1 that are not finite"):
        rmia(
            torch.tensor([0.5, math.nan]), POPULATION, SHADOWS, SHADOW_POPULATION, INSIDE, gamma=1.0
        )
    with pytest.raises(ValueError, match=r"population must lie in \[0, 1\], got 0.25 to 2"):
        rmia(TARGET, 2 * POPULATION, SHADOWS, SHADOW_POPULATION, INSIDE, gamma=1.0)
    with pytest.raises(
        ValueError, match=r"shadow_population must have shape \(3, 4\), got \(3, 3\)"
    ):
        rmia(TARGET, POPULATION, SHADOWS, SHADOW_POPULATION[:, :3], INSIDE, gamma=1.0)
    with pytest.raises(
        ValueError,
        match="rmia needs >= 1 shadows that trained with every record, got 0 for record 0",
    ):
        rmia(TARGET, POPULATION, SHADOWS, SHADOW_POPULATION, INSIDE & False, gamma=1.0)
    with pytest.raises(ValueError, match="trained without every record, got 0 for record 1"):
        rmia(
            TARGET,
            POPULATION,
            SHADOWS,
            SHADOW_POPULATION,
            INSIDE | torch.tensor([False, True]),
            gamma=1.0,
        )
