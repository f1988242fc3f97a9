"""Physical batches: the steps of whole batches in bounded memory, and steps that are shown."""

import subprocess
import sys
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning import options
from securefl.learning.clipping.gradients import Outer
from securefl.learning.clipping.recorder import BatchGradients
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.models.residual import resnet18
from securefl.learning.options import StepOptions
from securefl.learning.plan import DpPlan
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream
from tests.learning.steps import (
    BINARY,
    IMAGES,
    SEVERAL,
    THREE,
    close,
    noisy,
    plain,
    seeded,
    some_examples,
    whole,
)
from tests.paths import ROOT


def narrow_resnet18() -> nn.Module:
    return resnet18(IMAGES, width=8, generator=seeded())


MODELS: dict[str, tuple[Task, Callable[[], nn.Module]]] = {
    "logistic": (BINARY, lambda: logistic(BINARY, generator=seeded())),
    "mlp, several labels": (SEVERAL, lambda: mlp(SEVERAL, hidden=(5,), generator=seeded())),
    "cnn": (IMAGES, lambda: cnn(IMAGES, channels=(4, 4), generator=seeded())),
    "resnet18, an eighth as wide": (IMAGES, narrow_resnet18),
}
each_model = pytest.mark.parametrize(("task", "build"), MODELS.values(), ids=MODELS.keys())


def largest_batches(model: nn.Module) -> list[int]:
    """The sizes of the batches that pass through the model, as they come."""
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    return sizes


@each_model
def test_physical_batches_take_the_steps_of_whole_ones(
    task: Task, build: Callable[[], nn.Module]
) -> None:
    """Noise included: it is drawn once a step, from the same stream."""
    examples = some_examples(task, 11)
    weights = vector.to_vector(build())
    plan = DpPlan(records=11, batch=9, epochs=1, clip=0.7, noise_multiplier=0.3)

    def delta(physical: int | None) -> tuple[Tensor, list[int]]:
        how = StepOptions(optimizer=options.sgd, physical_batch=physical)
        machine = DpSgd(build(), task, lr=0.1, options=how)
        sizes = largest_batches(machine.module)
        return noisy(machine, weights, examples, plan), sizes

    expected, whole_sizes = delta(None)
    assert set(whole_sizes) == {16}  # the last record fills batches up, and counts once
    for physical in (1, 4):
        got, sizes = delta(physical)
        assert set(sizes) == {physical}
        assert torch.linalg.norm(got - expected) < 1e-4 * torch.linalg.norm(expected)


@each_model
def test_plain_sgd_in_physical_batches_takes_the_steps_of_whole_ones(
    task: Task, build: Callable[[], nn.Module]
) -> None:
    # 11 records in batches of 5 leave a last batch of 1; 5 in parts of 2 leave a part of 1.
    examples = some_examples(task, 11)
    weights = vector.to_vector(build())

    def delta(physical: int | None) -> tuple[Tensor, list[int]]:
        model = build()
        sizes = largest_batches(model)
        trainer = plain(model, task, examples, StepOptions(physical_batch=physical), batch=5)
        return trainer.fit(weights, round=0).delta, sizes

    expected, whole_sizes = delta(None)
    assert whole_sizes == [5, 5, 1]
    got, sizes = delta(2)
    assert sizes == [2, 2, 1, 2, 2, 1, 1]
    assert torch.linalg.norm(got - expected) < 1e-4 * torch.linalg.norm(expected)


def test_the_noise_of_physical_batches_is_added_once_a_step() -> None:
    """Also where a batch is empty, which takes no part through the model."""
    task = Task(features=3, classes=2)
    plan = DpPlan(records=60, batch=2, epochs=1, clip=1.0, noise_multiplier=1.0)
    # Two of 60 declared records are there, at a rate of 1 in 30: most batches are empty.
    examples = some_examples(task, 2)
    deltas = []
    for physical in (None, 1):
        machine = DpSgd(
            logistic(task, generator=seeded()),
            task,
            lr=0.1,
            options=StepOptions(physical_batch=physical),
        )
        trained = machine.run(
            torch.zeros(4),
            examples,
            plan,
            sampling=seeded_keystream(1, "poisson"),
            noise=seeded_keystream(1, "noise"),
        )
        assert trained.spent == plan.cost
        deltas.append(trained.delta)
    close(*deltas)


