"""Clipped sums of gradients, and noise, next to the ways that they replace.

    nice -n 10 python -m benchmarks.speed.clipping

A step of DP-SGD without noise: Opacus' hooks and optimizer, or one backward pass that keeps no
gradient of a single record. The noise of 1e6 coordinates: four draws by numpy's functions over
whole arrays, or block by block. Each measurement of a step is a process of its own with one thread,
and the sides take turns. Medians of CPU seconds; peak memory above what the process held before.
"""

import argparse
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.speed import process
from securefl.data.task import Task
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.clipping.recorder import Recorder
from securefl.learning.models.residual import resnet18
from securefl.privacy.noise.gaussian import DRAWS_PER_NORMAL, hardened_normal
from securefl.rng import Keystream

KIBIBYTE = 1024
COORDINATES = 10**6
IMAGE = (3, 32, 32)
SIDES = ("hooks", "one pass")
# network -> records of a batch, measured steps
NETWORKS = {"mlp": (64, 5), "resnet18": (32, 2)}


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Returns a network of ten classes, and the shape of a record."""
    if name == "mlp":
        layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(512, 10)), (784,)
    task = Task(features=math.prod(IMAGE), classes=10, image=IMAGE)
    return resnet18(task, generator=torch.Generator().manual_seed(1)), IMAGE


def by_hooks(model: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[], None]:
    """Returns a step of Opacus, without its noise."""

    class Noiseless(DPOptimizer):  # type: ignore[misc]
        def add_noise(self) -> None:
            for p in self.params:
                p.grad = p.summed_grad

    layout = torch.contiguous_format  # channels last would give wrong gradients
    wrapped = GradSampleModule(model.to(memory_format=layout))  # type: ignore[call-overload]
    optimizer = Noiseless(
        torch.optim.SGD(wrapped.parameters(), lr=0.1),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=len(labels),
    )

    def step() -> None:
        optimizer.zero_grad()
        outputs = wrapped(inputs.clone().requires_grad_())
        functional.cross_entropy(outputs, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def in_one_pass(model: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[], None]:
    """Returns our step, without its noise."""
    recorder = Recorder(model)

    def step() -> None:
        gradients = recorder.gradients(inputs, labels, functional.cross_entropy)
        factors = clip_factors(gradients.norms(), 1.0)
        with torch.no_grad():
            for p, total in gradients.sums(factors):
                p.add_(total, alpha=-0.1 / len(labels))

    return step


def measure(name: str, side: str) -> dict[str, float]:
    """Returns the CPU seconds of a step, and the peak of memory that it adds."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    records, steps = NETWORKS[name]
    model, shape = network(name)
    inputs, labels = torch.randn(records, *shape), torch.randint(10, (records,))
    make = by_hooks if side == "hooks" else in_one_pass
    step = make(model.train(), inputs, labels)
    before = _peak()
    step()
    times = [_cpu(step) for _ in range(steps)]
    return {"seconds": statistics.median(times), "bytes": _peak() - before}


def _peak() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE)


def _cpu(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def noise_in_whole_arrays(
    size: int, stream: Keystream
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns the noise as it was drawn before: numpy's functions, one array after another."""
    total = np.zeros(size)
    half = (size + 1) // 2
    for _ in range(DRAWS_PER_NORMAL):
        radius = np.sqrt(-2.0 * np.log(stream.uniform(half)))
        angle = (2.0 * math.pi) * stream.uniform(half)
        total += np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
    return total / math.sqrt(DRAWS_PER_NORMAL)


def show_noise(repeats: int) -> None:
    """Prints nanoseconds a coordinate and draw."""
    stream = Keystream(bytes(32))
    ways = {"whole arrays": noise_in_whole_arrays, "blocks": hardened_normal}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, draw in ways.items():
            times[way].append(_cpu(lambda draw=draw: draw(COORDINATES, stream)))  # type: ignore[misc]
    medians = {way: statistics.median(seconds) for way, seconds in times.items()}
    for way, seconds in medians.items():
        print(f"noise, {way}: {1e9 * seconds / COORDINATES / DRAWS_PER_NORMAL:.1f} ns a draw")
    print(f"noise: {medians['whole arrays'] / medians['blocks']:.1f} times as fast")


def main() -> None:
    """Prints the medians, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.network and given.side:
        sys.stdout.write(json.dumps(measure(given.network, given.side)) + "\n")
        return
    torch.set_num_threads(1)
    show_noise(2 * given.repeats)
    for name in NETWORKS:
        module = (sys.executable, "-m", "benchmarks.speed.clipping", "--network", name)
        medians = process.medians_in_turns(
            {side: (*module, "--side", side) for side in SIDES},
            of=("seconds", "bytes"),
            repeats=given.repeats,
        )
        for side in SIDES:
            seconds, peak = medians[side, "seconds"], medians[side, "bytes"]
            print(f"{name}, {side}: {1e3 * seconds:.1f} ms, {peak / 1e6:.0f} MB")
        faster = medians["hooks", "seconds"] / medians["one pass", "seconds"]
        memory = medians["one pass", "bytes"] / medians["hooks", "bytes"]
        print(f"{name}: {faster:.1f} times as fast, {memory:.2f} of the memory")


if __name__ == "__main__":
    main()
