"""Logistic regression and multi-layer perceptron; images are read as one long row."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from securefl.data.task import Task

MOST = 4096  # widest hidden layer


def logistic(task: Task, *, generator: torch.Generator) -> nn.Module:
    """One linear layer that starts at zero; the problem is convex, so `generator` stays untouched."""
    layer = nn.Linear(task.features, task.outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer) if task.image else layer


def mlp(task: Task, *, hidden: Sequence[int] = (32,), generator: torch.Generator) -> nn.Module:
    """Linear layers with tanh between them.

    Args:
        task: gives the widths of the first and the last layer.
        hidden: widths of the layers between, each 1 to 4096.
        generator: draws the initial weights, uniform within 1/sqrt(inputs) as torch does by default.

    Raises:
        ValueError: a width outside that range.

    Source: tanh for DP-SGD, Papernot et al., AAAI 2021.
    """
    if not all(1 <= width <= MOST for width in hidden):
        raise ValueError(f"mlp needs hidden widths of 1 to {MOST}, got {list(hidden)}")
    widths = [task.features, *hidden, task.outputs]
    layers: list[nn.Module] = [nn.Flatten()] if task.image else []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        bound = 1 / math.sqrt(inputs)
        for parameter in (layer.weight, layer.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])
