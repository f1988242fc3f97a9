"""Local DP-SGD: Opacus clips every example's gradient, the noise comes from a keystream."""

import copy
import math
from typing import Any

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.utils.module_utils import trainable_modules
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.errors import ScenarioError
from securefl.learning.plan import DpPlan, LocalTraining
from securefl.learning.protocol import Trained, Trainer
from securefl.learning.sampling import poisson_batches
from securefl.privacy.events import SampledGaussian
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream, StreamFor


def check_model(model: nn.Module) -> None:
    """Refuses a model that DP-SGD cannot train.

    A layer that mixes the records of a batch, such as batch norm, is worse than an error: clipping
    one record's gradient would not bound that record's influence.

    Raises:
        ScenarioError: a layer is not supported; the sentence names it.
    """
    for name, layer in trainable_modules(model):
        # One class at a time, since what Opacus says about a whole model names no layer.
        validator = ModuleValidator.VALIDATORS.get(type(layer))
        errors = [] if validator is None else validator(layer)
        if errors:
            why = str(errors[0]).partition(". ")[0]
            raise ScenarioError(f"model: DP-SGD cannot train layer {name!r}: {why}")
    try:
        GradSampleModule(copy.deepcopy(model))
    except (NotImplementedError, ValueError) as reason:
        why = " ".join(str(reason).split())
        raise ScenarioError(f"model: DP-SGD cannot train it: {why}") from None


class KeystreamDPOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' DPOptimizer with float64 noise from a keystream instead of a torch generator."""

    noise_multiplier: float
    max_grad_norm: float
    stream: Keystream
    noised_steps: int

    def add_noise(self) -> None:
        """Add N(0, (noise_multiplier x clip)^2) to every coordinate of the clipped sum."""
        scale = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            p.grad = (p.summed_grad.double() + scale * self.normals(p)).to(p.dtype)
        self.noised_steps += 1

    def normals(self, p: nn.Parameter) -> Tensor:
        """Returns standard normal numbers from the stream, float64, in the shape of p."""
        return torch.from_numpy(hardened_normal(p.numel(), self.stream)).view_as(p)


class DpSgd:
    """One wrapped model and its optimizer, reused by all clients and rounds of a process.

    Args:
        model: accepted by Opacus' validator; its weights are overwritten.
        task: gives the loss.
        lr: learning rate, > 0.
    """

    def __init__(self, model: nn.Module, task: Task, *, lr: float) -> None:
        # Opacus unfolds what a convolution reads as if channels came first, and is silently wrong where they come last.
        channels_first = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.module = GradSampleModule(channels_first, loss_reduction="mean")
        self._task = task
        inner = torch.optim.SGD(self.module.parameters(), lr=lr)
        self._optimizer = KeystreamDPOptimizer(
            inner,
            noise_multiplier=0.0,
            max_grad_norm=1.0,
            expected_batch_size=1,
            loss_reduction="mean",
        )

    def run(
        self,
        weights: Tensor,
        examples: Examples,
        plan: DpPlan,
        *,
        sampling: Keystream,
        noise: Keystream,
    ) -> Trained:
        """The change that plan.steps noisy steps make to weights (d,), and what they cost.

        Guarantees:
            - A step's clipped sum moves by at most plan.clip when one record is added or removed, whatever the
              record holds: a gradient that is not finite counts as zero. Rounding of the float32 sum comes on top
              (1e-5 of the clip at 5,000 records a batch, 5e-4 at 200,000).
            - The event returned tells the steps that were noised, not the steps that were planned.
        """
        vector.load_vector(self.module, weights)
        self.module.train()  # an evaluation may have come before
        self._optimizer.noise_multiplier = plan.noise_multiplier
        self._optimizer.max_grad_norm = plan.clip
        self._optimizer.expected_batch_size = plan.normaliser
        self._optimizer.stream, self._optimizer.noised_steps = noise, 0
        records = self.records(examples)
        for chosen in poisson_batches(
            records, sample_rate=plan.sample_rate, steps=plan.steps, stream=sampling
        ):
            self._optimizer.zero_grad(set_to_none=True)
            self.per_example_gradients(examples, chosen)
            self._optimizer.step()
        spent = SampledGaussian(
            plan.sample_rate, plan.noise_multiplier, self._optimizer.noised_steps
        )
        return Trained(vector.to_vector(self.module) - weights, spent)

    def records(self, examples: Examples) -> int:
        """How many records there are to draw from."""
        return len(examples)

    def per_example_gradients(self, examples: Examples, chosen: Tensor) -> None:
        """Leave (batch, *shape) in every parameter's grad_sample; an empty batch leaves none of them."""
        parameters: list[Any] = list(self.module.parameters())
        features, labels = self._task.inputs(examples.features[chosen]), examples.labels[chosen]
        if len(labels) == 0:
            for p in parameters:
                p.grad_sample = p.new_zeros((0, *p.shape))
            return
        inputs = (
            features.detach().contiguous().requires_grad_()
        )  # or torch warns that Opacus' backward hook sees outputs only
        self._task.loss(self.module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        finite = torch.stack(
            [p.grad_sample.flatten(1).double().norm(dim=1) for p in parameters]
        ).sum(dim=0)
        finite = finite < math.sqrt(torch.finfo(torch.float32).max)
        for p in parameters:
            p.grad_sample[~finite] = 0.0


class DpSgdTrainer:
    """DP-SGD over one client's records.

    Args:
        machine: the shared wrapped model.
        examples: this client's records; how many there are is never read for anything but the coins.
        plan: this client's public constants.
        client: this client's id, which names its random streams.
        stream_for: gives the streams that draw the batches and the noise.
    """

    def __init__(
        self,
        machine: DpSgd,
        examples: Examples,
        plan: DpPlan,
        *,
        client: int,
        stream_for: StreamFor,
    ) -> None:
        self._machine, self._examples, self.plan = machine, examples, plan
        self._client, self._stream_for = client, stream_for

    @property
    def cost(self) -> SampledGaussian:
        """What one round costs."""
        return self.plan.cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """The noisy change to weights (d,), and what it cost."""
        return self._machine.run(
            weights,
            self._examples,
            self.plan,
            sampling=self._stream_for("poisson", self._client, round),
            noise=self._stream_for("noise", self._client, round),
        )

    def on(self, machine: DpSgd) -> "DpSgdTrainer":
        """Returns a trainer of the same client and records that works on another machine."""
        return type(self)(
            machine,
            self._examples,
            self.plan,
            client=self._client,
            stream_for=self._stream_for,
        )


def dp_sgd_trainers(local: LocalTraining) -> dict[int, Trainer]:
    """Returns client -> its DP-SGD; all of them share one machine.

    The machine wraps a copy of the model: Opacus leaves hooks in what it wraps, which an evaluation
    on the model itself must not meet.
    """
    check_model(local.model)
    machine = DpSgd(copy.deepcopy(local.model), local.task, lr=local.lr)
    return {
        client: DpSgdTrainer(
            machine,
            examples,
            local.plans[client],
            client=client,
            stream_for=local.stream_for,
        )
        for client, examples in local.examples.items()
    }
