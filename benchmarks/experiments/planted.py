"""Faults planted in DP-SGD and around it, to see whether an audit finds them."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.learning import dp_sgd
from securefl.learning.dp_sgd import DpSgdTrainer, KeystreamDPOptimizer
from securefl.learning.sampling import poisson_batches, shuffled_batches
from securefl.privacy.events import ReleaseId, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream, StreamFor
from securefl.scenario.assemble import ledgers

_ROUNDS_BOOKED = 5  # that a ledger holds when it forgets them


class Fault(NamedTuple):
    """The name in a module that is bound to something wrong while the fault is planted."""

    module: ModuleType
    name: str
    replacement: Any


def _scaled(factor: float) -> Fault:
    """Returns the fault of noise with the wrong standard deviation."""

    class ScaledNoise(KeystreamDPOptimizer):
        def add_noise(self) -> None:
            booked = self.noise_multiplier
            self.noise_multiplier = factor * booked
            super().add_noise()
            self.noise_multiplier = booked

    return _optimizer(ScaledNoise)


def _clipped_to(factor: float) -> Fault:
    """Returns the fault of clipping every example to another length than the noise is made for."""

    class WrongClip(KeystreamDPOptimizer):
        def clip_and_accumulate(self) -> None:
            booked = self.max_grad_norm
            self.max_grad_norm = factor * booked
            super().clip_and_accumulate()
            self.max_grad_norm = booked

    return _optimizer(WrongClip)


class ClippedSum(KeystreamDPOptimizer):
    """Adds up gradients of any length and clips their sum."""

    def clip_and_accumulate(self) -> None:
        """Leaves the wrong clipped sum."""
        booked = self.max_grad_norm
        self.max_grad_norm = math.inf
        super().clip_and_accumulate()
        self.max_grad_norm = booked
        norm = torch.stack([p.summed_grad.norm() for p in self.params]).norm()
        for p in self.params:
            p.summed_grad = p.summed_grad * (booked / (norm + 1e-6)).clamp(max=1.0)


class ClippedLayers(KeystreamDPOptimizer):
    """Clips every layer of a gradient by itself to the length that the whole may have."""

    def clip_and_accumulate(self) -> None:
        """Leaves the wrong clipped sum."""
        for p in self.params:
            norms = p.grad_sample.flatten(1).norm(dim=1)
            factors = (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
            p.summed_grad = torch.einsum("i,i...", factors, p.grad_sample)


class NoiselessBiases(KeystreamDPOptimizer):
    """Forgets the noise of every tensor of one dimension."""

    def add_noise(self) -> None:
        """Adds the wrong noise."""
        super().add_noise()
        for p in self.params:
            if p.dim() == 1:
                p.grad = p.summed_grad.clone()


class NoiselessLastLayer(KeystreamDPOptimizer):
    """Forgets the noise of the last layer."""

    def add_noise(self) -> None:
        """Adds the wrong noise."""
        super().add_noise()
        for p in self.params[-2:]:
            p.grad = p.summed_grad.clone()


class NoiselessCoordinate(KeystreamDPOptimizer):
    """Forgets the noise of one coordinate."""

    def add_noise(self) -> None:
        """Adds the wrong noise."""
        super().add_noise()
        first = self.params[0]
        first.grad.view(-1)[-1] = first.summed_grad.reshape(-1)[-1]


class NoiseOfOneStep(KeystreamDPOptimizer):
    """Draws noise in the first step of a round and adds it in every step."""

    def add_noise(self) -> None:
        """Adds the wrong noise."""
        if self.noised_steps == 0:
            self.drawn = [
                torch.from_numpy(hardened_normal(p.numel(), self.stream)).view_as(p)
                for p in self.params
            ]
        scale = self.noise_multiplier * self.max_grad_norm
        for p, noise in zip(self.params, self.drawn, strict=True):
            p.grad = (p.summed_grad.double() + scale * noise).to(p.dtype)
        self.noised_steps += 1


class NoiseOfOneTensor(KeystreamDPOptimizer):
    """Starts the noise of every tensor with the same numbers."""

    def add_noise(self) -> None:
        """Adds the wrong noise."""
        scale = self.noise_multiplier * self.max_grad_norm
        drawn = torch.from_numpy(hardened_normal(max(p.numel() for p in self.params), self.stream))
        for p in self.params:
            p.grad = (p.summed_grad.double() + scale * drawn[: p.numel()].view_as(p)).to(p.dtype)
        self.noised_steps += 1


class BoundedNoise(KeystreamDPOptimizer):
    """Adds noise of the right variance that only knows two values."""

    def add_noise(self) -> None:
        """Adds the wrong noise."""
        scale = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            signs = torch.from_numpy(hardened_normal(p.numel(), self.stream)).view_as(p).sign()
            p.grad = (p.summed_grad.double() + scale * signs).to(p.dtype)
        self.noised_steps += 1


class DividedByBatch(KeystreamDPOptimizer):
    """Divides the noisy sum by the number of records that came, which is private."""

    def scale_grad(self) -> None:
        """Divides by the wrong number."""
        for p in self.params:
            p.grad /= max(1, len(p.grad_sample))


class FlippedStream(Keystream):
    """Gives the normals of another stream with the other sign."""

    def __init__(self, stream: Keystream) -> None:
        self._stream = stream

    def normal(self, size: int) -> NDArray[Any]:
        """(size,) of the other stream, negated."""
        return -self._stream.normal(size)


class SameNoiseTrainer(DpSgdTrainer):
    """Names the noise stream of every round as that of the first."""

    def __init__(self, *arguments: Any, stream_for: StreamFor, **others: Any) -> None:
        def stream(purpose: str, client: int, round: int) -> Keystream:
            return stream_for(purpose, client, 0 if purpose == "noise" else round)

        super().__init__(*arguments, stream_for=stream, **others)


class FlippedNoiseTrainer(DpSgdTrainer):
    """Adds the noise of the first round in even rounds and takes it away in odd ones."""

    def __init__(self, *arguments: Any, stream_for: StreamFor, **others: Any) -> None:
        def stream(purpose: str, client: int, round: int) -> Keystream:
            if purpose != "noise":
                return stream_for(purpose, client, round)
            first = stream_for(purpose, client, 0)
            return FlippedStream(first) if round % 2 else first

        super().__init__(*arguments, stream_for=stream, **others)


class SharedNoiseTrainer(DpSgdTrainer):
    """Names the noise stream without the client."""

    def __init__(self, *arguments: Any, stream_for: StreamFor, **others: Any) -> None:
        def stream(purpose: str, client: int, round: int) -> Keystream:
            return stream_for(purpose, 0 if purpose == "noise" else client, round)

        super().__init__(*arguments, stream_for=stream, **others)


class ForgetfulLedger(Ledger):
    """Starts again on an empty file whenever it holds a few rounds."""

    def reserve(self, event: SampledGaussian, *, release_id: ReleaseId) -> None:
        """Books, and forgets first where it is full."""
        if self._events.total() >= _ROUNDS_BOOKED:
            self._path.unlink()
            Ledger.__init__(self, self._path, self.terms, self.before)
        super().reserve(event, release_id=release_id)


def _shuffled(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields batches of shuffled epochs: every record once an epoch."""
    left = steps
    while left:
        for chosen in shuffled_batches(
            records, batch=math.ceil(sample_rate * records), stream=stream
        ):
            if left:
                left -= 1
                yield chosen


