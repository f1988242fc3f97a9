"""The server's half of training by one clipped-gradient sum a round: it takes the step.

    algorithm = GradientDescent(terms, momentum=0.9, ema=0.95)
    weights, state = algorithm.move(step, weights, estimate, state, round=0, share=1.0)

The estimate is minus the mean gradient, with noise in it. Everything here comes after the noise, so
that it costs nothing.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.protocol import ServerStep, StepResult, Trainer

VELOCITY = "velocity"
ITERATE = "iterate"


class GradientDescent:
    """Gradient descent at the server, with momentum, weight decay and an average of iterates.

    With ema, the model of the run is the average, which is evaluated and saved. Clients get the
    iterate, at which they take gradients.

    Args:
        terms: public constants; lr gives the learning rate of a round.
        momentum: fading of the running sum of gradients, in [0, 1).
        weight_decay: strength of the pull to zero that is added to each gradient, >= 0.
        ema: decay of the moving average, in (0, 1), which starts at the first iterate; None for
            the iterates themselves.

    Source: the step of torch.optim.SGD; the moving average of De et al. 2022 ("Unlocking
    high-accuracy differentially private image classification through scale", section 3).
    """

    def __init__(
        self,
        terms: Terms,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        ema: float | None = None,
    ) -> None:
        self.sent_size = self.update_size = terms.d
        self._lr = terms.lr
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._ema = ema

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the trainer itself."""
        return trainer

    def sent(self, weights: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Returns the iterate (d,), which is the model unless iterates are averaged."""
        return state.get(ITERATE, weights)

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
        """Takes a step of gradient descent from the iterate; arguments as in `Server.move`."""
        iterate = self.sent(weights, state)
        after: dict[str, Tensor] = {}
        direction = estimate - self._weight_decay * iterate
        if self._momentum:
            fading = state.get(VELOCITY, torch.zeros_like(direction))
            direction = after[VELOCITY] = self._momentum * fading + direction
        moved = step(iterate, self._lr(round) * direction, {}).weights
        if self._ema is None:
            return StepResult(moved, after)
        after[ITERATE] = moved
        is_first = ITERATE not in state
        average = moved if is_first else self._ema * weights + (1 - self._ema) * moved
        return StepResult(average, after)
