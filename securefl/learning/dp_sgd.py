"""Local DP-SGD: clipped sums of per-example gradients in Opacus' optimizer, noise of a keystream.

Source: Abadi et al., CCS 2016, algorithm 1, with Poisson sampling of the batches.
"""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from opacus.optimizers import DPOptimizerFastGradientClipping
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.clipping.exact_layers import make_exact, usual_linears
from securefl.learning.clipping.recorder import NO_GRADIENTS, BatchGradients, Recorder
from securefl.learning.device import device_of, full_precision, moved
from securefl.learning.dp_models import check_model
from securefl.learning.modes import training_mode
from securefl.learning.options import USUAL, StepOptions, random_layers
from securefl.learning.plan import DpPlan, LocalTraining, OnOwnStep, OnStep, unseen
from securefl.learning.pooling import make_fast, usual_pools
from securefl.learning.protocol import Trained, Trainer
from securefl.learning.sampling import poisson_batches
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream, StreamFor

ROWS = 16  # a batch has a multiple of these, unless the scenario says how many are a physical one


class KeystreamDPOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimizer for clipped sums, with float64 noise from a keystream.

    Attributes:
        gradients: of the physical batch whose clipped sum is taken next.
        stream: gives the noise.
        noised_steps: number of steps that got noise.
    """

    noise_multiplier: float
    max_grad_norm: float
    gradients: BatchGradients
    stream: Keystream
    noised_steps: int

    def accumulate(self) -> None:
        """Adds the clipped sum of the batch to that of the physical batches before it."""
        factors = clip_factors(self.gradients.norms(), self.max_grad_norm)
        p: Any  # Opacus keeps the sum next to the parameter
        for p, total in self.gradients.sums(factors):
            p.summed_grad = total if p.summed_grad is None else p.summed_grad.add_(total)

    def add_noise(self) -> None:
        """Adds N(0, (noise_multiplier x clip)^2) to every coordinate of the clipped sum."""
        scale = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            # The sum is taken in float64, and rounded only once the noise is in it.
            noisy = scale * self.normals(p)
            noisy += p.summed_grad
            p.grad = noisy.to(p.dtype)
        self.noised_steps += 1

    def normals(self, p: nn.Parameter) -> Tensor:
        """Returns standard normal numbers from the stream, float64, in the shape of p."""
        normals = torch.from_numpy(hardened_normal(p.numel(), self.stream))
        return normals.to(p.device).view_as(p)


class DpSgd:
    """A wrapped model and its optimizer, shared by all clients and rounds of a process.

    Args:
        model: a model that Opacus' validator accepts; its weights are overwritten.
        task: gives the loss.
        lr: learning rate, > 0, before the schedule of the options.
        options: how the steps are taken.
    """

    def __init__(
        self, model: nn.Module, task: Task, *, lr: float, options: StepOptions = USUAL
    ) -> None:
        self.module = Recorder(model)
        # Frozen parameters have no gradients, and no part in the update.
        self.trained: list[Any] = [p for p in self.module.parameters() if p.requires_grad]
        self.device = device_of(model)
        self._task = task
        self._lr = lr
        self.options = options
        self._loss = options.loss(task)
        self._optimizer: KeystreamDPOptimizer

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
        """Returns the change that plan.steps noisy steps make to weights (d,), and its cost.

        Args:
            weights: (d,), of the global model.
            examples: the records to draw from.
            plan: public constants.
            sampling: draws the batches.
            noise: draws the noise.
            round: decides the learning rate, where it has a schedule.
            on_step: called after every noisy step, with its number and the number of all.

        Guarantees:
            - Adding or removing one record, whatever its content, moves a step's clipped sum by at
              most plan.clip: norms are float64, and no lower than those of what is added up; a
              gradient that is not finite counts as zero. No record has a part in the gradient of
              another one, up to the rounding of layers that are not linear: see "What rounding
              leaves open" in docs/privacy-units.md. Rounding of the float32 sum adds 1e-5 of
              the clip at 5,000 records a batch, and 5e-4 at 200,000.
            - Class weights scale a record's gradient before it is clipped. Momentum and weight
              decay come after the noise, and cost nothing.
            - The event counts the steps that were noised, not the planned ones.
        """
        vector.load_vector(self.module, weights)
        training_mode(self.module)  # an evaluation may have come before
        optimizer = self._optimizer = self._fresh_optimizer(plan, noise, round)
        batches = poisson_batches(
            self.records(examples),
            sample_rate=plan.sample_rate,
            steps=plan.steps,
            stream=sampling,
        )
        for step, chosen in enumerate(batches, start=1):
            self.step(examples, chosen)
            on_step(step, plan.steps)
        spent = SampledGaussian(plan.sample_rate, plan.noise_multiplier, optimizer.noised_steps)
        return Trained(vector.to_vector(self.module) - weights, spent)

    def lr(self, round: int) -> float:
        """Returns the learning rate of a round."""
        return self._lr * self.options.schedule(round)

    def _fresh_optimizer(self, plan: DpPlan, noise: Keystream, round: int) -> KeystreamDPOptimizer:
        """Returns an optimizer without state: nothing of another client or round is left in it."""
        optimizer = KeystreamDPOptimizer(
            self.options.optimizer(self.trained, self.lr(round)),
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clip,
            # A public constant: dividing by the size of the batch that came would reveal that size.
            expected_batch_size=plan.normaliser,
            loss_reduction="mean",
        )
        optimizer.stream = noise
        optimizer.noised_steps = 0
        return optimizer

    def step(self, examples: Examples, chosen: Tensor) -> None:
        """Takes one noisy step on the records chosen (batch,), which may be none.

        Physical batches are clipped and summed one after another. The noise is added once, to the
        sum of all.
        """
        parts = self.options.parts(chosen)
        for number, part in enumerate(parts, start=1):
            self._optimizer.zero_grad(set_to_none=True)
            self._optimizer.gradients = NO_GRADIENTS  # one physical batch at a time
            self._optimizer.gradients = self.gradients(examples, part)
            if number < len(parts):
                # Opacus then only adds up, and the next zero_grad keeps the sum.
                self._optimizer.signal_skip_step()
            self._optimizer.step()

    def flat_sum(self, gradients: BatchGradients, factors: Tensor) -> Tensor:
        """Returns (d,), the sum of the gradients times factors (batch,)."""
        sums = dict(gradients.sums(factors))
        return torch.cat([sums[p].flatten() for p in self.trained])

    def by_parameter(self, rows: Tensor) -> dict[nn.Parameter, Tensor]:
        """Cuts gradients (k, d) into those (k, *shape) of each parameter."""
        parts = torch.split(rows, [p.numel() for p in self.trained], dim=1)
        return {p: part.view(-1, *p.shape) for p, part in zip(self.trained, parts, strict=True)}

    def records(self, examples: Examples) -> int:
        """Returns the number of records to draw from."""
        return len(examples)

    def gradients(self, examples: Examples, chosen: Tensor) -> BatchGradients:
        """Returns the gradients of some records.

        Args:
            examples: the records.
            chosen: (batch,), indices of the records of a physical batch; may be empty.
        """
        # The step of an empty batch is noise alone; to skip it would reveal that it was empty.
        if len(chosen) == 0:
            return self.module.nothing()
        rows = filled(chosen, self.options.physical_batch or ROWS)
        records = moved(examples, rows, self.device)
        features = self._task.inputs(records.features)
        gradients = self.module.gradients(features, records.labels, self._loss)
        n = len(chosen)
        return replace(gradients, n=n, filling=range(n, len(rows)))


def filled(chosen: Tensor, multiple: int) -> Tensor:
    """Returns indices (batch,), and the last one again until there is a multiple of a number.

    A library's loops work on the last rows of a batch with other instructions, which round in
    another way. So those belong to nobody.
    """
    return torch.cat([chosen, chosen[-1:].expand(-len(chosen) % multiple)])


class DpSgdTrainer:
    """DP-SGD over one client's records.

    Args:
        machine: the shared wrapped model.
        examples: this client's records; their number decides how many coins are tossed, no more.
        plan: this client's public constants.
        client: this client's id, which names its random streams.
        stream_for: gives the streams that draw the batches, the noise and dropout.
        on_step: called after every noisy step.
    """

    def __init__(
        self,
        machine: DpSgd,
        examples: Examples,
        plan: DpPlan,
        *,
        client: int,
        stream_for: StreamFor,
        on_step: OnStep = unseen,
    ) -> None:
        self._machine = machine
        self._examples = examples
        self.plan = plan
        self._client = client
        self._stream_for = stream_for
        self._on_step = on_step

    @property
    def cost(self) -> PrivacyEvent:
        """The event that one round costs."""
        return self.plan.cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the noisy change to weights (d,), and its cost."""
        device = self._machine.device
        dropout = self._stream_for("dropout", self._client, round)
        with random_layers(dropout, device), full_precision(device):
            return self._machine.run(
                weights,
                self._examples,
                self.plan,
                sampling=self._stream_for("poisson", self._client, round),
                noise=self._stream_for("noise", self._client, round),
                round=round,
                on_step=partial(self._on_step, self._client),
            )

    def on(self, machine: DpSgd) -> "DpSgdTrainer":
        """Returns a trainer of the same client and records that works on another machine."""
        other = copy.copy(self)
        other._machine = machine
        return other


def dp_sgd_trainers(local: LocalTraining) -> dict[int, Trainer]:
    """Returns client -> its DP-SGD; all of them share one machine.

    It wraps a copy of the model: an evaluation must not meet the hooks that Opacus leaves there.
    """
    check_model(local.model)
    model = copy.deepcopy(local.model)
    for pool in usual_pools(model):
        make_fast(pool)
    for layer in usual_linears(model):
        make_exact(layer)
    machine = DpSgd(model, local.task, lr=local.lr, options=local.options)
    return {
        client: DpSgdTrainer(
            machine,
            examples,
            local.plans[client],
            client=client,
            stream_for=local.stream_for,
            on_step=local.on_step,
        )
        for client, examples in local.prepared.items()
    }