def _one_batch(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields the first Poisson batch again and again."""
    chosen = next(poisson_batches(records, sample_rate=sample_rate, steps=1, stream=stream))
    for _ in range(steps):
        yield chosen


def _doubled_rate(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Returns batches of twice the rate."""
    return poisson_batches(
        records, sample_rate=min(1.0, 2 * sample_rate), steps=steps, stream=stream
    )


def _fixed_size(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields batches of one size, each drawn without putting back."""
    for _ in range(steps):
        yield torch.from_numpy(stream.permutation(records)[: round(sample_rate * records)].copy())


def _optimizer(wrong: type[KeystreamDPOptimizer]) -> Fault:
    return Fault(dp_sgd, "KeystreamDPOptimizer", wrong)


def _trainer(wrong: type[DpSgdTrainer]) -> Fault:
    return Fault(dp_sgd, "DpSgdTrainer", wrong)


SHARED = "noise shared by all clients"
FAULTS: Mapping[str, Fault] = {
    "noise halved": _scaled(0.5),
    "noise x .1": _scaled(0.1),
    "noise 7 % too small": _scaled(0.93),
    "same noise in every round": _trainer(SameNoiseTrainer),
    "noise with the other sign every second round": _trainer(FlippedNoiseTrainer),
    "same noise in every step of a round": _optimizer(NoiseOfOneStep),
    "same noise in every tensor": _optimizer(NoiseOfOneTensor),
    SHARED: _trainer(SharedNoiseTrainer),
    "biases without noise": _optimizer(NoiselessBiases),
    "last layer without noise": _optimizer(NoiselessLastLayer),
    "one coordinate without noise": _optimizer(NoiselessCoordinate),
    "noise of two values": _optimizer(BoundedNoise),
    "clip skipped": _clipped_to(math.inf),
    "clip 10 % too long": _clipped_to(1.1),
    "sum clipped, not each example": _optimizer(ClippedSum),
    "each layer clipped by itself": _optimizer(ClippedLayers),
    "divided by the batch that came": _optimizer(DividedByBatch),
    "shuffled batches": Fault(dp_sgd, "poisson_batches", _shuffled),
    "one batch for a whole round": Fault(dp_sgd, "poisson_batches", _one_batch),
    "batches of one size": Fault(dp_sgd, "poisson_batches", _fixed_size),
    "sample rate doubled": Fault(dp_sgd, "poisson_batches", _doubled_rate),
    "accountant restarted": Fault(ledgers, "Ledger", ForgetfulLedger),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plants this fault in DP-SGD as long as the block lasts; "" for none."""
    if not name:
        yield
        return
    fault = FAULTS[name]
    with patch.object(fault.module, fault.name, fault.replacement):
        yield
