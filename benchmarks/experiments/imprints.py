"""Records read off gradients in closed form, on PneumoniaMNIST.

Batches are drawn from the published test set under seeds fixed beforehand. An imprint's cuts come
from training images, and so does the mean image that every figure is compared with. The direction
of the measurement was chosen on validation images.
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
from benchmarks.experiments.table import Row, plus_minus, show
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

SEEDS = range(2000, 2020)
BATCH = 32  # images
CLIENTS = 10
LR = 0.1
BINS = 512
MANY_BINS = 4096
GOOD_DECIBELS = 30.0
NOISE_MULTIPLIER = 0.5  # of a sum of 32 gradients, each clipped to 1


class Trial(NamedTuple):
    """One batch."""

    share: float  # of its images recovered above 30 dB
    quality: float  # mean PSNR in dB
    baseline: float  # mean PSNR of the mean image
    milliseconds: float


class Leak(NamedTuple):
    """The gradients of a layer, by weight and by bias."""

    weight: Tensor
    bias: Tensor


class Bench:
    """PneumoniaMNIST, a model with an imprint in front, and the messages that a server receives."""

    def __init__(self, data: FederatedData, build: Callable[..., nn.Module], *, bins: int) -> None:
        self.task = data.task
        self.test = data.test
        self.train = self.task.inputs(data.sites[0].train.features)
        direction = torch.randn(784, generator=_seeded(1))
        # Seeds are fixed, so that every batch meets the same imprint and the same model.
        self.front: Imprint = imprint(self.train, direction, bins=bins)
        self.model = nn.Sequential(self.front, build(self.task, generator=_seeded(2)))
        self.start = vector.to_vector(self.model)

    def batch(self, seed: int, *, n: int = BATCH) -> Examples:
        """Returns test images, drawn without replacement."""
        chosen = torch.randperm(len(self.test), generator=_seeded(seed))[:n]
        return Examples(self.test.features[chosen], self.test.labels[chosen])

    def gradient(self, examples: Examples) -> Leak:
        """Returns the gradient of one client's full batch."""
        vector.load_vector(self.model, self.start)
        self.model.zero_grad()
        loss = self.task.loss(self.model(self.task.inputs(examples.features)), examples.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return _gradient(self.front.front)

    def masked_sum(self, examples: Examples, *, seed: int) -> Leak:
        """Returns the sum that the masked channel opens, of one honest step per client."""
        # As the masked channel does it: encode each update, add words in the ring, decode the sum.
        code = FixedPoint(ring=32, clip=4.0, rounding="stochastic", most=CLIENTS)
        total = np.zeros(len(self.start), dtype=code.word)
        words = np.zeros(len(self.start), dtype=code.word)
        for client, part in enumerate(torch.split(torch.arange(len(examples)), BATCH)):
            own = Examples(examples.features[part], examples.labels[part])
            trainer = SgdTrainer(
                self.model,
                self.task,
                own,
                client=client,
                batch=BATCH,
                epochs=1,
                lr=LR,
                stream_for=partial(seeded_keystream, seed),
            )
            delta = trainer.fit(self.start, round=0).delta.numpy()
            rounding = seeded_keystream(seed, "rounding", client)
            code.encode(delta, scale=1.0, stream=rounding, out=words)
            total += words
        return self._leak(torch.from_numpy(code.decode(total)))

    def noisy(self, machine: DpSgd, examples: Examples, *, seed: int) -> Leak:
        """Returns the update of one client's step of DP-SGD on its full batch."""
        # A sample rate of 1: the batch is all that the client has.
        records = len(examples)
        plan = DpPlan(
            records=records,
            batch=records,
            epochs=1,
            clip=1.0,
            noise_multiplier=NOISE_MULTIPLIER,
        )
        sampling = seeded_keystream(seed, "poisson")
        noise = seeded_keystream(seed, "noise")
        trained = machine.run(self.start, examples, plan, sampling=sampling, noise=noise)
        return self._leak(trained.delta)

    def trial(self, examples: Examples, attack: Callable[[], Tensor]) -> Trial:
        """Runs an attack, and compares it with the mean training image."""
        start = time.perf_counter()
        recovered = attack()
        milliseconds = 1000 * (time.perf_counter() - start)
        truth = _pixels(self.task.inputs(examples.features))
        pictures = _pixels(recovered.view(-1, *truth.shape[1:]))
        # The baseline sees no gradient: the mean of the training images, for every test image.
        mean_image = _pixels(self.train.mean(dim=0, keepdim=True))
        decibels = best_match(pictures, truth, bounds=(0, 1)).psnr
        baseline = best_match(mean_image, truth, bounds=(0, 1)).psnr
        return Trial(
            float((decibels > GOOD_DECIBELS).double().mean()),
            float(decibels.mean()),
            float(baseline.mean()),
            milliseconds,
        )

    def _leak(self, delta: Tensor) -> Leak:
        """Returns the part of an update (d,) that belongs to the imprint's first layer."""
        layer = self.front.front
        size = layer.weight.numel()
        weight = delta[:size].view_as(layer.weight)
        bias = delta[size:][: layer.bias.numel()]
        return Leak(weight, bias)


def rows() -> Iterator[Row]:
    """Yields the imprint, its controls, its sums under masks, and a single record."""
    data = load_medmnist(source("pneumoniamnist"), partition="pooled", test_on="test")
    benches = {"mlp": Bench(data, mlp, bins=BINS), "cnn": Bench(data, cnn, bins=BINS)}
    for name, bench in benches.items():
        trials = []
        for seed in SEEDS:
            batch = bench.batch(seed)
            trials.append(bench.trial(batch, partial(imprinted, *bench.gradient(batch))))
        yield _row(f"imprint, {BINS} bins, {BATCH} images, {name} behind it", 0.85, trials)
    yield _shuffled(benches["mlp"])
    # A bench of its own, because Opacus leaves hooks in its model.
    yield _under_noise(Bench(data, mlp, bins=BINS))
    # The share of records alone in their bin, if all bins are equally likely.
    alone = (1 - 1 / BINS) ** (CLIENTS * BATCH - 1)
    yield _summed(benches["mlp"], BINS, 0.85 * alone)
    yield _summed(Bench(data, mlp, bins=MANY_BINS), MANY_BINS, 0.85)
    yield _one_record(data)


def _summed(bench: Bench, bins: int, least: float) -> Row:
    """Returns the row of ten clients under masks."""
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed, n=CLIENTS * BATCH)
        leak = bench.masked_sum(examples, seed=seed)
        trials.append(bench.trial(examples, partial(imprinted, *leak)))
    what = f"the masked sum of {CLIENTS} clients (ring 32), {bins} bins, {BATCH} images each"
    return _row(what, least, trials)


