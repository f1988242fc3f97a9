"""Records, plans and short calls of both ways of training, for tests of their options."""

from functools import partial

import torch
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models.linear import logistic
from securefl.learning.options import StepOptions
from securefl.learning.plan import DpPlan
from securefl.learning.sgd import SgdTrainer
from securefl.rng import seeded_keystream

BINARY = Task(features=3, classes=2)
THREE = Task(features=4, classes=3)
SEVERAL = Task(features=4, classes=3, multilabel=True)
IMAGES = Task(features=2 * 8 * 8, classes=3, image=(2, 8, 8))
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-7)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_examples(task: Task, records: int, *, seed: int = 2) -> Examples:
    generator = seeded(seed)
    features = torch.randn(records, *(task.image or (task.features,)), generator=generator)
    size = (records, task.classes) if task.multilabel else (records,)
    largest = 2 if task.multilabel else task.classes
    return Examples(features, torch.randint(largest, size, generator=generator))


def plain(
    model: nn.Module,
    task: Task,
    examples: Examples,
    how: StepOptions,
    *,
    batch: int = 100,
    epochs: int = 1,
    lr: float = 0.1,
) -> SgdTrainer:
    return SgdTrainer(
        model,
        task,
        examples,
        client=0,
        batch=batch,
        epochs=epochs,
        lr=lr,
        stream_for=partial(seeded_keystream, 1),
        options=how,
    )


def delta_of(
    how: StepOptions, start: Tensor, examples: Examples, *, private: bool, lr: float
) -> Tensor:
    """The change that three steps of a logistic model make, each on all records, without noise."""
    model = logistic(BINARY, generator=seeded())
    if private:
        machine = DpSgd(model, BINARY, lr=lr, options=how)
        return noisy(machine, start, examples, whole(len(examples), steps=3))
    return plain(model, BINARY, examples, how, epochs=3, lr=lr).fit(start, round=0).delta


def noisy(
    machine: DpSgd, weights: Tensor, examples: Examples, plan: DpPlan, *, round: int = 0
) -> Tensor:
    return machine.run(
        weights,
        examples,
        plan,
        sampling=seeded_keystream(1, "poisson"),
        noise=seeded_keystream(1, "noise"),
        round=round,
    ).delta


def whole(records: int, *, steps: int = 1, clip: float = 1e6) -> DpPlan:
    """Every record in every step, without noise."""
    return DpPlan(records=records, batch=records, epochs=steps, clip=clip, noise_multiplier=0.0)
