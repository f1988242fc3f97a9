"""FedDyn: each client's loss is changed until all have their optimum at the same model.

    client   w <- w - lr (g - h_i + alpha (w - x)); sends delta = w - x
             h_i <- h_i - alpha delta
    server   h <- h - alpha |S| / N x mean delta
             x <- x + mean delta - h / alpha

Nothing but x and delta travels.

Source: Acar et al., ICLR 2021, algorithm 1; h_i is the gradient of L_i there, by its first-order
condition.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.kept import Kept
from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.algorithms.stateful import StatefulTrainer
from securefl.learning.protocol import ServerStep, StepResult, Trainer

_H = "h"


class FedDyn(FedAvg):
    """Both halves of FedDyn.

    Args:
        terms: public constants.
        alpha: strength of the pull, > 0.
    """

    def __init__(self, terms: Terms, *, alpha: float) -> None:
        super().__init__(terms)
        self._terms = terms
        self._parameters = terms.parameters
        self._alpha = alpha

    def move(
        self,
        step: ServerStep,
        weights: Tensor,
        estimate: Tensor,
        state: Mapping[str, Tensor],
        *,
        round: int,
        share: float,
    ) -> StepResult:
        """Adds the mean of deltas, and takes out what the clients' pulls left in it."""
        h = state.get(_H, torch.zeros(self._parameters))
        h = h - self._alpha * share * estimate[: self._parameters]
        moved = step(weights, estimate, {}).weights.clone()
        moved[: self._parameters] -= h / self._alpha
        return StepResult(moved, {_H: h})

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the client's half."""
        return FedDynTrainer(trainer, place, self._terms, alpha=self._alpha)


class FedDynTrainer(StatefulTrainer):
    """A client's half of FedDyn; its state is h_i.

    Args:
        trainer: takes corrected steps.
        place: of the client.
        terms: public constants.
        alpha: strength of the pull, > 0.
    """

    def __init__(self, trainer: Trainer, place: Place, terms: Terms, *, alpha: float) -> None:
        if place.corrections is None:
            raise ValueError("feddyn corrects steps, and needs corrections")
        kept = Kept(torch.zeros(terms.parameters), place.file)
        super().__init__(trainer, place.client, place.corrections, kept, terms)
        self._parameters = terms.parameters
        self._alpha = alpha

    def _correction(self, state: Tensor, sent: Tensor) -> Tensor:
        return -state

    def _after(self, state: Tensor, sent: Tensor, update: Tensor, round: int) -> Tensor:
        return state - self._alpha * update[: self._parameters]
