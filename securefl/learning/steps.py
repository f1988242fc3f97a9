"""The server's step: moves the global weights by a round's estimate.

The estimate aggregates the clients' deltas w_local - w. A step adds it, where an optimiser would
subtract a gradient.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from securefl.learning.protocol import ServerStep, StepResult
from securefl.vector import Statistics


def fedavg(
    weights: Tensor, estimate: Tensor, state: Mapping[str, Tensor], *, lr: float = 1.0
) -> StepResult:
    """Moves the weights by lr x estimate; keeps no state.

    Raises:
        ValueError: lr is not > 0.

    Source: McMahan et al., AISTATS 2017, algorithm 1 (lr = 1).
    """
    _check("fedavg", positive={"lr": lr}, fading={})
    return StepResult(weights + lr * estimate, state)


def fedavgm(
    weights: Tensor,
    estimate: Tensor,
    state: Mapping[str, Tensor],
    *,
    lr: float = 1.0,
    momentum: float = 0.9,
) -> StepResult:
    """Moves the weights by lr x a running sum of estimates, which fades by `momentum` a round.

    Raises:
        ValueError: lr is not > 0, or momentum not in [0, 1).

    Source: Hsu, Qi and Brown 2019, section 4.3: v <- momentum v + estimate.
    """
    _check("fedavgm", positive={"lr": lr}, fading={"momentum": momentum})
    velocity = momentum * state.get("velocity", torch.zeros_like(weights)) + estimate
    return StepResult(weights + lr * velocity, {"velocity": velocity})


def fedadam(
    weights: Tensor,
    estimate: Tensor,
    state: Mapping[str, Tensor],
    *,
    lr: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
) -> StepResult:
    """Moves the weights by lr m / (sqrt(v) + tau), with running means m and v.

    m is the running mean of the estimates, v of their squares; both per coordinate.

    Raises:
        ValueError: lr or tau is not > 0, or a beta not in [0, 1).

    Source: Reddi et al., ICLR 2021, algorithm 2; no bias correction and v_0 = tau^2, as there.
    """
    _check("fedadam", positive={"lr": lr, "tau": tau}, fading={"beta1": beta1, "beta2": beta2})
    second = state.get("second", torch.full_like(weights, tau**2))
    second = beta2 * second + (1 - beta2) * estimate**2  # v of the paper
    return _adaptive(weights, estimate, state, second, lr=lr, beta1=beta1, tau=tau)


def fedyogi(
    weights: Tensor,
    estimate: Tensor,
    state: Mapping[str, Tensor],
    *,
    lr: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
) -> StepResult:
    """Moves as `fedadam` does, with a v that grows and shrinks by (1 - beta2) x square at most.

    Raises:
        ValueError: lr or tau is not > 0, or a beta not in [0, 1).

    Source: Reddi et al., ICLR 2021, algorithm 2; v_0 = tau^2, as there.
    """
    _check("fedyogi", positive={"lr": lr, "tau": tau}, fading={"beta1": beta1, "beta2": beta2})
    second = state.get("second", torch.full_like(weights, tau**2))
    squares = estimate**2
    second = second - (1 - beta2) * squares * torch.sign(second - squares)
    return _adaptive(weights, estimate, state, second, lr=lr, beta1=beta1, tau=tau)


def fedadagrad(
    weights: Tensor,
    estimate: Tensor,
    state: Mapping[str, Tensor],
    *,
    lr: float = 0.1,
    beta1: float = 0.0,
    tau: float = 1e-3,
) -> StepResult:
    """Moves as `fedadam` does, with a v that is the sum of all squares.

    Raises:
        ValueError: lr or tau is not > 0, or beta1 not in [0, 1).

    Source: Reddi et al., ICLR 2021, algorithm 2; v_0 = tau^2 and, unless it is given, beta1 = 0, as
    in their experiments.
    """
    _check("fedadagrad", positive={"lr": lr, "tau": tau}, fading={"beta1": beta1})
    second = state.get("second", torch.full_like(weights, tau**2)) + estimate**2
    return _adaptive(weights, estimate, state, second, lr=lr, beta1=beta1, tau=tau)


def _adaptive(
    weights: Tensor,
    estimate: Tensor,
    state: Mapping[str, Tensor],
    second: Tensor,
    *,
    lr: float,
    beta1: float,
    tau: float,
) -> StepResult:
    """Moves by lr m / (sqrt(v) + tau), with the running mean m of estimates and a given v."""
    first = state.get("first", torch.zeros_like(weights))
    first = beta1 * first + (1 - beta1) * estimate  # m of the paper
    moved = weights + lr * first / (second.sqrt() + tau)
    return StepResult(moved, {"first": first, "second": second})


def beside_statistics(step: ServerStep, statistics: Statistics) -> ServerStep:
    """Returns a step that moves the parameters alone, and adds the estimate to running statistics.

    A learning rate or a momentum would carry statistics past what any client measured. Variances
    stay >= 0, whatever a rule or an adversary made of them.

    Args:
        step: moves the parameters; its state covers nothing else.
        statistics: the coordinates that are no parameters.
    """
    if not statistics.size:
        return step
    start = statistics.start

    def moved(weights: Tensor, estimate: Tensor, state: Mapping[str, Tensor]) -> StepResult:
        parameters = step(weights[:start], estimate[:start], state)
        after = torch.cat([parameters.weights, weights[start:] + estimate[start:]])
        for variance in statistics.variances:
            after[variance].clamp_(min=0)
        return StepResult(after, parameters.state)

    return moved


def _check(step: str, *, positive: Mapping[str, float], fading: Mapping[str, float]) -> None:
    """Raises ValueError unless some parameters are > 0 and others in [0, 1)."""
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{step} needs {name} > 0, got {value}")
    for name, value in fading.items():
        if not 0 <= value < 1:
            raise ValueError(f"{step} needs {name} in [0, 1), got {value}")
