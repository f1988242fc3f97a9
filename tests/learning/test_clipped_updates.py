"""Updates that are protected as a whole: their length, their coin and their noise."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2
from torch import Tensor

from securefl.learning.clipped_updates import ClippedUpdates, clipped, norm_of
from securefl.learning.protocol import Trained
from securefl.learning.release import Release
from securefl.privacy.events import SampledGaussian
from securefl.rng import Keystream, seeded_keystream

COST = SampledGaussian(0.5, 1.0, 1)


class Fixed:
    """Returns the same change whatever it trains on, and counts how often it trained."""

    def __init__(self, delta: Tensor, cost: SampledGaussian | None = None) -> None:
        self.delta = delta
        self.cost = cost
        self.trained = 0
        self.began: list[Tensor] = []

    def begin(self, weights: Tensor, *, round: int) -> None:
        self.began.append(weights)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        self.trained += 1
        return Trained(self.delta.clone(), self.cost)


def stream_for(purpose: str, client: int, round: int) -> Keystream:
    return seeded_keystream(3, purpose, client, round)


def release(*, std: float = 0.0, rate: float = 1.0) -> Release:
    return Release(COST, std, rate, stream_for)


def test_a_long_update_is_scaled_down_to_the_clip_and_a_short_one_is_left() -> None:
    # 3-4-5: to length 2.5 it is half as long.
    assert clipped(torch.tensor([3.0, 4.0]), 2.5).tolist() == pytest.approx([1.5, 2.0], rel=2e-6)
    assert clipped(torch.tensor([3.0, 4.0]), 5.1).tolist() == [3.0, 4.0]


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
)
def test_no_float32_update_is_longer_than_its_clip(values: list[float], clip: float) -> None:
    short = clipped(torch.tensor(values), clip).float()
    assert math.sqrt(math.fsum(float(x) ** 2 for x in short)) <= clip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_becomes_zeros(value: float) -> None:
    assert clipped(torch.tensor([1.0, value, 2.0]), 1.0).tolist() == [0.0, 0.0, 0.0]


def test_a_norm_neither_overflows_nor_hides_a_nan() -> None:
    assert norm_of(torch.tensor([3e38, 4e38 / 1.25])) == pytest.approx(4.386e38, rel=1e-3)
    assert norm_of(torch.tensor([math.nan])) == math.inf


def test_the_update_has_the_cost_of_its_release_and_costs_what_it_says() -> None:
    trainer = ClippedUpdates(Fixed(torch.tensor([3.0, 4.0])), 0, release(), clip=2.5)
    delta, spent = trainer.fit(torch.zeros(2), round=0)
    assert delta.tolist() == pytest.approx([1.5, 2.0], rel=2e-6)
    assert delta.dtype == torch.float32
    assert spent == trainer.cost == COST


def test_a_client_that_is_out_trains_all_the_same_and_sends_zeros() -> None:
    inner = Fixed(torch.ones(3))
    trainer = ClippedUpdates(inner, 7, release(rate=0.25), clip=10.0)
    sent = [trainer.fit(torch.zeros(3), round=round).delta for round in range(400)]
    assert inner.trained == 400
    assert {tuple(delta.tolist()) for delta in sent} == {(0.0, 0.0, 0.0), (4.0, 4.0, 4.0)}
    is_in = sum(bool(delta.any()) for delta in sent)
    assert binomtest(is_in, 400, 0.25).pvalue > 1e-3


def test_coins_of_clients_and_rounds_are_independent() -> None:
    def coins(client: int) -> list[bool]:
        trainer = ClippedUpdates(Fixed(torch.ones(1)), client, release(rate=0.5), clip=1.0)
        return [bool(trainer.fit(torch.zeros(1), round=round).delta) for round in range(64)]

    assert coins(0) == coins(0)
    assert coins(0) != coins(1)


@pytest.mark.parametrize(("true_std", "is_right"), [(0.75, True), (0.70, False)])
def test_noise_has_the_promised_variance(true_std: float, is_right: bool) -> None:
    size = 20_000
    trainer = ClippedUpdates(Fixed(torch.full((size,), 1e-3)), 0, release(std=0.75), clip=1.0)
    noise = trainer.fit(torch.zeros(size), round=0).delta.double() - 1e-3
    statistic = float((noise / true_std).square().sum())
    chance = float(2 * min(chi2.cdf(statistic, size), chi2.sf(statistic, size)))
    # False alarms: 1e-3 under the right deviation.
    assert (chance > 1e-3) is is_right


def test_noise_is_added_to_zeros_as_well_and_is_not_scaled_by_the_coin() -> None:
    size = 5_000
    trainer = ClippedUpdates(Fixed(torch.zeros(size)), 0, release(std=1.0, rate=0.1), clip=1.0)
    for round in range(4):
        noise = trainer.fit(torch.zeros(size), round=round).delta
        assert float(noise.std()) == pytest.approx(1.0, rel=0.05)


def test_noise_of_clients_and_rounds_is_independent() -> None:
    def noise(client: int, round: int) -> list[float]:
        trainer = ClippedUpdates(Fixed(torch.zeros(4)), client, release(std=1.0), clip=1.0)
        return trainer.fit(torch.zeros(4), round=round).delta.tolist()

    assert noise(0, 0) == noise(0, 0)
    assert noise(0, 0) != noise(0, 1)
    assert noise(0, 0) != noise(1, 0)


def test_what_can_train_early_begins_with_the_same_tensor() -> None:
    inner = Fixed(torch.ones(2))
    weights = torch.zeros(2)
    ClippedUpdates(inner, 0, release(), clip=1.0).begin(weights, round=0)
    assert inner.began[0] is weights


def test_a_trainer_with_noise_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="noise of its own is not clipped as a whole"):
        ClippedUpdates(Fixed(torch.ones(1), COST), 0, release(), clip=1.0)
