"""One clipped-gradient sum a round: each site adds up clipped gradients, the server takes the step.

The update of site k is -(sum of its clipped gradients) / (q N_k). N_k is its declared number of
records, and q the probability of each record to be in the sum. So the mean of all updates with
weights N_k is the sum over all records / (q N), whichever site holds a record.
"""

import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from securefl import vector
from securefl.data.task import Examples
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.clipping.exact_layers import make_exact, usual_linears
from securefl.learning.device import full_precision
from securefl.learning.dp_models import check_model
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.head_sums import HeadSums, Rows, linear_head
from securefl.learning.modes import training_mode
from securefl.learning.options import random_layers
from securefl.learning.plan import ROUNDED, LocalTraining, OnStep, SumPlan, unseen
from securefl.learning.pooling import make_fast, usual_pools
from securefl.learning.protocol import Trained, Trainer
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import StreamFor

PHYSICAL_BATCH = 64  # rows at once, unless the scenario says how many


class GradientSums(Protocol):
    """Sums of clipped gradients of one model, shared by all clients of a process.

    Attributes:
        device: of the model.
        rounding: how far one record may shift the roundings of all others, over the sum's length.
    """

    device: torch.device
    rounding: float

    def prepared(self, examples: Examples) -> Any:
        """Returns the records in the form that `clipped_sum` reads fastest, with their length."""

    def clipped_sum(
        self, weights: Tensor, records: Any, chosen: Tensor | None, *, clip: float
    ) -> Tensor:
        """Returns (d,) float64, the sum of the clipped gradients of some records at weights."""


class ModelSums:
    """Clipped sums of any model that DP-SGD can train.

    Args:
        machine: records the gradients of a physical batch.
    """

    def __init__(self, machine: DpSgd) -> None:
        self._machine = machine
        self.device = machine.device
        self.rounding = ROUNDED
        self._size = machine.options.physical_batch or PHYSICAL_BATCH

    def prepared(self, examples: Examples) -> Examples:
        """Returns the records as they are."""
        return examples

    def clipped_sum(
        self, weights: Tensor, records: Examples | Rows, chosen: Tensor | None, *, clip: float
    ) -> Tensor:
        """Returns (d,) float64, the sum of the clipped gradients of some records at weights.

        Args:
            weights: (d,).
            records: prepared records.
            chosen: indices of those that are in the sum; None for all.
            clip: bound on the norm of each gradient, > 0.

        Guarantees:
            - One record, whatever its content, adds at most the clip: norms are float64 and no
              lower than those of what is added up; a gradient that is not finite counts as zero.
              Sums over physical batches are float32, with their rounding; the rest is float64.
            - No record has a part in the gradient of another one, up to the rounding of the model's
              own pass forwards and backwards: see "What rounding leaves open" in
              docs/privacy-units.md. `HeadSums` has no such exception.
        """
        if isinstance(records, Rows):
            raise TypeError("rows are for a linear layer on fixed features")
        machine = self._machine
        vector.load_vector(machine.module, weights)
        training_mode(machine.module)  # an evaluation may have come before
        total = torch.zeros(len(weights), dtype=torch.float64)
        indices = torch.arange(len(records)) if chosen is None else chosen
        for part in torch.split(indices, self._size):
            if len(part) == 0:
                continue
            # Always as many rows: a library rounds the last rows of a batch, and batches of another
            # size, in another way. The last record fills the batch up, and is added once.
            rows = torch.cat([part, part[-1:].expand(self._size - len(part))])
            gradients = machine.gradients(records, rows)
            factors = clip_factors(gradients.norms(), clip)
            factors[len(part) :] = 0.0
            total += machine.flat_sum(gradients, factors).cpu().double()
        return total


