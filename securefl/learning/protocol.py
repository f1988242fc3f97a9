"""Local training, the server's step and the quality of a model: the values, and what provides them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from securefl.privacy.events import SampledGaussian

Bend = Callable[
    [Tensor, Tensor], Tensor
]  # a gradient, and how far the weights are from the global ones -> a gradient


class Trained(NamedTuple):
    """What local training gives back: delta (d,) and the privacy event it cost."""

    delta: Tensor
    spent: SampledGaussian | None


class Trainer(Protocol):
    """Local training of one client, and what one call of it costs."""

    @property
    def cost(self) -> SampledGaussian | None:
        """The event one call of `fit` costs; None without a DP mechanism."""

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """The change that local training makes to weights (d,)."""


class StepResult(NamedTuple):
    """The server's new weights (d,) and the state of its optimiser."""

    weights: Tensor
    state: Mapping[str, Tensor]


ServerStep = Callable[
    [Tensor, Tensor, Mapping[str, Tensor]], StepResult
]  # weights (d,), estimate (d,), state


@dataclass(frozen=True)
class Metrics:
    """Quality of a model on test records; None is 'not measured'."""

    records: int
    accuracy: float | None
    balanced_accuracy: float | None
    auc: float | None
    majority: float | None
