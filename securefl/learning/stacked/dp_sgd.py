"""Local DP-SGD of several clients at once: what `DpSgdTrainer` does, up to rounding.

The gradients of single records come from one backward pass of all clients' records. The noise of
each client comes from its own stream.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.learning.clipping.arithmetic import clip_factors, rounded_down
from securefl.learning.plan import DpPlan, LocalTraining
from securefl.learning.sampling import poisson_batches
from securefl.learning.stacked.batches import Batch
from securefl.learning.stacked.layer import Gradients, StackedLayer
from securefl.learning.stacked.training import StackedTraining
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.privacy.noise.gaussian import hardened_normals
from securefl.rng import Keystream


class StackedDpSgd(StackedTraining):
    """Trains several clients with DP-SGD, each by its own plan.

    Guarantees:
        - Adding or removing one record of a client, whatever its content, moves a step's clipped
          sum by at most its plan's clip: a gradient that is not finite counts as zero.
        - The event counts the steps that were noised, not the planned ones.
    """

    def __init__(self, local: LocalTraining) -> None:
        super().__init__(local)
        self._clients: Sequence[int] = ()
        self._noise: list[Keystream] = []
        self._noised_steps: dict[int, int] = {}
        self._step_size = 0.0
        self._rows: dict[tuple[StackedLayer, str], Gradients] = {}

    def _steps(self, client: int, round: int) -> list[Tensor]:
        """Returns the indices (batch,) of the records of every step; a batch may be empty."""
        plan = self._local.plans[client]
        return list(
            poisson_batches(
                len(self._local.examples[client]),
                sample_rate=plan.sample_rate,
                steps=plan.steps,
                stream=self._local.stream_for("poisson", client, round),
            )
        )

    def _begin(self, weights: Tensor, clients: Sequence[int], *, round: int, records: int) -> None:
        """Opens each client's stream of noise."""
        self._network.load(weights, clients=len(clients))
        self._clients = clients
        self._noise = [self._local.stream_for("noise", client, round) for client in clients]
        self._noised_steps = dict.fromkeys(clients, 0)
        self._step_size = self._lr(round)
        self._network.on_gradient(self._note)

    def _spent(self, client: int) -> PrivacyEvent:
        """Returns what a client's round cost."""
        plan = self._local.plans[client]
        return SampledGaussian(plan.sample_rate, plan.noise_multiplier, self._noised_steps[client])

    def _note(self, layer: StackedLayer, x: Tensor, gradient: Tensor, pull: bool) -> Tensor | None:
        """Keeps the gradients of a layer's parameters, until all are there to be clipped."""
        result, parameters = layer.pulled_rows(x, gradient, pull)
        for name, rows in parameters.items():
            self._rows[layer, name] = rows
        return result

    def _step(self, batch: Batch) -> None:
        """Takes one noisy step of every client in the batch."""
        clients = self._clients[: len(batch.sizes)]
        plans = [self._local.plans[client] for client in clients]
        factors = self._factors(batch, plans)
        noise = self._noise_of(plans)
        for place in self._network.places:
            layer, name = place
            values = layer.value(name)
            if place in self._rows:
                sums = self._rows[place].sums(
                    rounded_down(factors, values.dtype), clients=len(clients)
                )
            else:  # a step without records, or a layer that the records do not pass
                sums = torch.zeros_like(values)
            for own, total, normals in zip(plans, sums, noise, strict=True):
                _add_noise(total, own, normals)
            normalisers = torch.tensor([plan.normaliser for plan in plans]).to(values)
            sums.div_(normalisers.view(-1, *[1] * (sums.dim() - 1)))
            values.add_(sums, alpha=-self._step_size)
        self._rows.clear()
        for client in clients:
            self._noised_steps[client] += 1

    def _factors(self, batch: Batch, plans: Sequence[DpPlan]) -> Tensor:
        """Returns what each row's gradient is scaled by, (rows,) float64, and notes gradients."""
        rows = len(batch.labels)
        if not rows:
            return torch.zeros(0)
        self._backward(batch, torch.ones(()))
        squares = torch.stack([gradients.squares() for gradients in self._rows.values()])
        clips = torch.tensor([plan.clip for plan in plans], dtype=torch.float64).to(squares.device)
        factors = clip_factors(squares.sum(dim=0).sqrt(), clips.repeat(rows // len(plans)))
        return factors.where(batch.real, 0.0)

    def _noise_of(self, plans: Sequence[DpPlan]) -> list[Iterator[NDArray[np.float64]]]:
        """Returns, for each client of a step, its normals for one parameter after another."""
        sizes = [layer.value(name)[0].numel() for layer, name in self._network.places]
        streams = self._noise[: len(plans)]
        return [hardened_normals(sizes, stream) for stream in streams]


def _add_noise(total: Tensor, plan: DpPlan, normals: Iterator[NDArray[np.float64]]) -> None:
    """Adds a client's noise to its sum (*shape) of one parameter."""
    scale = plan.noise_multiplier * plan.clip
    if scale:
        # The sum is taken in float64, and rounded only once the noise is in it.
        noise = torch.from_numpy(next(normals)).mul_(scale).to(total.device).view_as(total)
        total.copy_(noise.add_(total))
