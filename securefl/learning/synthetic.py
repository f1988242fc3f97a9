"""Records of a task's shape, which nobody owns: models are tried on them."""

import math

import torch

from securefl.data.task import Examples, Task
from securefl.data.unlike_labels import UNOBSERVED
from securefl.rng import seeded_keystream

# Scales of records that nobody should have: a mask of zeros passes on a NaN.
EXTREMES = (1e30, math.inf, math.nan)


def synthetic(task: Task, records: int, *, seed: int, scale: float = 1.0) -> Examples:
    """Returns records of a task's shape, which nobody owns.

    Args:
        task: whose records.
        records: their number.
        seed: decides them.
        scale: images lie within [-1, 1] times scale, other features are scale times normal numbers.
    """
    generator = seeded_keystream(seed, "synthetic").torch_generator()
    shape = (records, *(task.image or (task.features,)))
    if task.image:
        features = torch.rand(shape, generator=generator) * 2 - 1
    else:
        features = torch.randn(shape, generator=generator)
    if task.regression:
        labels = torch.rand((records, task.outputs), generator=generator) * 2 - 1
    elif task.multilabel:
        lowest = UNOBSERVED if task.partial else 0
        labels = torch.randint(lowest, 2, (records, task.classes), generator=generator)
    else:
        # A coarse label is the number of classes plus that of its group.
        labels = torch.randint(task.classes + len(task.groups), (records,), generator=generator)
    return Examples(features * scale, labels)
