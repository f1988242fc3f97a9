"""Averaging of updates that are protected as a whole, with a fixed or an adaptive clip.

With a fixed clip the server's half is that of FedAvg. With an adaptive one:

    server   sends x and C
    client   sends (delta clipped to C) / C and, as one more coordinate, s (b - 1/2), where b says
             whether the norm of delta was at most C
    server   x <- step(x, C x mean of the first d coordinates)
             C <- C exp(-lr (mean of b - quantile))

Both parts are one vector of norm sqrt(1 + s^2 / 4) at most, and one release: what the quantile
costs is in the noise of that vector, and the ledger has nothing else to book.

Source: Andrew, Thakkar, McMahan and Ramaswamy, NeurIPS 2021, algorithm 1. Convention: s is the
constant 1/2. The paper splits the noise so that the count of b has a deviation of n / 20, which
ties s to the noise; here the noise is calibrated after s. With 1/2 the updates get 3.1 % more noise
than with a fixed clip. The fraction of b in the mean gets the noise of s x b, divided by 1/2.

The fraction is then held to [0, 1], so that C moves by at most a factor exp(lr) a round. Under much
noise this biases it towards 1/2: near 0 or 1 the noise is cut off on one side.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.clipped_updates import ClippedUpdates, clipped, norm_of, released
from securefl.learning.protocol import ServerStep, StepResult, Trained, Trainer
from securefl.learning.release import Release

BIT_SCALE = 0.5  # s
CLIP_RANGE = 2.0**10  # an adaptive clip stays within the start times or over this
_CLIP = "clip"  # C in the state


def unit_length(*, adaptive: bool) -> float:
    """Returns the largest norm of what a client sends, for a clip of 1."""
    return math.sqrt(1 + (BIT_SCALE / 2) ** 2) if adaptive else 1.0


class ClientLevel(FedAvg):
    """Both halves with a fixed clip.

    Args:
        terms: public constants.
        clip: bound on the L2 norm of an update, > 0.
    """

    def __init__(self, terms: Terms, *, clip: float) -> None:
        super().__init__(terms)
        self._bound = clip

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the trainer whose updates are clipped."""
        return ClippedUpdates(trainer, place.client, _release_at(place), clip=self._bound)


class AdaptiveClientLevel:
    """Both halves with a clip that follows a quantile of the updates' norms.

    Args:
        terms: public constants.
        clip: the first C, > 0.
        clip_quantile: the share of updates that C should not shorten, in (0, 1).
        clip_lr: how far C moves a round, > 0.
    """

    def __init__(
        self, terms: Terms, *, clip: float, clip_quantile: float, clip_lr: float = 0.2
    ) -> None:
        self.sent_size = self.update_size = terms.d + 1
        self._start = clip
        self._quantile = clip_quantile
        self._lr = clip_lr

    def sent(self, weights: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Returns the weights (d,), then C."""
        return torch.cat([weights, self._clip_in(state)])

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
        """Takes the server's step, and moves C towards the quantile."""
        clip = self._clip_in(state)
        own = {name: value for name, value in state.items() if name != _CLIP}
        moved = step(weights, clip * estimate[:-1], own)
        # Noise, or a corrupt client, may move the fraction beyond 0 or 1, and exp(x) far.
        within = (estimate[-1:] / BIT_SCALE + 0.5).clamp(0, 1)
        after = clip * torch.exp(-self._lr * (within - self._quantile))
        after = after.clamp(self._start / CLIP_RANGE, self._start * CLIP_RANGE)
        return StepResult(moved.weights, {**moved.state, _CLIP: after})

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the client's half."""
        return AdaptivelyClipped(trainer, place.client, _release_at(place), start=self._start)

    def _clip_in(self, state: Mapping[str, Tensor]) -> Tensor:
        """Returns C of a state, (1,)."""
        return state.get(_CLIP, torch.tensor([self._start]))


class AdaptivelyClipped(ClippedUpdates):
    """A client's half with an adaptive clip, which comes with the model.

    A server that sends another C than it should gets an update of the same bounded length: the
    claim does not rest on C.

    Args:
        trainer: of the client; it has no noise of its own.
        client: its id, which names its streams.
        release: what the update costs, its coin and its noise.
        start: the first C.

    Raises:
        ValueError: the trainer adds noise itself.
    """

    def __init__(self, trainer: Trainer, client: int, release: Release, *, start: float) -> None:
        super().__init__(trainer, client, release, clip=start)
        # What was sent, and the model in it, of a training under way.
        self._begun: tuple[Tensor, Tensor] | None = None

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts what the next call of `fit` returns, where the trainer can."""
        # The trainer collects by the very tensor that it began with.
        self._begun = (weights, weights[:-1])
        super().begin(self._begun[1], round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the update (d + 1,) that answers weights and C (d + 1,), and its cost."""
        begun, self._begun = self._begun, None
        model = begun[1] if begun is not None and begun[0] is weights else weights[:-1]
        delta, _ = self._trainer.fit(model, round=round)
        clip = self._clip_of(weights)
        within = float(norm_of(delta) <= clip)
        bit = torch.tensor([BIT_SCALE * (within - 0.5)], dtype=torch.float64)
        update = torch.cat([clipped(delta, clip) / clip, bit])
        return Trained(released(update, self._release, self._client, round), self.cost)

    def _clip_of(self, sent: Tensor) -> float:
        """Returns C of what the server sent, in its public range."""
        start, clip = self._clip, float(sent[-1])
        if not math.isfinite(clip):
            clip = start
        return min(max(clip, start / CLIP_RANGE), start * CLIP_RANGE)


def _release_at(place: Place) -> Release:
    if place.release is None:
        raise ValueError("updates that are protected as a whole need a release")
    return place.release
