"""Algorithms for unlike clients: what each of them adds to a local step.

Every change comes after the gradient. Under DP-SGD that is the noisy mean gradient, so that it is
post-processing of the client's own noisy steps and of the global model that it was sent: it costs
nothing, and no clip bounds it. A change of each record's loss would be clipped with its gradient.
"""

from collections.abc import Callable
from typing import Any

import torch

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
        parameters = [p for group in self.param_groups for p in group["params"]]
        self._starts = [(p, p.detach().clone()) for p in parameters]

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
