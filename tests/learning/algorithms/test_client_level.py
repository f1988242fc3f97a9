"""Averaging of updates that are protected as a whole, with a fixed or an adaptive clip."""

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from securefl.learning.algorithms.client_level import (
    BIT_SCALE,
    AdaptiveClientLevel,
    ClientLevel,
    unit_length,
)
from securefl.learning.algorithms.protocol import Place
from securefl.learning.protocol import EarlyTrainer, StepResult, Trained
from securefl.learning.release import Release
from securefl.learning.steps import fedavg, fedavgm
from securefl.privacy.events import SampledGaussian
from securefl.rng import Keystream, seeded_keystream
from tests.learning.algorithms.quadratics import terms
from tests.learning.test_clipped_updates import Fixed

COST = SampledGaussian(1.0, 1.0, 1)
D = 2
PUBLIC = terms([1], d=D)


def stream_for(purpose: str, client: int, round: int) -> Keystream:
    return seeded_keystream(5, purpose, client, round)


def place(client: int = 0, *, std: float = 0.0, rate: float = 1.0) -> Place:
    release = Release(COST, std, rate, stream_for)
    return Place(client, 1, None, None, torch.zeros(D), release=release)


def adaptive(**keys: float) -> AdaptiveClientLevel:
    return AdaptiveClientLevel(PUBLIC, **{"clip": 2.0, "clip_quantile": 0.5, **keys})


def test_with_a_fixed_clip_nothing_but_the_model_travels() -> None:
    algorithm = ClientLevel(PUBLIC, clip=2.5)
    assert (algorithm.sent_size, algorithm.update_size) == (D, D)
    trainer = algorithm.at_client(Fixed(torch.tensor([3.0, 4.0])), place())
    assert trainer.fit(torch.zeros(D), round=0).delta.tolist() == pytest.approx(
        [1.5, 2.0], rel=2e-6
    )


@pytest.mark.parametrize("make", [lambda: ClientLevel(PUBLIC, clip=1.0), adaptive])
def test_without_a_release_nobody_trains(make: Callable[[], ClientLevel]) -> None:
    bare = Place(0, 1, None, None, torch.zeros(D))
    with pytest.raises(ValueError, match="need a release"):
        make().at_client(Fixed(torch.ones(D)), bare)


def test_known_answer_of_an_adaptive_update() -> None:
    """Norm 5 at C = 2: (3, 4) / 5, and not within; norm 1 at C = 2: half of it, and within."""
    algorithm = adaptive()
    assert (algorithm.sent_size, algorithm.update_size) == (D + 1, D + 1)
    sent = algorithm.sent(torch.zeros(D), {})
    assert sent.tolist() == [0.0, 0.0, 2.0]
    long = algorithm.at_client(Fixed(torch.tensor([3.0, 4.0])), place())
    short = algorithm.at_client(Fixed(torch.tensor([0.6, 0.8])), place())
    assert long.fit(sent, round=0).delta.tolist() == pytest.approx([0.6, 0.8, -0.25], rel=2e-6)
    assert short.fit(sent, round=0).delta.tolist() == pytest.approx([0.3, 0.4, 0.25], rel=2e-6)
    assert long.cost == COST


def test_an_update_as_long_as_the_clip_is_within() -> None:
    trainer = adaptive(clip=5.0).at_client(Fixed(torch.tensor([3.0, 4.0])), place())
    assert trainer.fit(torch.tensor([0.0, 0.0, 5.0]), round=0).delta[-1] == 0.25


def test_known_answer_of_the_servers_half() -> None:
    """C = 2, mean (.25, .5) and 3 of 4 within: x moves by C x mean, C by exp(-.2 (.75 - .5))."""
    estimate = torch.tensor([0.25, 0.5, BIT_SCALE * (0.75 - 0.5)])
    moved = adaptive().move(fedavg, torch.zeros(D), estimate, {}, round=0, share=1.0)
    assert moved.weights.tolist() == [0.5, 1.0]
    assert moved.state["clip"].item() == pytest.approx(2.0 * math.exp(-0.05), rel=1e-6)
    again = adaptive().move(fedavg, moved.weights, estimate, moved.state, round=1, share=1.0)
    assert again.weights[0].item() == pytest.approx(0.5 + 0.5 * math.exp(-0.05), rel=1e-6)


@pytest.mark.parametrize(("bit", "power"), [(1e6, -0.5), (-1e6, 0.5), (0.7, -0.5), (-0.7, 0.5)])
def test_whatever_a_client_sends_a_round_moves_the_clip_by_a_bounded_factor(
    bit: float, power: float
) -> None:
    """With lr 1 and the median: by exp(1 / 2) at most, where all or none seem to be within."""
    estimate = torch.tensor([0.0, 0.0, bit])
    moved = adaptive(clip_lr=1.0).move(fedavg, torch.zeros(D), estimate, {}, round=0, share=1.0)
    assert moved.state["clip"].item() == pytest.approx(2.0 * math.exp(power), rel=1e-6)


