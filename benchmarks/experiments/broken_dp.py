"""DP-SGD with faults: optimizers, trainers, batches and a ledger that break one promise each.

Every class is the right one with one method changed, so that the rest of a run stays as it is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from numpy import float64
from numpy.typing import NDArray
from torch import Tensor, nn

from securefl.data.task import Examples
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer, KeystreamDPOptimizer
from securefl.learning.plan import DpPlan, OnStep, unseen
from securefl.learning.sampling import poisson_batches, shuffled_batches
from securefl.privacy.events import PrivacyEvent, ReleaseId
from securefl.privacy.ledger import Ledger
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream, StreamFor

_ROUNDS_BOOKED = 5  # when a forgetful ledger starts again
_TINY_NORM = 1e-6  # that Opacus adds to a norm before it divides by it


# --- the wrong noise


def scaled_noise(factor: float) -> type[KeystreamDPOptimizer]:
    """Returns an optimizer whose noise has `factor` times the booked standard deviation."""

    class ScaledNoise(KeystreamDPOptimizer):
        def add_noise(self) -> None:
            booked = self.noise_multiplier
            self.noise_multiplier = factor * booked
            super().add_noise()
            self.noise_multiplier = booked

    return ScaledNoise


class NoiselessBiases(KeystreamDPOptimizer):
    """Forgets the noise of every tensor with one dimension."""

    def add_noise(self) -> None:
        """Adds the noise, and takes it from the biases again."""
        super().add_noise()
        for p in self.params:
            if p.dim() == 1:
                p.grad = p.summed_grad.clone()


class NoiselessLastLayer(KeystreamDPOptimizer):
    """Forgets the noise of the last layer."""

    def add_noise(self) -> None:
        """Adds the noise, and takes it from the last weight and bias again."""
        super().add_noise()
        for p in self.params[-2:]:
            p.grad = p.summed_grad.clone()


class NoiselessCoordinate(KeystreamDPOptimizer):
    """Forgets the noise of one coordinate."""

    def add_noise(self) -> None:
        """Adds the noise, and takes it from the first tensor's last coordinate again."""
        super().add_noise()
        first = self.params[0]
        first.grad.view(-1)[-1] = first.summed_grad.reshape(-1)[-1]


class NoiseOfOneStep(KeystreamDPOptimizer):
    """Draws noise in the first step of a round and adds it in every step."""

    def normals(self, p: nn.Parameter) -> Tensor:
        """Returns the numbers of the round's first step."""
        if self.noised_steps == 0:
            p.first_normals = super().normals(p)  # type: ignore[attr-defined]
        first: Tensor = p.first_normals  # type: ignore[attr-defined]
        return first


class NoiseOfOneTensor(KeystreamDPOptimizer):
    """Starts the noise of every tensor with the same numbers."""

    def normals(self, p: nn.Parameter) -> Tensor:
        """Returns the first of the numbers that suffice for the largest tensor."""
        if p is self.params[0]:
            largest = max(parameter.numel() for parameter in self.params)
            self.numbers = torch.from_numpy(hardened_normal(largest, self.stream))
        return self.numbers[: p.numel()].view_as(p)


class BoundedNoise(KeystreamDPOptimizer):
    """Adds noise of the right variance with only two values."""

    def normals(self, p: nn.Parameter) -> Tensor:
        """Returns the signs of the right numbers."""
        return super().normals(p).sign()


# --- the wrong clipping


def clipped_to(factor: float) -> type[KeystreamDPOptimizer]:
    """Returns an optimizer that clips gradients to `factor` times the booked length."""

    class WrongClip(KeystreamDPOptimizer):
        def accumulate(self) -> None:
            booked = self.max_grad_norm
            self.max_grad_norm = factor * booked
            super().accumulate()
            self.max_grad_norm = booked

    return WrongClip


class ClippedSum(KeystreamDPOptimizer):
    """Adds up gradients of any length and clips their sum."""

    def accumulate(self) -> None:
        """Leaves the wrong clipped sum."""
        booked = self.max_grad_norm
        self.max_grad_norm = math.inf
        super().accumulate()
        self.max_grad_norm = booked
        # As Opacus clips one example, but here the sum of all.
        norm = torch.stack([p.summed_grad.norm() for p in self.params]).norm()
        factor = (booked / (norm + _TINY_NORM)).clamp(max=1.0)
        for p in self.params:
            p.summed_grad = p.summed_grad * factor


