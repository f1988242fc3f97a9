"""The trainer of a client whose whole update is protected: clipped, sampled, noised.

    update   delta, scaled down to the L2 norm `clip`; zeros where it is not finite
    coin     with probability q the update / q, else zeros of the same length
    noise    N(0, std^2) to each coordinate, where the client adds its own

Nothing of this depends on what the records are: a client that is out of a round trains all the
same, and sends a message of the same length.

Source: McMahan, Ramage, Talwar and Zhang, ICLR 2018, algorithm 1, with the clipping of a whole
update ("flat clipping"). Convention: the mean is over all invited clients, whose number is public.
"""

import math

import torch
from torch import Tensor

from securefl.learning.protocol import EarlyTrainer, Trained, Trainer
from securefl.learning.release import Release
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.noise.gaussian import hardened_normal

# Purposes of the streams that a client draws from.
COIN, NOISE = "cohort coin", "noise"
# An update goes to float32 after it was clipped, which must not bring it above the clip again.
_ROUNDING = 2.0**-20


def norm_of(delta: Tensor) -> float:
    """Returns the L2 norm of a vector, of float64 sums; infinite where it has a NaN."""
    norm = float(torch.linalg.vector_norm(delta, dtype=torch.float64))
    return norm if math.isfinite(norm) else math.inf


def clipped(delta: Tensor, clip: float) -> Tensor:
    """Returns a vector (d,) of L2 norm clip at most, in float64.

    Args:
        delta: (d,). One that is not finite becomes zeros, by the same steps as any other.
        clip: > 0.

    Guarantees:
        - Rounded to float32, the result has a norm of clip at most.
    """
    norm = norm_of(delta)
    factor = min(1.0, clip * (1 - _ROUNDING) / max(norm, torch.finfo(torch.float64).tiny))
    return torch.nan_to_num(delta.double(), nan=0.0, posinf=0.0, neginf=0.0).mul_(factor)


class ClippedUpdates:
    """Trains as another trainer does, and releases the change as one update of bounded length.

    Args:
        trainer: of the client; it has no noise of its own.
        client: its id, which names its streams.
        release: what the update costs, its coin and its noise.
        clip: bound on the L2 norm of an update, > 0.

    Raises:
        ValueError: the trainer adds noise itself.
    """

    def __init__(self, trainer: Trainer, client: int, release: Release, *, clip: float) -> None:
        if trainer.cost is not None:
            raise ValueError("a trainer with noise of its own is not clipped as a whole")
        self._trainer = trainer
        self._early = trainer if isinstance(trainer, EarlyTrainer) else None
        self._client = client
        self._release = release
        self._clip = clip

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._release.cost

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts what the next call of `fit` returns, where the trainer can."""
        if self._early is not None:
            self._early.begin(weights, round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the clipped and noised change of weights (d,), and its cost."""
        delta, _ = self._trainer.fit(weights, round=round)
        update = clipped(delta, self._clip)
        return Trained(released(update, self._release, self._client, round), self.cost)


def released(update: Tensor, release: Release, client: int, round: int) -> Tensor:
    """Returns an update (d,) of float64 as it leaves: by the client's coin, noised, in float32.

    Args:
        update: (d,), clipped; it is changed.
        release: the coin and the noise.
        client: names the streams, as does the round.
        round: number of the round.
    """
    rate = release.sample_rate
    if rate < 1:
        coin = release.stream_for(COIN, client, round).bernoulli(1, probability=rate)
        # A product either way: an update that is out takes the same steps.
        update *= float(coin[0]) / rate
    if release.std > 0:
        noise = hardened_normal(len(update), release.stream_for(NOISE, client, round))
        update += release.std * torch.from_numpy(noise)
    return update.float()
