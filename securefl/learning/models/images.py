"""A small convolutional network, of layers whose gradients exist one example at a time.

Batch normalisation mixes the examples of a batch, so that a record would move the gradients of
others: DP-SGD cannot bound that. Its norms are group norms.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from securefl.data.task import Task
from securefl.learning.models.parts import (
    bias_of,
    channels_last,
    group_norm,
    is_solid,
    shortest_side,
)

MAX_CHANNELS = 1024  # of a layer
POOLED_SIDE = 4  # pixels of the last feature map's sides, whatever the image's


def cnn(
    task: Task, *, channels: Sequence[int] = (16, 32), generator: torch.Generator
) -> nn.Sequential:
    """Returns blocks of convolution, group norm, tanh and max-pooling, then one linear layer.

    It takes 2-D and 3-D images.

    Args:
        task: gives the image's shape and the width of the last layer.
        channels: of each block, 1 to 1024; each block halves the image's sides.
        generator: draws the initial weights, uniform within 1/sqrt(inputs), torch's default.

    Raises:
        ValueError: records are no images, a width is outside that range, or the image is too small
            for the blocks.

    Source: tanh for DP-SGD, Papernot et al., AAAI 2021; group norm for DP-SGD, Luo et al.,
    CVPR 2021.
    """
    side = shortest_side(task, "cnn")
    if not channels or not all(1 <= width <= MAX_CHANNELS for width in channels):
        raise ValueError(f"cnn needs channels of 1 to {MAX_CHANNELS}, got {list(channels)}")
    if side < 2 ** len(channels):
        raise ValueError(
            f"cnn halves the image's sides with each block: {side} pixels are too few for "
            f"{len(channels)}"
        )
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((task.image[0], *channels)):
        layers += _block(inputs, outputs, solid=is_solid(task))
    pool = nn.AdaptiveAvgPool3d if is_solid(task) else nn.AdaptiveAvgPool2d
    features = channels[-1] * POOLED_SIDE ** (len(task.image) - 1)
    head = nn.Linear(features, task.outputs)
    model = nn.Sequential(*layers, pool(POOLED_SIDE), nn.Flatten(), head)
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias_of(layer), -bound, bound, generator=generator)
    return channels_last(model, solid=is_solid(task))


def _block(inputs: int, outputs: int, *, solid: bool) -> list[nn.Module]:
    """Returns the layers of one block of `cnn`."""
    if solid:
        convolution: nn.Module = nn.Conv3d(inputs, outputs, 3, padding=1)
        pool: nn.Module = nn.MaxPool3d(2)
    else:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        pool = nn.MaxPool2d(2)
    return [convolution, group_norm(outputs), nn.Tanh(), pool]
