"""SCAFFOLD, option II: control variates that take the clients' drift out of their steps.

    server   sends x and c
    client   y <- y - lr (g - c_i + c), K times; sends delta = y - x
             c_i <- c_i - c - delta / (K lr)
    server   x <- x + mean delta
             c <- c + |S| / N x mean of the changes of c_i

The change of c_i follows from delta, so that the server computes c from the mean of deltas where
all clients take the same K steps. Otherwise delta x usual K / K_i travels behind delta. With that
factor both have about the same size, and a channel that clips or rounds treats them alike.

Source: Karimireddy et al., ICML 2020, algorithm 1. Convention: the mean is that of the model's
average, with the clients' weights, or whatever the rule makes of their rows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from securefl.learning.algorithms.kept import Kept
from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.algorithms.stateful import StatefulTrainer
from securefl.learning.protocol import ServerStep, StepResult, Trainer

_CONTROL = "control"  # c


class Scaffold:
    """Both halves of SCAFFOLD.

    Args:
        terms: public constants.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.sent_size = terms.d + terms.parameters
        is_common = terms.common_steps is not None
        self.update_size = terms.d if is_common else terms.d + terms.parameters

    def sent(self, weights: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Returns the weights (d,), then c."""
        return torch.cat([weights, self._control(state)])

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
        """Takes the server's step, and moves c by the mean change of the survivors' c_i."""
        terms = self._terms
        per_step = _per_step(terms, estimate)
        # c + share x (-c - mean delta / (K lr)), so written that rounding cancels for one client.
        control = (1 - share) * self._control(state) - share * (per_step / terms.lr(round))
        moved = step(weights, estimate[: terms.d], {})
        return StepResult(moved.weights, {_CONTROL: control})

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the client's half."""
        return ScaffoldTrainer(trainer, place, self._terms)

    def _control(self, state: Mapping[str, Tensor]) -> Tensor:
        return state.get(_CONTROL, torch.zeros(self._terms.parameters))


class ScaffoldTrainer(StatefulTrainer):
    """A client's half of SCAFFOLD; its state is c_i.

    Args:
        trainer: takes K corrected steps.
        place: of the client.
        terms: public constants.
    """

    def __init__(self, trainer: Trainer, place: Place, terms: Terms) -> None:
        if place.corrections is None:
            raise ValueError("scaffold corrects steps, and needs corrections")
        kept = Kept(torch.zeros(terms.parameters), place.file)
        super().__init__(trainer, place.client, place.corrections, kept, terms)
        self._steps = place.steps

    def _model(self, sent: Tensor) -> Tensor:
        return sent[: self._terms.d]

    def _correction(self, state: Tensor, sent: Tensor) -> Tensor:
        return sent[self._terms.d :] - state

    def _after(self, state: Tensor, sent: Tensor, update: Tensor, round: int) -> Tensor:
        return (
            state - sent[self._terms.d :] - _per_step(self._terms, update) / self._terms.lr(round)
        )

    def _update(self, delta: Tensor) -> Tensor:
        if self._terms.common_steps is not None:
            return delta
        scaled = delta[: self._terms.parameters] * (self._terms.usual_steps / self._steps)
        return torch.cat([delta, scaled])


def _per_step(terms: Terms, update: Tensor) -> Tensor:
    """Returns the change of the parameters a local step, of an update or of a mean of them."""
    if terms.common_steps is not None:
        return update[: terms.parameters] / terms.common_steps
    return update[terms.d :] / terms.usual_steps
