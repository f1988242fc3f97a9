"""Canaries in clipped-gradient sums, and everything else in these sums that is no noise."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from securefl.audit.canaries import Canaries
from securefl.data.task import Examples
from securefl.learning.clipped_gradient import ClippedGradientTrainer, GradientSums
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.protocol import Trained
from securefl.privacy.events import PrivacyEvent


class Enlarged(NamedTuple):
    """A client's prepared records, and after them the canaries that are in.

    Attributes:
        real: the records.
        canaries: how many come after them.
    """

    real: Any
    canaries: int

    def __len__(self) -> int:
        """Returns the number of both together."""
        return len(self.real) + self.canaries


class CanarySums:
    """Clipped sums in which canaries are drawn, clipped and added up as records are.

    Args:
        sums: of the real records.
        canaries: come after the records.
        normaliser: divisor of the client's sums, so that the rest of its update is known.
    """

    def __init__(self, sums: GradientSums, canaries: Canaries, normaliser: float) -> None:
        self._sums = sums
        self._canaries = canaries
        self._normaliser = normaliser
        self.device = sums.device
        self.rounding = sums.rounding

    def prepared(self, examples: Examples) -> Enlarged:
        """Returns the records and canaries."""
        return Enlarged(self._sums.prepared(examples), int(self._canaries.inside.sum()))

    def clipped_sum(
        self, weights: Tensor, records: Enlarged, chosen: Tensor | None, *, clip: float
    ) -> Tensor:
        """Returns (d,) float64; notes at the canaries what the real records did to the update."""
        number = len(records.real)
        places = torch.arange(records.canaries)
        real = chosen
        if chosen is not None:
            real = chosen[chosen < number]
            places = chosen[chosen >= number] - number
        total = self._sums.clipped_sum(weights, records.real, real, clip=clip)
        self._canaries.others.append(-total / self._normaliser)
        members = self._canaries.inside.nonzero()[:, 0][places]
        norms = torch.full((len(members),), self._canaries.norm, dtype=torch.float64)
        values = norms * clip_factors(norms, clip) * self._canaries.signs[members]
        return total.index_add(0, self._canaries.coordinates[members], values)


class NotedTrainer:
    """Trains as another trainer does, and notes its update at the canaries, without theirs.

    The adversary of differential privacy knows all records but one. Where noise is added to whole
    sums, it knows every update except for what the canaries add.

    Args:
        trainer: of a client that adds no noise of its own.
        client: its id.
        canaries: keep the notes.
    """

    def __init__(self, trainer: ClippedGradientTrainer, client: int, canaries: Canaries) -> None:
        self._trainer = trainer
        self._client = client
        self._canaries = canaries

    @property
    def cost(self) -> PrivacyEvent:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the client's update."""
        trained = self._trainer.fit(weights, round=round)
        notes = self._canaries.known.setdefault(self._client, {})
        holds_canaries = isinstance(self._trainer.sums, CanarySums)
        known = self._canaries.others[-1] if holds_canaries else trained.delta
        notes[round] = known[self._canaries.coordinates].double()
        return trained


def with_canaries_in_sums(
    trainer: ClippedGradientTrainer, canaries: Canaries
) -> ClippedGradientTrainer:
    """Returns a client's trainer with canaries among its records."""
    return trainer.with_sums(CanarySums(trainer.sums, canaries, trainer.plan.normaliser))