def test_a_step_with_a_state_keeps_it_next_to_the_clip() -> None:
    estimate = torch.tensor([1.0, 0.0, 0.0])
    state: Mapping[str, Tensor] = {}
    weights = torch.zeros(D)
    for round in range(2):
        weights, state = adaptive().move(fedavgm, weights, estimate, state, round=round, share=1.0)
    assert set(state) == {"velocity", "clip"}
    assert state["velocity"].tolist() == pytest.approx([3.8, 0.0])  # .9 x 2 + 2


def test_the_step_does_not_see_the_clip() -> None:
    seen: list[set[str]] = []

    def step(weights: Tensor, estimate: Tensor, state: Mapping[str, Tensor]) -> StepResult:
        seen.append(set(state))
        return StepResult(weights, state)

    state: Mapping[str, Tensor] = {}
    for round in range(2):
        state = (
            adaptive().move(step, torch.zeros(D), torch.zeros(3), state, round=round, share=1.0)
        ).state
    assert seen == [set(), set()]


def test_a_clip_that_is_no_number_is_taken_for_the_first_one() -> None:
    trainer = adaptive().at_client(Fixed(torch.tensor([0.6, 0.8])), place())
    update = trainer.fit(torch.tensor([0.0, 0.0, math.nan]), round=0).delta
    assert update.tolist() == pytest.approx([0.3, 0.4, 0.25], rel=2e-6)


@pytest.mark.parametrize(("within", "end"), [(1.0, 2.0 / 1024), (0.0, 2.0 * 1024)])
def test_the_clip_stays_in_its_public_range(within: float, end: float) -> None:
    estimate = torch.tensor([0.0, 0.0, BIT_SCALE * (within - 0.5)])
    state: Mapping[str, Tensor] = {}
    for round in range(20):
        moved = adaptive(clip_lr=5.0).move(
            fedavg, torch.zeros(D), estimate, state, round=round, share=1.0
        )
        state = moved.state
    assert state["clip"].item() == pytest.approx(end)


@pytest.mark.parametrize("clip", [math.nan, math.inf, -1.0, 0.0, 1e-30, 1e30])
@pytest.mark.parametrize("delta", [[3e20, 4e20], [1e-20, 0.0], [math.nan, 0.0]])
def test_whatever_clip_a_server_sends_an_update_is_no_longer_than_promised(
    clip: float, delta: list[float]
) -> None:
    trainer = adaptive().at_client(Fixed(torch.tensor(delta)), place())
    update = trainer.fit(torch.tensor([0.0, 0.0, clip]), round=0).delta
    assert float(update.double().norm()) <= unit_length(adaptive=True)


def test_the_longest_updates_have_exactly_the_promised_length() -> None:
    trainer = adaptive().at_client(Fixed(torch.tensor([30.0, 40.0])), place())
    update = trainer.fit(torch.tensor([0.0, 0.0, 2.0]), round=0).delta
    assert float(update.double().norm()) == pytest.approx(unit_length(adaptive=True), rel=2e-6)
    assert unit_length(adaptive=True) == pytest.approx(math.sqrt(1 + 1 / 16))
    assert unit_length(adaptive=False) == 1.0


@pytest.mark.parametrize(("std", "rate"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.5)])
@pytest.mark.parametrize("quantile", [0.5, 0.8])
def test_the_clip_settles_at_the_quantile_of_the_norms(
    std: float, rate: float, quantile: float
) -> None:
    # Norms 4, 8, ..., 100, and a clip that starts at a tenth of the median.
    algorithm = AdaptiveClientLevel(PUBLIC, clip=5.0, clip_quantile=quantile)
    clients = [
        algorithm.at_client(
            Fixed(torch.tensor([float(norm), 0.0])), place(norm, std=std, rate=rate)
        )
        for norm in range(4, 101, 4)
    ]
    state: Mapping[str, Tensor] = {}
    seen = []
    for round in range(60):
        sent = algorithm.sent(torch.zeros(D), state)
        rows = torch.stack([client.fit(sent, round=round).delta for client in clients])
        state = algorithm.move(
            fedavg, torch.zeros(D), rows.mean(0), state, round=round, share=1.0
        ).state
        seen.append(float(state["clip"]))
    assert sum(seen[30:]) / 30 == pytest.approx(100 * quantile, rel=0.15)


class Noting(Fixed):
    """Notes the tensors that it is asked to train from."""

    collected: Tensor

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        self.collected = weights
        return super().fit(weights, round=round)


def test_the_model_that_began_is_the_one_that_is_collected() -> None:
    inner = Noting(torch.ones(D))
    trainer = adaptive().at_client(inner, place())
    sent = torch.tensor([1.0, 2.0, 3.0])
    assert isinstance(trainer, EarlyTrainer)
    trainer.begin(sent, round=0)
    trainer.fit(sent, round=0)
    assert inner.began[0].tolist() == [1.0, 2.0]
    assert inner.collected is inner.began[0]


def test_a_trainer_with_noise_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="noise of its own is not clipped as a whole"):
        adaptive().at_client(Fixed(torch.ones(D), COST), place())
