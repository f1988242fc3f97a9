"""FedDyn: the authors' update by hand, and the optimum that plain averaging misses."""

import pytest
import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.algorithms.feddyn import FedDyn
from securefl.learning.algorithms.steps import feddyn
from securefl.learning.descent import Steps
from securefl.learning.steps import fedavg
from tests.learning.algorithms.quadratics import LR, Rounds, terms

ALPHA = 0.5


def corrected(optimizer: Steps, corrections: Corrections) -> Steps:
    return feddyn(optimizer, alpha=ALPHA, corrections=corrections)


def rounds(targets: list[Tensor], steps: list[int]) -> Rounds:
    public = terms(steps, d=len(targets[0]))
    return Rounds(FedDyn(public, alpha=ALPHA), public, targets, steps, corrected)


def test_known_answer_on_two_quadratics() -> None:
    """Clients at 4 and -2, one step of lr .5, alpha .5, from 0 with h = h_i = 0.

    Round 0. delta = 2, -1, mean .5. h_i = -.5 delta = -1, .5; h = -.25; x = .5 + .25 / .5 = 1.
    Round 1. Client 0: 1 - .5 (-3 + 1) = 2; client 1: 1 - .5 (3 - .5) = -.25.
    delta = 1, -1.25, mean -.125. h = -.25 + .0625 = -.1875; x = .875 + .375 = 1.25.
    """
    played = rounds([torch.tensor([4.0]), torch.tensor([-2.0])], [1, 1])
    played.play([0, 1])
    assert (played.weights.item(), played.state["h"].item()) == (1.0, -0.25)
    played.play([0, 1])
    assert (played.weights.item(), played.state["h"].item()) == (1.25, -0.1875)


def test_rounds_with_sampling_and_dropouts_are_the_papers() -> None:
    generator = torch.Generator().manual_seed(5)
    targets, steps = list(torch.randn(4, 3, generator=generator)), [1, 2, 5, 3]
    schedule = [([0, 1, 2, 3], []), ([0, 2, 3], [2]), ([1, 2], []), ([0, 1, 2, 3], [0])] * 2
    played = rounds(targets, steps)
    x, h = torch.zeros(3).double(), torch.zeros(3).double()
    own = [torch.zeros(3).double() for _ in targets]
    for cohort, lost in schedule:
        played.play(cohort, lost=lost)
        survivors = [client for client in cohort if client not in lost]
        models = {}
        for client in survivors:
            y = x.clone()
            for _ in range(steps[client]):
                slope = y - targets[client].double()
                y = y - LR * (slope - own[client] + ALPHA * (y - x))
            models[client] = y
        for client, y in models.items():
            own[client] = own[client] - ALPHA * (y - x)
        h = h - ALPHA / len(targets) * sum((y - x for y in models.values()), torch.zeros(3))
        x = sum(models.values(), torch.zeros(3).double()) / len(models) - h / ALPHA
    torch.testing.assert_close(played.weights.double(), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(played.state["h"].double(), h, rtol=1e-4, atol=1e-5)


def test_clients_with_unlike_steps_meet_at_the_optimum_of_all() -> None:
    """The mean of (w - t_i)^2 / 2 has its minimum at the mean target, 1."""
    targets, steps = [torch.tensor([4.0]), torch.tensor([-2.0])], [1, 8]
    public = terms(steps)
    plain = Rounds(FedAvg(public), public, targets, steps, lambda optimizer, _: optimizer)
    dynamic = rounds(targets, steps)
    for _ in range(60):
        plain.play([0, 1])
        dynamic.play([0, 1])
    assert dynamic.weights.item() == pytest.approx(1.0, abs=1e-4)
    assert abs(plain.weights.item() - 1.0) > 0.5


def test_statistics_are_averaged_and_never_corrected() -> None:
    """Two coordinates, of which the second is a running statistic."""
    public = terms([1, 1], d=2)
    public = type(public)(**{**vars(public), "parameters": 1})
    algorithm = FedDyn(public, alpha=ALPHA)
    state = {"h": torch.tensor([1.0])}
    moved = algorithm.move(
        fedavg, torch.zeros(2), torch.tensor([3.0, 7.0]), state, round=0, share=1.0
    )
    h = 1.0 - ALPHA * 3.0
    assert moved.weights.tolist() == [3.0 - h / ALPHA, 7.0]
