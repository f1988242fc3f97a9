"""Gradient descent as torch.optim.SGD does it, without torch's compiler.

Every optimizer of torch imports the compiler at its first use, whether or not anything is compiled:
over a second of CPU in every process that trains.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn


class Steps(Protocol):
    """What takes the steps of local training: an optimizer of torch's, or one of ours."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""

    def step(self) -> object:
        """Moves every parameter that has a gradient."""


class GradientDescent:
    """Takes steps p - lr * gradient, with the attributes that Opacus uses of an optimizer.

    Args:
        parameters: changed in place.
        lr: learning rate, > 0.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float) -> None:
        self._parameters = list(parameters)
        self._lr = lr
        self.param_groups: list[dict[str, Any]] = [{"params": self._parameters}]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        for p in self._parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for p in self._parameters:
            if p.grad is not None:
                p.add_(p.grad, alpha=-self._lr)
