"""FedNova: updates count by the step, so that clients with many records do not pull harder.

    client   sends delta_i x tau / K_i
    server   x <- x + mean of that, with tau = the weighted mean of all clients' K_i

Where the clients' numbers of steps are not public, the client sends delta_i x usual K / K_i and, as
one more coordinate, K_i over the most steps that anybody could take. The server's tau is then that
of the round's clients.

Source: Wang et al., NeurIPS 2020, equation 7, with plain SGD: a_i = (1, ..., 1), and tau_eff the
weighted mean of K_i. Convention: where steps are public, the mean is over all clients, not those of
a round.
"""

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.protocol import EarlyTrainer, ServerStep, StepResult, Trained, Trainer
from securefl.privacy.events import PrivacyEvent


class FedNova(FedAvg):
    """Both halves of FedNova.

    Args:
        terms: public constants, with the clients' weights.

    Raises:
        ValueError: the clients' weights are not public.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        if terms.weights is None:
            raise ValueError("fednova needs public weights")
        self._terms = terms
        self._tau = _mean_steps(terms.steps, terms.weights)
        if self._tau is None:
            self.update_size = terms.d + 1

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
        """Takes the server's step by tau times the mean change of a local step."""
        if self._tau is None:
            terms = self._terms
            tau = estimate[terms.d] * (terms.most_steps / terms.usual_steps / _bound(terms))
            estimate = estimate[: terms.d].clone()
            estimate[: terms.parameters] *= tau
        return step(weights, estimate, state)

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the client's half."""
        terms = self._terms
        if self._tau is not None:
            return ScaledTrainer(trainer, terms.parameters, float(self._tau / place.steps))
        last = _bound(terms) * place.steps / terms.most_steps
        factor = terms.usual_steps / place.steps
        return ScaledTrainer(trainer, terms.parameters, factor, last=last)


def _bound(terms: Terms) -> float:
    """Returns the largest value of the coordinate for K, which no channel may clip."""
    return 1.0 if terms.clip is None else min(1.0, terms.clip)


def _mean_steps(steps: Mapping[int, int] | None, weights: Mapping[int, int]) -> Fraction | None:
    """Returns the weighted mean of the clients' steps; None where these are not public."""
    if steps is None:
        return None
    total = sum(weights[client] * count for client, count in steps.items())
    # Exact, so that clients with equal steps keep their updates bit for bit.
    return Fraction(total, sum(weights[client] for client in steps))


class ScaledTrainer:
    """A trainer whose changes of parameters are multiplied by a constant.

    The constant follows from a number of steps. Under a DP claim that is a public constant, so that
    the scaled update is post-processing of the noisy one.

    Args:
        trainer: of the client.
        parameters: coordinates that are parameters; running statistics are left as they are.
        factor: > 0.
        last: one more coordinate of the update; None for none.
    """

    def __init__(
        self, trainer: Trainer, parameters: int, factor: float, *, last: float | None = None
    ) -> None:
        self._trainer = trainer
        self._parameters = parameters
        self._early = trainer if isinstance(trainer, EarlyTrainer) else None
        self._factor = factor
        self._last = last

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts what the next call of `fit` returns, where the trainer can."""
        if self._early is not None:
            self._early.begin(weights, round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the scaled update, and its cost."""
        delta, spent = self._trainer.fit(weights, round=round)
        if self._factor != 1:
            delta[: self._parameters] *= self._factor
        if self._last is not None:
            delta = torch.cat([delta, torch.tensor([self._last])])
        return Trained(delta, spent)