def test_an_interrupted_step_leaves_nothing_in_the_sums_of_the_next_client() -> None:
    machine = DpSgd(
        logistic(BINARY, generator=seeded()), BINARY, lr=0.1, options=StepOptions(physical_batch=2)
    )
    plan, examples = whole(6), some_examples(BINARY, 6)
    expected = noisy(machine, torch.zeros(4), examples, plan)
    calls = 0
    gradients = machine.gradients

    def interrupted(examples: Examples, chosen: Tensor) -> BatchGradients:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return gradients(examples, chosen)

    machine.gradients = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        noisy(machine, torch.zeros(4), examples, plan)
    assert torch.equal(noisy(machine, torch.zeros(4), examples, plan), expected)


def peak_numbers(physical: int | None, *, batch: int) -> int:
    """The most numbers of single examples that layers noted and that are alive, in a step."""
    how = StepOptions(physical_batch=physical)
    machine = DpSgd(mlp(THREE, hidden=(20,), generator=seeded()), THREE, lr=0.1, options=how)
    gradients = machine.gradients
    seen: list[weakref.ref[Tensor]] = []
    peak = 0

    def counted(examples: Examples, chosen: Tensor) -> BatchGradients:
        nonlocal peak
        batch = gradients(examples, chosen)
        for _, of_layer in batch.layers:
            assert isinstance(of_layer, Outer)
            seen.extend([weakref.ref(of_layer.inputs), weakref.ref(of_layer.outputs)])
        alive = [tensor.numel() for ref in seen if (tensor := ref()) is not None]
        peak = max(peak, sum(alive))
        return batch

    machine.gradients = counted  # type: ignore[method-assign]
    weights = torch.zeros(len(vector.to_vector(machine.module)))
    noisy(machine, weights, some_examples(THREE, batch), whole(batch))
    return peak


def test_memory_does_not_grow_with_the_logical_batch() -> None:
    """Counted in numbers that are alive, which no other load on a machine moves."""
    noted = (4 + 20) + (20 + 3)  # what goes into each layer and comes back to it
    assert peak_numbers(8, batch=16) == peak_numbers(8, batch=64) == 8 * noted
    assert peak_numbers(None, batch=64) == 64 * noted


PEAKS = """if True:
    from pathlib import Path
    import torch
    from securefl import vector
    from securefl.data.task import Task
    from securefl.learning.dp_sgd import DpSgd
    from securefl.learning.models.linear import mlp
    from securefl.learning.options import StepOptions
    from tests.learning.steps import noisy, seeded, some_examples, whole

    task = Task(features=400, classes=10)

    def peak(batch, physical):
        how = StepOptions(physical_batch=physical)
        machine = DpSgd(mlp(task, hidden=(1000,), generator=seeded()), task, lr=0.1, options=how)
        weights = vector.to_vector(machine.module)
        noisy(machine, weights, some_examples(task, batch), whole(batch))
        # getrusage would count the process that this one was forked from.
        (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
        return int(line.split()[1])

    torch.set_num_threads(1)
    print(peak(2, None), peak(8192, 256), peak(8192, None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_small_physical_batches_save_three_quarters_of_the_memory() -> None:
    """As the system counts it; what a step of two records takes is there before."""
    done = subprocess.run(
        [sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, cwd=ROOT
    )
    before, physical, whole_batch = map(int, done.stdout.split())
    assert whole_batch - before > 4 * (physical - before)


# --- steps that are shown


@pytest.mark.parametrize("private", [False, True])
def test_logical_steps_are_shown_and_physical_batches_are_not(private: bool) -> None:
    """The number of physical batches would reveal how many records were drawn."""
    shown: list[tuple[int, int, int]] = []

    def on_step(client: int, step: int, steps: int) -> None:
        shown.append((client, step, steps))

    examples, how = some_examples(BINARY, 10), StepOptions(physical_batch=1)
    model, streams = logistic(BINARY, generator=seeded()), partial(seeded_keystream, 1)
    if private:
        machine = DpSgd(model, BINARY, lr=0.1, options=how)
        plan = DpPlan(records=10, batch=4, epochs=1, clip=1.0, noise_multiplier=1.0)
        private_trainer = DpSgdTrainer(
            machine, examples, plan, client=7, stream_for=streams, on_step=on_step
        )
        # As an audit does, which has a machine of its own.
        other = DpSgd(logistic(BINARY, generator=seeded()), BINARY, lr=0.1, options=how)
        private_trainer.on(other).fit(torch.zeros(4), round=0)
    else:
        SgdTrainer(
            model,
            BINARY,
            examples,
            client=7,
            batch=4,
            epochs=1,
            lr=0.1,
            stream_for=streams,
            options=how,
            on_step=on_step,
        ).fit(torch.zeros(4), round=0)
    assert shown == [(7, 1, 3), (7, 2, 3), (7, 3, 3)]
