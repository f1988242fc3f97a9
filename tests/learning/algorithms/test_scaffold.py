"""SCAFFOLD: the authors' update by hand, and against the slow obvious version."""

from functools import partial

import pytest
import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.algorithms.protocol import Place
from securefl.learning.algorithms.scaffold import Scaffold
from securefl.learning.algorithms.steps import scaffold
from securefl.learning.descent import Steps
from tests.learning.algorithms.quadratics import LR, Quadratic, Rounds, terms


def corrected(optimizer: Steps, corrections: Corrections) -> Steps:
    return scaffold(optimizer, corrections=corrections)


def rounds(targets: list[Tensor], steps: list[int], **options: object) -> Rounds:
    public = terms(steps, d=len(targets[0]), **options)  # type: ignore[arg-type]
    return Rounds(Scaffold(public), public, targets, steps, corrected)


def test_known_answer_on_two_quadratics() -> None:
    """Two clients at 4 and -2, two steps of lr .5 each, from x = 0 with c = c_i = 0.

    Round 0. Client 0: 0 -> 2 -> 3; client 1: 0 -> -1 -> -1.5. delta = 3, -1.5; x = .75.
    c_i = -delta / (K lr) = -3, 1.5; c = -.75.
    Round 1. Corrections c - c_i = 2.25, -2.25.
    Client 0: .75 - .5 (-3.25 + 2.25) = 1.25; 1.25 - .5 (-2.75 + 2.25) = 1.5. delta = .75.
    Client 1: .75 - .5 (2.75 - 2.25) = .5; .5 - .5 (2.5 - 2.25) = .375. delta = -.375.
    x = .75 + .1875 = .9375. c_0 = -3 + .75 - .75 = -3; c_1 = 1.5 + .75 + .375 = 2.625.
    """
    played = rounds([torch.tensor([4.0]), torch.tensor([-2.0])], [2, 2])
    played.play([0, 1])
    assert played.weights.item() == 0.75
    assert played.state["control"].item() == -0.75
    played.play([0, 1])
    assert played.weights.item() == 0.9375
    assert played.state["control"].item() == pytest.approx((-3 + 2.625) / 2, abs=1e-6)


def by_hand(
    targets: list[Tensor],
    steps: list[int],
    weights: list[int],
    schedule: list[tuple[list[int], list[int]]],
) -> tuple[Tensor, Tensor]:
    """Returns x and c by the paper's lines, one number after another, in float64."""
    clients = range(len(targets))
    x = torch.zeros_like(targets[0]).double()
    c = torch.zeros_like(x)
    own = [torch.zeros_like(x) for _ in clients]
    for cohort, lost in schedule:
        survivors = [client for client in cohort if client not in lost]
        total = sum(weights[client] for client in survivors)
        mean, change = torch.zeros_like(x), torch.zeros_like(x)
        after = {}
        for client in survivors:
            y = x.clone()
            for _ in range(steps[client]):
                y = y - LR * ((y - targets[client].double()) - own[client] + c)
            after[client] = own[client] - c + (x - y) / (steps[client] * LR)
            mean += weights[client] / total * (y - x)
            change += weights[client] / total * (after[client] - own[client])
        x = x + mean
        c = c + len(survivors) / len(targets) * change
        for client, value in after.items():
            own[client] = value
    return x, c


@pytest.mark.parametrize(
    ("steps", "public"), [([2, 2, 2, 2], True), ([1, 2, 5, 3], True), ([1, 2, 5, 3], False)]
)
def test_rounds_with_sampling_weights_and_dropouts_are_the_papers(
    steps: list[int], public: bool
) -> None:
    generator = torch.Generator().manual_seed(5)
    targets = list(torch.randn(4, 3, generator=generator))
    weights = [1, 4, 2, 1]
    schedule = [([0, 1, 2, 3], []), ([0, 2, 3], [2]), ([1, 2], []), ([0, 1, 2, 3], [0])] * 2
    played = rounds(targets, steps, weights=weights, public=public)
    for cohort, lost in schedule:
        played.play(cohort, lost=lost)
    x, c = by_hand(targets, steps, weights, schedule)
    torch.testing.assert_close(played.weights.double(), x, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(played.state["control"].double(), c, rtol=1e-4, atol=1e-6)


def test_one_client_alone_is_fedavg_bit_for_bit() -> None:
    target = torch.tensor([0.3, -1.7, 11.0])
    played = rounds([target], [3])
    plain = terms([3], d=3)
    fedavg = Rounds(FedAvg(plain), plain, [target], [3], lambda optimizer, _: optimizer)
    for _ in range(6):
        played.play([0])
        fedavg.play([0])
    assert torch.equal(played.weights, fedavg.weights)


def test_no_byte_is_added_to_an_update_where_steps_are_equal_and_public() -> None:
    assert Scaffold(terms([2, 2], d=5)).update_size == 5
    assert Scaffold(terms([2, 3], d=5)).update_size == 10
    assert Scaffold(terms([2, 2], d=5, public=False)).update_size == 10


def test_a_second_block_is_about_as_large_as_the_first() -> None:
    """So that a clip on coordinates and rounding meet both alike."""
    public = terms([9], public=False)
    corrections = Corrections((0,), 1)
    trainer = Quadratic(torch.tensor([4.0]), 9, partial(corrected, corrections=corrections))
    with corrections.of(0):
        place = Place(0, 9, corrections, None, torch.zeros(1))
        update = Scaffold(public).at_client(trainer, place).fit(torch.zeros(2), round=0).delta
    assert update.tolist() == pytest.approx([update[0].item(), update[0].item() * 3 / 9])