def _shuffled(bench: Bench) -> Row:
    """Returns the negative control: the same gradients, their coordinates permuted."""
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed)
        weight, bias = bench.gradient(examples)
        order = torch.randperm(weight.numel(), generator=_seeded(seed + 1000))
        shuffled = weight.flatten()[order].view_as(weight)
        trials.append(bench.trial(examples, partial(imprinted, shuffled, bias)))
    return _no_better("negative control: imprint on shuffled gradients", 0.0, trials)


def _under_noise(bench: Bench) -> Row:
    """Returns the row of an imprint under local DP noise."""
    machine = DpSgd(bench.model, bench.task, lr=LR)
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed)
        leak = bench.noisy(machine, examples, seed=seed)
        trials.append(bench.trial(examples, partial(imprinted, *leak)))
    what = f"imprint, under DP-SGD of noise multiplier {NOISE_MULTIPLIER:g}"
    return _no_better(what, 1.0, trials)


def _one_record(data: FederatedData) -> Row:
    """Returns the row of single records, read off the first layer of the plain model."""
    bench = Bench(data, mlp, bins=BINS)
    plain = bench.model[1]
    layer = next(module for module in plain.modules() if isinstance(module, nn.Linear))
    trials = []
    for seed in SEEDS:
        examples = bench.batch(seed, n=1)
        plain.zero_grad()
        loss = data.task.loss(plain(data.task.inputs(examples.features)), examples.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        trials.append(bench.trial(examples, partial(linear_inputs, *_gradient(layer))))
    return _row("analytic leakage of one image, first layer of mlp", 1.0, trials)


def _row(what: str, least: float, trials: Sequence[Trial]) -> Row:
    share = statistics.mean(trial.share for trial in trials)
    goal = f">= {least:.0%} of images above {GOOD_DECIBELS:g} dB"
    return Row(what, goal, _figures(trials), share >= least)


def _no_better(what: str, margin: float, trials: Sequence[Trial]) -> Row:
    ahead = statistics.mean(trial.quality - trial.baseline for trial in trials)
    goal = "no better than the mean image"
    if margin:
        goal += f" + {margin:g} dB"
    # A single recovered image would refute the claim, whatever the mean is.
    nothing = not any(trial.share for trial in trials)
    return Row(what, goal, _figures(trials), ahead <= margin and nothing)


def _figures(trials: Sequence[Trial]) -> str:
    """Returns means and standard errors over the batches, in words."""
    percents = [100 * trial.share for trial in trials]
    quality = plus_minus([trial.quality for trial in trials])
    baseline = plus_minus([trial.baseline for trial in trials])
    milliseconds = statistics.median(trial.milliseconds for trial in trials)
    return (
        f"{plus_minus(percents)} % above {GOOD_DECIBELS:g} dB, PSNR {quality} dB on average "
        f"(mean image {baseline} dB), {milliseconds:.1f} ms, {len(trials)} batches"
    )


def _gradient(layer: nn.Linear) -> Leak:
    """Returns copies of a layer's gradients."""
    weight = layer.weight.grad
    bias = layer.bias.grad
    if weight is None or bias is None:
        raise ValueError("no gradient was taken")
    return Leak(weight.clone(), bias.clone())


def _pixels(inputs: Tensor) -> Tensor:
    """Returns inputs in [-1, 1] as pixels in [0, 1]."""
    return (inputs + 1) / 2


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


if __name__ == "__main__":
    show(rows())
