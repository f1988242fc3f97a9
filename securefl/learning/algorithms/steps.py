"""What algorithms add to a client's local steps.

Every change comes after the gradient. Under DP-SGD that is the noisy mean gradient, so that it is
post-processing of the client's own noisy steps and of the global model that it was sent: it costs
nothing, and no clip bounds it. A change of each record's loss would be clipped with its gradient.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

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


def fedbn(optimizer: Steps) -> Steps:
    """Adds nothing: norm layers stay at the site.

    Source: Li et al., ICLR 2021, algorithm 1.
    """
    return optimizer


def fedrep(optimizer: Steps, *, head_epochs: int, epochs: int, corrections: Corrections) -> Steps:
    """Moves the head in the first head_epochs of all epochs, and the body in the others.

    Source: Collins et al., ICML 2021, algorithm 1.
    """
    return Phased(optimizer, corrections, Fraction(head_epochs, epochs))


def ditto(optimizer: Steps, *, lam: float) -> Steps:
    """Adds nothing: the global model is FedAvg's; lam pulls each site's own model towards it.

    Source: Li et al., ICML 2021, algorithm 1.
    """
    return optimizer


def ewc(
    optimizer: Steps,
    *,
    strength: float,
    corrections: Corrections,
    fisher_noise: float | None = None,
) -> Steps:
    """Adds strength x F_i x (w - w*) to every gradient: it holds on to what mattered before.

    fisher_noise is the noise multiplier of F_i, which was drawn where F_i was measured.

    Source: Kirkpatrick et al., PNAS 2017, equation 3; the gradient of its penalty.
    """
    return Anchored(optimizer, corrections, strength)


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
        self._parts = [
            (p, part.view_as(p).to(p.device))
            for p, part in _by_parameter(optimizer, corrections.current)
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


class Anchored:
    """An optimizer whose gradients pull towards an earlier model, each coordinate by its weight.

    Args:
        optimizer: takes the steps; its parameters that train are those of the corrections.
        corrections: have the weights of the client that trains, and the earlier model.
        strength: of the pull, >= 0.
    """

    def __init__(self, optimizer: Steps, corrections: Corrections, strength: float) -> None:
        if corrections.anchor is None:
            raise ValueError("ewc pulls towards an earlier model, and there is none")
        self._optimizer = optimizer
        self._strength = strength
        self.param_groups: list[dict[str, Any]] = optimizer.param_groups
        weights = _by_parameter(optimizer, corrections.current)
        anchors = _by_parameter(optimizer, corrections.anchor)
        self._parts = [
            (p, weight.view_as(p).to(p.device), anchor.view_as(p).to(p.device))
            for (p, weight), (_, anchor) in zip(weights, anchors, strict=True)
        ]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        self._optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for p, weight, anchor in self._parts:
            if p.grad is not None:
                p.grad.add_(weight * (p - anchor), alpha=self._strength)
        self._optimizer.step()


class Phased:
    """An optimizer that moves the personal parameters in its first steps, then all others.

    Args:
        optimizer: takes the steps; its parameters that train are those of the corrections.
        corrections: say which parameters are personal, and how many steps the client takes.
        share: of the steps that move the personal parameters.
    """

    def __init__(self, optimizer: Steps, corrections: Corrections, share: Fraction) -> None:
        if corrections.personal is None:
            raise ValueError("no parameter is personal")
        self._optimizer = optimizer
        self.param_groups: list[dict[str, Any]] = optimizer.param_groups
        flags = _by_parameter(optimizer, corrections.personal)
        self._personal = [(p, bool(flag.all())) for p, flag in flags]
        self._first = int(corrections.current_steps * share)
        self._taken = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        self._optimizer.zero_grad(set_to_none)

    def step(self) -> None:
        """Moves the parameters whose turn it is."""
        is_first = self._taken < self._first
        self._taken += 1
        for p, is_personal in self._personal:
            if is_personal is not is_first:
                p.grad = None
        self._optimizer.step()


def _parameters(optimizer: Steps) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _by_parameter(optimizer: Steps, row: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    """Cuts a row (parameters,) into the parts of the parameters that train."""
    trained = [p for p in _parameters(optimizer) if p.requires_grad]
    parts = torch.split(row, [p.numel() for p in trained])
    return list(zip(trained, parts, strict=True))
