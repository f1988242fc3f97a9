"""What algorithms add to a client's local steps.

Every change comes after the gradient. Under DP-SGD that is the noisy mean gradient, so that it is
post-processing of the client's own noisy steps and of the global model that it was sent: it costs
nothing, and no clip bounds it. A change of each record's loss would be clipped with its gradient.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.descent import Steps
from securefl.learning.options import MakeOptimizer


def fedavg(optimizer: Steps) -> Steps:
    """Adds nothing.

    Source: McMahan et al., AISTATS 2017, algorithm 1.
    """
    return optimizer


def fedprox(optimizer: Steps, *, mu: float) -> Steps:
    """Adds mu x (w - global w) to every gradient: a pull back to the global model.

    Source: Li et al., MLSys 2020, algorithm 2; the gradient of its term mu / 2 |w - w_t|^2.
    """
    return Proximal(optimizer, mu)


def scaffold(optimizer: Steps, *, corrections: Corrections) -> Steps:
    """Adds c - c_i to every gradient: the direction of all clients in place of the client's own.

    Source: Karimireddy et al., ICML 2020, algorithm 1, option II.
    """
    return Corrected(optimizer, corrections)


def feddyn(optimizer: Steps, *, alpha: float, corrections: Corrections) -> Steps:
    """Adds alpha x (w - global w) - h_i to every gradient.

    The correction h_i moves the client's optimum to that of all clients.

    Source: Acar et al., ICLR 2021, algorithm 1; h_i is its gradient of L_i at the last local model.
    """
    return Corrected(Proximal(optimizer, alpha), corrections)


def fednova(optimizer: Steps) -> Steps:
    """Adds nothing: updates are divided by the client's number of local steps.

    Source: Wang et al., NeurIPS 2020, equation 6, for plain SGD: a_i = (1, ..., 1).
    """
    return optimizer


def changed(make: MakeOptimizer, algorithm: Callable[[Steps], Steps]) -> MakeOptimizer:
    """Returns what makes an optimizer whose steps an algorithm changes."""
    return lambda parameters, lr: algorithm(make(parameters, lr))


class Proximal:
    """An optimizer whose gradients pull towards where its parameters were when it was made.

    Args:
        optimizer: takes the steps; its parameters hold the global model.
        mu: strength of the pull, >= 0.
    """

    def __init__(self, optimizer: Steps, mu: float) -> None:
        self._optimizer = optimizer
        self._mu = mu
        self.param_groups: list[dict[str, Any]] = optimizer.param_groups
        self._starts = [(p, p.detach().clone()) for p in _parameters(optimizer)]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        self._optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for p, start in self._starts:
            if p.grad is not None:
                p.grad.add_(p - start, alpha=self._mu)
        self._optimizer.step()


class Corrected:
    """An optimizer that adds the current client's correction to every gradient.

    Args:
        optimizer: takes the steps; its parameters that train are those of the corrections.
        corrections: has the vector of the client that trains.
    """

    def __init__(self, optimizer: Steps, corrections: Corrections) -> None:
        self._optimizer = optimizer
        self.param_groups: list[dict[str, Any]] = optimizer.param_groups
        row = corrections.current
        if row is None:
            raise ValueError("no client trains: see Corrections.of")
        trained = [p for p in _parameters(optimizer) if p.requires_grad]
        parts = torch.split(row, [p.numel() for p in trained])
        self._parts = [
            (p, part.view_as(p).to(p.device)) for p, part in zip(trained, parts, strict=True)
        ]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        self._optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for p, part in self._parts:
            if p.grad is not None:
                p.grad.add_(part)
        self._optimizer.step()


def _parameters(optimizer: Steps) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]
