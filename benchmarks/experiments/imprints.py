"""Records read off gradients in closed form, on PneumoniaMNIST. Run by `python -m benchmarks.experiments.imprints`.

Batches are drawn from the published test set under seeds fixed beforehand; an imprint's cuts come from training images,
and so does the mean image that every figure stands beside. The direction of the measurement was settled on validation
images.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from attacks.reconstruction.imprint import Imprint, imprint, imprinted, linear_inputs
from attacks.reconstruction.pictures import best_match
from securefl import vector
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.data.medmnist import load_medmnist
from securefl.data.medmnist_info import source
from securefl.data.task import Examples, FederatedData
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import mlp
from securefl.learning.plan import DpPlan
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream
from securefl.runs.table import mean_and_error

SEEDS = range(2000, 2020)
BATCH, CLIENTS, LR = 32, 10, 0.1
BINS, MANY = 512, 4096
GOOD = 30.0  # dB
NOISE = 0.5  # over a clip of 1: the noise multiplier of a sum of 32 records


class Trial(NamedTuple):
    """One batch: the share of its images recovered above 30 dB, their mean PSNR, the mean image's, milliseconds."""

    share: float
    quality: float
    baseline: float
    milliseconds: float


class Leak(NamedTuple):
    """The gradients of a layer, by weight and by bias."""

    weight: Tensor
    bias: Tensor


class Bench:
    """PneumoniaMNIST, a model with an imprint in front, and what a server is sent of it."""

    def __init__(self, data: FederatedData, build: Callable[..., nn.Module], *, bins: int) -> None:
        self.task, self.test = data.task, data.test
        self.train = self.task.inputs(data.sites[0].train.features)
        self.front: Imprint = imprint(self.train, torch.randn(784, generator=_seeded(1)), bins=bins)
        self.model = nn.Sequential(self.front, build(self.task, generator=_seeded(2)))
        self.start = vector.to_vector(self.model)

    def batch(self, seed: int, *, n: int = BATCH) -> Examples:
        """Test images drawn without replacement."""
        chosen = torch.randperm(len(self.test), generator=_seeded(seed))[:n]
        return Examples(self.test.features[chosen], self.test.labels[chosen])

    def gradient(self, examples: Examples) -> Leak:
        """What one client's full batch gives."""
        vector.load_vector(self.model, self.start)
        self.model.zero_grad()
        loss = self.task.loss(self.model(self.task.inputs(examples.features)), examples.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return _gradient(self.front.front)

    def masked_sum(self, examples: Examples, *, seed: int) -> Leak:
        """What the masked channel opens of ten clients that each train one honest full-batch step."""
        code = FixedPoint(ring=32, clip=4.0, rounding="stochastic", most=CLIENTS)
        total, words = (np.zeros(len(self.start), dtype=code.word) for _ in range(2))
        for client, part in enumerate(torch.split(torch.arange(len(examples)), BATCH)):
            own = Examples(examples.features[part], examples.labels[part])
            streams = lambda purpose, client, round: seeded_keystream(seed, purpose, client, round)  # noqa: E731
            trainer = SgdTrainer(
                self.model,
                self.task,
                own,
                client=client,
                batch=BATCH,
                epochs=1,
                lr=LR,
                stream_for=streams,
            )
            delta = trainer.fit(self.start, round=0).delta.numpy()
            code.encode(
                delta, scale=1.0, stream=seeded_keystream(seed, "rounding", client), out=words
            )
            total += words
        return self._leak(torch.from_numpy(code.decode(total)))

    def noisy(self, machine: DpSgd, examples: Examples, *, seed: int) -> Leak:
        """What one client sends that trains one step of DP-SGD on its full batch."""
        plan = DpPlan(
            records=len(examples), batch=len(examples), epochs=1, clip=1.0, noise_multiplier=NOISE
        )
        sampling, noise = (seeded_keystream(seed, purpose) for purpose in ("poisson", "noise"))
        return self._leak(
            machine.run(self.start, examples, plan, sampling=sampling, noise=noise).delta
        )

    def trial(self, examples: Examples, attack: Callable[[], Tensor]) -> Trial:
        """How well an attack does, and the mean training image beside it."""
        start = time.perf_counter()
        found = attack()
        milliseconds = 1000 * (time.perf_counter() - start)
        true = _pixels(self.task.inputs(examples.features))
        decibels = best_match(_pixels(found.view(-1, *true.shape[1:])), true, bounds=(0, 1)).psnr
        blind = best_match(_pixels(self.train.mean(dim=0, keepdim=True)), true, bounds=(0, 1)).psnr
        return Trial(
            float((decibels > GOOD).double().mean()),
            float(decibels.mean()),
            float(blind.mean()),
            milliseconds,
        )

    def _leak(self, delta: Tensor) -> Leak:
        """The part of an update (d,) that is the imprint's first layer."""
        weight, bias = self.front.front.weight, self.front.front.bias
        return Leak(
            delta[: weight.numel()].view_as(weight), delta[weight.numel() :][: bias.numel()]
        )


def rows() -> Iterator[tuple[str, str, str, bool]]:
    """What was measured, the goal, the figures, and whether the goal is met."""
    data = load_medmnist(source("pneumoniamnist"), partition="pooled", test_on="test")
    benches = {"mlp": Bench(data, mlp, bins=BINS), "cnn": Bench(data, cnn, bins=BINS)}
    for name, bench in benches.items():
        batches = [bench.batch(seed) for seed in SEEDS]
        trials = [bench.trial(one, partial(imprinted, *bench.gradient(one))) for one in batches]
        yield _row(f"imprint, {BINS} bins, {BATCH} images, {name} behind it", 0.85, trials)
    yield _shuffled(benches["mlp"])
    yield _under_noise(Bench(data, mlp, bins=BINS))  # Opacus leaves hooks in its model
    alone = (1 - 1 / BINS) ** (
        CLIENTS * BATCH - 1
    )  # the share that has an equally likely bin to itself
    for bins, least in ((BINS, 0.85 * alone), (MANY, 0.85)):
        yield _summed(benches["mlp"] if bins == BINS else Bench(data, mlp, bins=bins), bins, least)
    yield _one_record(data)


def _summed(bench: Bench, bins: int, least: float) -> tuple[str, str, str, bool]:
    """Ten clients under masks."""
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed, n=CLIENTS * BATCH)
        trials.append(
            bench.trial(examples, partial(imprinted, *bench.masked_sum(examples, seed=seed)))
        )
    return _row(
        f"the masked sum of {CLIENTS} clients (ring 32), {bins} bins, {BATCH} images each",
        least,
        trials,
    )


