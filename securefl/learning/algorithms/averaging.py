"""FedAvg and FedProx: the server sends the model, and steps by the estimate."""

from collections.abc import Mapping

from torch import Tensor

from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.protocol import ServerStep, StepResult, Trainer


class Averaging:
    """The server's half where nothing but the model is sent."""

    def sent(self, weights: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Returns the weights (d,)."""
        return weights

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
        """Takes the server's step."""
        return step(weights, estimate, state)


AVERAGE = Averaging()


class FedAvg(Averaging):
    """Clients send their changes. Whatever else an algorithm does happens in their local steps.

    Args:
        terms: public constants.

    Source: McMahan et al., AISTATS 2017, algorithm 1.
    """

    def __init__(self, terms: Terms) -> None:
        self.sent_size = self.update_size = terms.d

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the trainer itself."""
        return trainer
