"""Measures DP-SGD in physical batches: peak memory and CPU time against whole batches.

    python -m benchmarks.speed.physical_batches

ResNet-18 with group norm takes noisy steps on images of 28 pixels. Each measurement is a process of
its own, and whole and physical batches take turns.
"""

import argparse
import json
import resource
import sys
import time

import torch

from benchmarks.speed import process
from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models.residual import resnet18
from securefl.learning.options import StepOptions
from securefl.learning.plan import DpPlan
from securefl.rng import seeded_keystream

BATCH = 64
PHYSICAL = 8
STEPS = 2
REPEATS = 5
SIDE = 28
KIBIBYTE = 1024


def measure(physical: int, steps: int) -> dict[str, float]:
    """Returns the peak memory of this process, and the CPU seconds of a step."""
    torch.set_num_threads(1)
    task = Task(features=SIDE * SIDE, classes=9, image=(1, SIDE, SIDE))
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (BATCH, *task.image), generator=generator, dtype=torch.uint8)
    labels = torch.randint(task.classes, (BATCH,), generator=generator)
    options = StepOptions(physical_batch=physical)
    model = resnet18(task, generator=generator)
    machine = DpSgd(model, task, lr=0.1, options=options)
    # Every record is in every batch, so that all processes do the same work.
    plan = DpPlan(records=BATCH, batch=BATCH, epochs=steps, clip=1.0, noise_multiplier=1.0)
    started = time.process_time()
    machine.run(
        vector.to_vector(model),
        Examples(images, labels),
        plan,
        sampling=seeded_keystream(1, "poisson"),
        noise=seeded_keystream(1, "noise"),
    )
    seconds = (time.process_time() - started) / steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
    return {"seconds": seconds, "bytes": float(peak)}


def main() -> None:
    """Prints the medians, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--physical", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    given = parser.parse_args()
    if given.physical:
        sys.stdout.write(json.dumps(measure(given.physical, given.steps)) + "\n")
        return
    module = (sys.executable, "-m", "benchmarks.speed.physical_batches")
    commands = {
        physical: (*module, *process.options(physical=physical, steps=given.steps))
        for physical in (BATCH, PHYSICAL)
    }
    medians = process.medians_in_turns(commands, of=("bytes", "seconds"), repeats=given.repeats)
    for physical in commands:
        peak, seconds = medians[physical, "bytes"], medians[physical, "seconds"]
        print(f"{physical} of {BATCH} at once: {peak / 1e6:.0f} MB, {seconds:.2f} s a step")
    for name in ("bytes", "seconds"):
        print(f"{name}: {medians[PHYSICAL, name] / medians[BATCH, name]:.3f} of the whole batch")


if __name__ == "__main__":
    main()