def _shuffled(bench: Bench) -> tuple[str, str, str, bool]:
    """The negative control: the same gradients, coordinates in another order."""
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed)
        weight, bias = bench.gradient(examples)
        other = torch.randperm(weight.numel(), generator=_seeded(seed + 1000))
        trials.append(
            bench.trial(examples, partial(imprinted, weight.flatten()[other].view_as(weight), bias))
        )
    return _no_better("negative control: imprint on shuffled gradients", 0.0, trials)


def _under_noise(bench: Bench) -> tuple[str, str, str, bool]:
    """What local DP noise leaves of it."""
    machine = DpSgd(bench.model, bench.task, lr=LR)
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed)
        trials.append(
            bench.trial(examples, partial(imprinted, *bench.noisy(machine, examples, seed=seed)))
        )
    return _no_better(f"imprint, under DP-SGD of noise multiplier {NOISE:g}", 1.0, trials)


def _one_record(data: FederatedData) -> tuple[str, str, str, bool]:
    """A single record, off the first layer of the plain model."""
    bench = Bench(data, mlp, bins=BINS)
    plain = bench.model[1]
    layer = next(one for one in plain.modules() if isinstance(one, nn.Linear))
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed, n=1)
        plain.zero_grad()
        loss = data.task.loss(plain(data.task.inputs(examples.features)), examples.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        trials.append(bench.trial(examples, partial(linear_inputs, *_gradient(layer))))
    return _row("analytic leakage of one image, first layer of mlp", 1.0, trials)


def _row(what: str, least: float, trials: Sequence[Trial]) -> tuple[str, str, str, bool]:
    share = statistics.mean(one.share for one in trials)
    return what, f">= {least:.0%} of images above {GOOD:g} dB", _figures(trials), share >= least


def _no_better(what: str, margin: float, trials: Sequence[Trial]) -> tuple[str, str, str, bool]:
    ahead = statistics.mean(one.quality - one.baseline for one in trials)
    goal = f"no better than the mean image{f' + {margin:g} dB' if margin else ''}"
    return what, goal, _figures(trials), ahead <= margin and not any(one.share for one in trials)


def _figures(trials: Sequence[Trial]) -> str:
    """In words: mean and standard error over the batches."""
    share, quality, baseline, times = (list(column) for column in zip(*trials, strict=True))
    return (
        f"{_pm([100 * one for one in share])} % above {GOOD:g} dB, PSNR {_pm(quality)} dB on average (mean image "
        f"{_pm(baseline)} dB), {statistics.median(times):.1f} ms, {len(trials)} batches"
    )


def _pm(values: Sequence[float]) -> str:
    middle, error = mean_and_error(values)
    return f"{middle:.1f} ± {error:.1f}"


def _gradient(layer: nn.Linear) -> Leak:
    """Copies of a layer's gradients."""
    weight, bias = layer.weight.grad, layer.bias.grad
    if weight is None or bias is None:
        raise ValueError("no gradient was taken")
    return Leak(weight.clone(), bias.clone())


def _pixels(inputs: Tensor) -> Tensor:
    """Inputs in [-1, 1] as pixels in [0, 1]."""
    return (inputs + 1) / 2


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for row in rows():
        print(" | ".join([*row[:3], "met" if row[3] else "NOT met"]), flush=True)
