"""The ingredients of local training: public constants, records and streams.

Checks and calculations need these values and not the trainers, whose libraries take a second to
import (Opacus).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from torch import nn

from securefl.data.task import Examples, Task
from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.models.scattering.remembered import prepared
from securefl.learning.options import USUAL, StepOptions
from securefl.learning.protocol import Bend
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.rng import StreamFor

# How DP-SGD treats the records, in the words of the scenario's table [practice].
PRACTICE = {
    "sampling": "poisson",
    "normaliser": "declared",
    "batches": "all",
    "statistics": "public",
}

# How a sum of clipped gradients treats the records; Poisson batches are said where they are drawn.
PRACTICE_OF_SUMS = {**PRACTICE, "sampling": "full"}

# What one record may shift the rounding of a float32 sum by, over the length of the sum. Records
# that all point one way, the worst that was measured, shift it by a third of that.
ROUNDED = 2.0**-23 + 2.0**-25

# client, step, steps: the client has taken so many of its local steps of this round
OnStep = Callable[[int, int, int], None]
# step, steps: the same of one client
OnOwnStep = Callable[[int, int], None]


def unseen(*step: int) -> None:
    """Shows a step to nobody."""


def steps_a_round(records: int, *, batch: int, epochs: int) -> int:
    """Returns the local steps of a client: ceil(records / batch) an epoch, in integers."""
    return epochs * -(-records // batch)


@dataclass(frozen=True)
class DpPlan:
    """The public constants of one client's DP-SGD; nothing here depends on its records.

    Args:
        records: declared number of records, >= 1; the real one is never read.
        batch: expected records a step, >= 1.
        epochs: local epochs a round, >= 1.
        clip: bound on each example's gradient norm, > 0.
        noise_multiplier: standard deviation of the noise over the clip, >= 0.
    """

    records: int
    batch: int
    epochs: int
    clip: float
    noise_multiplier: float

    @property
    def sample_rate(self) -> float:
        """Probability of each record to be in a step: min(1, batch / records)."""
        return min(1.0, self.batch / self.records)

    @property
    def steps(self) -> int:
        """Steps a round: ceil(records / batch) an epoch, in integers."""
        return steps_a_round(self.records, batch=self.batch, epochs=self.epochs)

    @property
    def normaliser(self) -> float:
        """Divisor of the noisy sum: the expected batch, sample_rate x records."""
        return min(self.batch, self.records)

    def with_noise(self, noise_multiplier: float) -> Self:
        """Returns the same plan with another noise multiplier."""
        return replace(self, noise_multiplier=noise_multiplier)

    @property
    def cost(self) -> PrivacyEvent:
        """The event that one round costs."""
        return SampledGaussian(self.sample_rate, self.noise_multiplier, self.steps)


def dp_plan(records: int, training: Mapping[str, Any]) -> DpPlan:
    """Returns the plan of DP-SGD without noise, from the keys of the table [training]."""
    batch, epochs, clip = (training[key] for key in ("batch", "epochs", "clip"))
    return DpPlan(records, batch, epochs, clip, noise_multiplier=0.0)


def sum_plan(records: int, training: Mapping[str, Any]) -> "SumPlan":
    """Returns the plan of one sum a round without noise, from the keys of the table [training]."""
    return SumPlan.of(records, clip=training["clip"], rate=training.get("sample_rate"))


@dataclass(frozen=True)
class SumPlan(DpPlan):
    """The public constants of one clipped-gradient sum a round; the server takes the step.

    Args:
        rate: probability of each record to be in a round's sum, in (0, 1].
        release: what the sum costs where its noise is not this client's own; None where it is.
    """

    rate: float = 1.0
    release: PrivacyEvent | None = None

    @classmethod
    def of(cls, records: int, *, clip: float, rate: float | None) -> Self:
        """Returns the plan without noise; a rate of None takes every record."""
        expected = records if rate is None else max(1, round(rate * records))
        return cls(records, expected, 1, clip, noise_multiplier=0.0, rate=rate or 1.0)

    @property
    def sample_rate(self) -> float:
        """Probability of each record to be in a round's sum."""
        return self.rate

    @property
    def steps(self) -> int:
        """One sum a round."""
        return 1

    @property
    def normaliser(self) -> float:
        """Divisor of the sum: the expected number of records in it."""
        return self.rate * self.records

    @property
    def length(self) -> float:
        """The largest L2 norm of a sum: that of all declared records, each at the clip."""
        return self.records * self.clip

    @property
    def sensitivity(self) -> float:
        """How far one record moves the sum: by the clip, and by how it shifts all other roundings.

        Records are summed up in float32, block by block. See `ROUNDED`.
        """
        return self.clip + ROUNDED * self.length

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise that this client adds to its sum."""
        return self.noise_multiplier * self.sensitivity if self.release is None else 0.0

    @property
    def cost(self) -> PrivacyEvent:
        """The event that one round costs."""
        return super().cost if self.release is None else self.release


@dataclass(frozen=True)
class LocalTraining:
    """Everything that the trainers of a federation are made from.

    Args:
        model: the trained model; trainers may use it as their workspace and overwrite its weights.
        task: gives the loss.
        examples: client -> its training records.
        batch: records a step, >= 1.
        epochs: local epochs a round, >= 1.
        lr: learning rate, > 0, before the schedule of the options.
        stream_for: gives the streams that draw batches, noise and dropout.
        plans: client -> public constants of its DP mechanism; empty where there is none.
        bends: client -> what an adversary does to its gradients; empty where nobody does.
        options: how the steps are taken.
        on_step: called after every step of a client. Physical batches are no steps: with Poisson
            sampling their number would reveal how many records were drawn.
        corrections: what clients add to their gradients; None where the algorithm adds nothing.
    """

    model: nn.Module
    task: Task
    examples: Mapping[int, Examples]
    batch: int
    epochs: int
    lr: float
    stream_for: StreamFor
    plans: Mapping[int, DpPlan] = field(default_factory=dict)
    bends: Mapping[int, Bend] = field(default_factory=dict)
    options: StepOptions = USUAL
    on_step: OnStep = unseen
    corrections: Corrections | None = None

    def steps_of(self, client: int) -> int:
        """Returns the local steps that a client takes in a round."""
        if client in self.plans:
            return self.plans[client].steps
        return steps_a_round(len(self.examples[client]), batch=self.batch, epochs=self.epochs)

    @cached_property
    def prepared(self) -> Mapping[int, Examples]:
        """Client -> its training records as the model's trained part reads them, see `prepared`."""
        return {
            client: Examples(prepared(self.model, self.task, features), labels)
            for client, (features, labels) in self.examples.items()
        }

    @property
    def records(self) -> dict[int, int]:
        """Client -> its records, as declared where they are: how long its training takes."""
        return {
            client: self.plans[client].records if client in self.plans else len(examples)
            for client, examples in self.examples.items()
        }
