"""Workers that print a number of each generator."""

import random

import numpy as np
import torch

from securefl.runs import worker


def _draw() -> None:
    print(torch.rand(1).item(), np.random.rand(), random.random(), flush=True)  # noqa: NPY002


worker.main = _draw
