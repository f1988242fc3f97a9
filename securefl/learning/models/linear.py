"""Logistic regression and multi-layer perceptron; an image is one long row of numbers to them."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from securefl.data.task import Task

MAX_WIDTH = 4096  # of a hidden layer


def logistic(task: Task, *, generator: torch.Generator) -> nn.Module:
    """Returns one linear layer that starts at zero.

    Args:
        task: gives the layer's widths.
        generator: not used, since the problem is convex and any start will do.
    """
    layer = nn.Linear(task.features, task.outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer) if task.image else layer


def mlp(task: Task, *, hidden: Sequence[int] = (32,), generator: torch.Generator) -> nn.Module:
    """Returns linear layers with tanh between them.

    Args:
        task: gives the widths of the first and the last layer.
        hidden: widths of the layers between, each 1 to 4096.
        generator: draws the initial weights, uniform within 1/sqrt(inputs), torch's default.

    Raises:
        ValueError: a width outside that range.

    Source: tanh for DP-SGD, Papernot et al., AAAI 2021.
    """
    if not all(1 <= width <= MAX_WIDTH for width in hidden):
        raise ValueError(f"mlp needs hidden widths of 1 to {MAX_WIDTH}, got {list(hidden)}")
    widths = [task.features, *hidden, task.outputs]
    layers: list[nn.Module] = [nn.Flatten()] if task.image else []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        bound = 1 / math.sqrt(inputs)
        for parameter in (layer.weight, layer.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])
