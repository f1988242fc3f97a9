"""Gradient descent at the server: the step of torch's SGD, and a moving average of iterates."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from securefl.learning.algorithms.descent import ITERATE, VELOCITY, GradientDescent
from securefl.learning.algorithms.protocol import Terms
from securefl.learning.steps import fedavg

START = torch.tensor([1.0, -2.0])
GRADIENTS = [torch.tensor(row) for row in ([1.0, 0.5], [-2.0, 4.0], [0.25, -1.0], [3.0, 0.0])]
LEARNING_RATES = [0.5, 0.25, 0.125, 0.5]


def terms() -> Terms:
    return Terms(
        d=2,
        parameters=2,
        steps=None,
        usual_steps=1,
        most_steps=1,
        weights=None,
        lr=lambda round: LEARNING_RATES[round],
    )


def played(algorithm: GradientDescent) -> list[tuple[Tensor, Mapping[str, Tensor]]]:
    """Weights and state after each round; clients send minus their gradient."""
    weights = START
    state: Mapping[str, Tensor] = {}
    course: list[tuple[Tensor, Mapping[str, Tensor]]] = []
    for round, gradient in enumerate(GRADIENTS):
        weights, state = algorithm.move(fedavg, weights, -gradient, state, round=round, share=1.0)
        course.append((weights, state))
    return course


@pytest.mark.parametrize(
    ("momentum", "weight_decay"),
    [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.7, 0.05)],
)
def test_the_iterates_are_those_of_torch(momentum: float, weight_decay: float) -> None:
    parameter = nn.Parameter(START.clone())
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=momentum, weight_decay=weight_decay)
    algorithm = GradientDescent(terms(), momentum=momentum, weight_decay=weight_decay)
    for (weights, _), gradient, lr in zip(
        played(algorithm), GRADIENTS, LEARNING_RATES, strict=True
    ):
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = gradient.clone()
        optimizer.step()
        torch.testing.assert_close(weights, parameter.detach())


def test_the_average_starts_at_the_first_iterate_and_fades() -> None:
    iterates = [weights for weights, _ in played(GradientDescent(terms(), momentum=0.9))]
    average = iterates[0]
    course = played(GradientDescent(terms(), momentum=0.9, ema=0.75))
    for (weights, state), iterate in zip(course, iterates, strict=True):
        if iterate is not iterates[0]:
            average = 0.75 * average + 0.25 * iterate
        torch.testing.assert_close(weights, average)
        torch.testing.assert_close(state[ITERATE], iterate)


def test_clients_get_the_iterate_and_not_the_average() -> None:
    algorithm = GradientDescent(terms(), ema=0.9)
    assert torch.equal(algorithm.sent(START, {}), START)
    weights, state = played(algorithm)[-1]
    assert torch.equal(algorithm.sent(weights, state), state[ITERATE])
    assert not torch.equal(weights, state[ITERATE])


def test_the_state_holds_what_is_used_and_nothing_else() -> None:
    states = [
        played(GradientDescent(terms(), momentum=momentum, ema=ema))[-1][1].keys()
        for momentum in (0.0, 0.9)
        for ema in (None, 0.5)
    ]
    assert states == [set(), {ITERATE}, {VELOCITY}, {VELOCITY, ITERATE}]