class ClippedLayers(KeystreamDPOptimizer):
    """Clips every layer of a gradient by itself, to the length that the whole may have."""

    def accumulate(self) -> None:
        """Leaves the wrong clipped sum."""
        for parameters, gradients in self.gradients.layers:
            factors = clip_factors(gradients.norms(), self.max_grad_norm)
            sums = gradients.sums(factors)
            for p, total in zip(parameters, sums, strict=True):
                p.summed_grad = total  # type: ignore[attr-defined]


class DividedByBatch(KeystreamDPOptimizer):
    """Divides the noisy sum by the number of records drawn, which is private."""

    def scale_grad(self) -> None:
        """Divides by the wrong number."""
        for p in self.params:
            p.grad /= max(1, self.gradients.n)


# --- the wrong noise stream


class FlippedStream(Keystream):
    """Gives the normals of another stream with the other sign."""

    def __init__(self, stream: Keystream) -> None:
        self._stream = stream

    def add_normal(self, total: NDArray[float64]) -> None:
        """Subtracts the normals of the other stream."""
        total -= self._stream.normal(total.size)


class MisnamedNoise(DpSgdTrainer, ABC):
    """Takes its noise from a stream with another name; subclasses say which."""

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
        def stream(purpose: str, client: int, round: int) -> Keystream:
            if purpose != "noise":
                return stream_for(purpose, client, round)
            return self.noise(stream_for, client, round)

        super().__init__(machine, examples, plan, client=client, stream_for=stream, on_step=on_step)

    @abstractmethod
    def noise(self, stream_for: StreamFor, client: int, round: int) -> Keystream:
        """Returns the stream that the client's noise of the round comes from."""


class SameNoiseTrainer(MisnamedNoise):
    """Names the noise stream of every round like the first."""

    def noise(self, stream_for: StreamFor, client: int, round: int) -> Keystream:
        """Returns the stream of the first round."""
        return stream_for("noise", client, 0)


class FlippedNoiseTrainer(MisnamedNoise):
    """Adds the noise of the first round in even rounds and subtracts it in odd ones."""

    def noise(self, stream_for: StreamFor, client: int, round: int) -> Keystream:
        """Returns the stream of the first round, its sign changed in odd rounds."""
        first = stream_for("noise", client, 0)
        return FlippedStream(first) if round % 2 else first


class SharedNoiseTrainer(MisnamedNoise):
    """Names the noise stream without the client."""

    def noise(self, stream_for: StreamFor, client: int, round: int) -> Keystream:
        """Returns the stream of client 0."""
        return stream_for("noise", 0, round)


# --- the wrong batches, and the wrong books


def batches_of_shuffled_epochs(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields batches of shuffled epochs: every record once per epoch."""
    size = math.ceil(sample_rate * records)
    remaining = steps
    while remaining:
        for chosen in shuffled_batches(records, batch=size, stream=stream):
            if remaining:
                remaining -= 1
                yield chosen


def one_batch_again(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields the first Poisson batch again and again."""
    chosen = next(poisson_batches(records, sample_rate=sample_rate, steps=1, stream=stream))
    for _ in range(steps):
        yield chosen


def batches_of_twice_the_rate(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields Poisson batches of twice the sample rate."""
    doubled = min(1.0, 2 * sample_rate)
    return poisson_batches(records, sample_rate=doubled, steps=steps, stream=stream)


def batches_of_one_size(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields batches of one size, each drawn without replacement."""
    size = round(sample_rate * records)
    for _ in range(steps):
        yield torch.from_numpy(stream.permutation(records)[:size].copy())


class ForgetfulLedger(Ledger):
    """Starts again with an empty file whenever it holds a few rounds."""

    def reserve(self, event: PrivacyEvent, *, release_id: ReleaseId) -> None:
        """Books the event, and first forgets a full ledger."""
        if self._events.total() >= _ROUNDS_BOOKED:
            self._path.unlink()
            # An accountant that restarts forgets its rounds and not its terms.
            Ledger.__init__(self, self._path, self.terms, self.before)
        super().reserve(event, release_id=release_id)