class ClippedGradientTrainer:
    """One clipped-gradient sum a round over one client's records.

    Attributes:
        sums: of the shared model.
        plan: this client's public constants.

    Args:
        sums: of the shared model.
        examples: this client's records.
        plan: this client's public constants.
        client: this client's id, which names its random streams.
        stream_for: gives the streams that draw the batch, the noise and dropout.
        on_step: called after the sum.

    Guarantees:
        - Adding or removing one record moves the update, before noise, by at most
          plan.clip / plan.normaliser, and its norm is at most plan.length / plan.normaliser. Of
          more records than declared the sum is projected to that length, which moves no two sums
          further apart.
    """

    def __init__(
        self,
        sums: GradientSums,
        examples: Examples,
        plan: SumPlan,
        *,
        client: int,
        stream_for: StreamFor,
        on_step: OnStep = unseen,
    ) -> None:
        self.sums = sums
        self._examples = examples
        self._records: Any = None  # as the sums prepare them, once
        self.plan = plan
        self._client = client
        self._stream_for = stream_for
        self._on_step = on_step

    @property
    def cost(self) -> PrivacyEvent:
        """The event that one round costs."""
        return self.plan.cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns minus the mean clipped gradient at weights (d,), with noise, and its cost."""
        plan, device = self.plan, self.sums.device
        if self._records is None:
            self._records = self.sums.prepared(self._examples)
        dropout = self._stream_for("dropout", self._client, round)
        with random_layers(dropout, device), full_precision(device):
            total = self.sums.clipped_sum(
                weights, self._records, self._chosen(round), clip=self._clip
            )
        total = projected(total, plan.length)
        if plan.deviation:
            noise = hardened_normal(len(total), self._stream_for("noise", self._client, round))
            total += plan.deviation * torch.from_numpy(noise)
        self._on_step(self._client, 1, 1)
        # The noise is in before the sum is rounded.
        return Trained((-total / plan.normaliser).to(weights.dtype), plan.cost)

    @property
    def _clip(self) -> float:
        """The bound on each gradient.

        Noise of a whole sum is sized for the clip alone. So gradients leave room below it for what
        a record does to the roundings of others. Noise of this client's own covers that by itself.
        """
        plan = self.plan
        room = 0.0 if plan.release is None else self.sums.rounding * plan.length
        return max(0.0, plan.clip - room)

    def _chosen(self, round: int) -> Tensor | None:
        """Returns the records of a Poisson batch; None for all."""
        if self.plan.rate == 1:
            return None
        coins = self._stream_for("poisson", self._client, round)
        drawn = coins.bernoulli(len(self._records), probability=self.plan.rate)
        return torch.from_numpy(drawn.nonzero()[0])

    def with_sums(self, sums: GradientSums) -> "ClippedGradientTrainer":
        """Returns a trainer of the same client and records whose sums another object adds up."""
        other = copy.copy(self)
        other.sums, other._records = sums, None
        return other


def projected(total: Tensor, length: float) -> Tensor:
    """Returns the nearest vector to total (d,) float64 whose norm is at most the length."""
    norm = float(total.norm())
    return total if norm <= length else total * (length / norm)


def clipped_gradient_trainers(local: LocalTraining) -> dict[int, Trainer]:
    """Returns client -> its training by one clipped-gradient sum a round, on one shared model."""
    sums = sums_of(local)
    trainers: dict[int, Trainer] = {}
    for client, examples in local.prepared.items():
        plan = local.plans[client]
        if not isinstance(plan, SumPlan):
            raise TypeError(f"client {client} needs a SumPlan, got {type(plan).__name__}")
        trainers[client] = ClippedGradientTrainer(
            sums,
            examples,
            plan,
            client=client,
            stream_for=local.stream_for,
            on_step=local.on_step,
        )
    return trainers


def sums_of(local: LocalTraining) -> GradientSums:
    """Returns the sums of a copy of the model, in closed form where it is a linear head."""
    model = copy.deepcopy(local.model)
    if linear_head(model) is not None:
        return HeadSums(model, local.task, local.options)
    check_model(model)
    for pool in usual_pools(model):
        make_fast(pool)
    for layer in usual_linears(model):
        make_exact(layer)
    return ModelSums(DpSgd(model, local.task, lr=local.lr, options=local.options))
