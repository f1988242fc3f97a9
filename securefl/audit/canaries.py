"""Canaries in DP-SGD: records known by their gradients alone, which an audit puts in and seeks."""

import torch
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.clipping.recorder import BatchGradients
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.options import USUAL, StepOptions
from securefl.learning.plan import DpPlan, OnOwnStep, unseen
from securefl.learning.protocol import Trained
from securefl.rng import Keystream

MAX_CANARIES = 10_000  # of one run
MIN_COORDINATES = 1000  # of a model; fewer leave room for too few canaries
LOUDNESS = 10.0  # norm of a canary's gradient over the clip, so that clipping is put to the test


class Canaries:
    """Gradients that do not touch each other: one coordinate each, with a random sign.

    Fair coins put some into training and leave the others out. Since no two share a coordinate,
    each is a trial of its own, and a thousand of them fit into one run.

    Args:
        d: coordinates of the model, >= `MIN_COORDINATES`.
        norm: of each gradient, before clipping.
        stream: draws the coordinates, the signs and the coins.
        limit: of the number of canaries.

    Attributes:
        coordinates: (m,), of each canary.
        signs: (m,), of its gradient there.
        inside: (m,) bool, the canaries that are in.
        norm: of each gradient.
        others: (d,) for each call of training: what the other records did to the update. Empty
            where the optimizer mixes the steps, so that nobody can take them apart.
        known: client -> round -> (m,), its update at the canaries, without theirs and without
            noise. Empty where clients add noise of their own.

    Raises:
        ValueError: the model has too few coordinates.
    """

    def __init__(
        self, d: int, *, norm: float, stream: Keystream, limit: int = MAX_CANARIES
    ) -> None:
        if d < MIN_COORDINATES:
            raise ValueError(
                "canaries that do not touch each other need a model of "
                f"{MIN_COORDINATES} coordinates or more, got {d}: use a larger one, such as "
                "model.name = 'mlp' with more hidden units, or, with fixed features, model.pooling "
                "= 7"
            )
        count = min(limit, d)
        # The order of these draws decides the canaries of a seed: it never changes.
        self.coordinates = torch.from_numpy(stream.permutation(d)[:count].copy())
        self.signs = torch.from_numpy(stream.bernoulli(count, probability=0.5)).double() * 2 - 1
        self.inside = torch.from_numpy(stream.bernoulli(count, probability=0.5))
        self.norm = norm
        self.others: list[Tensor] = []
        self.known: dict[int, dict[int, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.coordinates)

    def gradients(self, places: Tensor, d: int) -> Tensor:
        """Returns (k, d) gradients of the canaries at places (k,) among those inside."""
        members = self.inside.nonzero()[:, 0][places]
        values = (self.norm * self.signs[members]).float()
        rows = torch.zeros(len(places), d)
        rows[torch.arange(len(places)), self.coordinates[members]] = values
        return rows

    def machine(
        self, model: nn.Module, task: Task, *, lr: float, options: StepOptions = USUAL
    ) -> DpSgd:
        """Returns the DP-SGD that these records enter."""
        return CanaryDpSgd(model, task, lr=lr, canaries=self, options=options)

    def scores(self, increment: Tensor) -> Tensor:
        """Returns (m,) float64: how far weights moved against each canary's gradient.

        Args:
            increment: (d,), of the weights.
        """
        return -self.signs * increment[self.coordinates].double()


class CanaryDpSgd(DpSgd):
    """DP-SGD that draws, clips and sums the canaries that are inside as it does records.

    Args:
        model: as `DpSgd` takes it.
        task: gives the loss of real records.
        lr: learning rate, > 0.
        canaries: come after the records.
        options: as `DpSgd` takes them.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        lr: float,
        canaries: Canaries,
        options: StepOptions = USUAL,
    ) -> None:
        super().__init__(model, task, lr=lr, options=options)
        self._canaries = canaries
        self._clip = 1.0
        self._real = torch.zeros(0)  # (d,), clipped sum of the real records of a call of training

    def run(
        self,
        weights: Tensor,
        examples: Examples,
        plan: DpPlan,
        *,
        sampling: Keystream,
        noise: Keystream,
        round: int = 0,
        on_step: OnOwnStep = unseen,
    ) -> Trained:
        """As `DpSgd.run`; notes at the canaries what the real records did to the update."""
        self._clip = plan.clip
        self._real = torch.zeros(weights.shape, dtype=torch.float64)
        trained = super().run(
            weights,
            examples,
            plan,
            sampling=sampling,
            noise=noise,
            round=round,
            on_step=on_step,
        )
        if self.options.linear:
            self._canaries.others.append(-self.lr(round) / plan.normaliser * self._real)
        return trained

    def records(self, examples: Examples) -> int:
        """Returns the number of real records and canaries inside, which share the batches."""
        return len(examples) + int(self._canaries.inside.sum())

    def gradients(self, examples: Examples, chosen: Tensor) -> BatchGradients:
        """Returns the gradients of the real records chosen, then those of the canaries."""
        real = super().gradients(examples, chosen[chosen < len(examples)])
        self._real += self.flat_sum(real, clip_factors(real.norms(), self._clip))
        places = chosen[chosen >= len(examples)] - len(examples)
        rows = self._canaries.gradients(places, len(self._real))
        return real.joined(self.by_parameter(rows))
