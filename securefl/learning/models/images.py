"""Convolutional networks for images, of layers whose gradients can be taken one example at a time.

Batch normalisation mixes the examples of a batch, which DP-SGD cannot allow; all norms here are group norms.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from securefl.data.task import Task

MOST = 1024  # channels of a layer
_GROUPS = 8
_CELLS = 4  # a side of the last feature map, whatever the image's
_SMALL = 64  # pixels up to which ResNet-18 starts with a 3 x 3 convolution


def cnn(
    task: Task, *, channels: Sequence[int] = (16, 32), generator: torch.Generator
) -> nn.Sequential:
    """Blocks of convolution, group norm, tanh and max-pooling, then one linear layer; for 2-D and 3-D images.

    Args:
        task: gives the image's shape and the width of the last layer.
        channels: of each block, 1 to 1024; each block halves the image's sides.
        generator: draws the initial weights, uniform within 1/sqrt(inputs) as torch does by default.

    Raises:
        ValueError: records are no images, a width is outside that range, or the image is too small for the blocks.

    Source: tanh for DP-SGD, Papernot et al., AAAI 2021; group norm for DP-SGD, Luo et al., CVPR 2021.
    """
    side = _side(task, "cnn")
    if not channels or not all(1 <= width <= MOST for width in channels):
        raise ValueError(f"cnn needs channels of 1 to {MOST}, got {list(channels)}")
    if side < 2 ** len(channels):
        raise ValueError(
            f"cnn halves the image's sides with each block: {side} pixels are too few for {len(channels)}"
        )
    solid = len(task.image) == 4
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((task.image[0], *channels)):
        layers += [
            nn.Conv3d(inputs, outputs, 3, padding=1)
            if solid
            else nn.Conv2d(inputs, outputs, 3, padding=1),
            _norm(outputs),
            nn.Tanh(),
            nn.MaxPool3d(2) if solid else nn.MaxPool2d(2),
        ]
    cells = _CELLS ** (len(task.image) - 1)
    pool = nn.AdaptiveAvgPool3d(_CELLS) if solid else nn.AdaptiveAvgPool2d(_CELLS)
    model = nn.Sequential(
        *layers, pool, nn.Flatten(), nn.Linear(channels[-1] * cells, task.outputs)
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(_bias(layer), -bound, bound, generator=generator)
    return _channels_last(model, task)


def resnet18(task: Task, *, generator: torch.Generator) -> nn.Sequential:
    """ResNet-18 with group norm for 2-D images; up to 64 pixels its stem is one 3 x 3 convolution, without pooling.

    Args:
        task: gives the image's shape and the width of the last layer.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images.

    Source: He et al., CVPR 2016, table 1; small stem as in MedMNIST's experiments (Yang et al., Scientific Data 2023,
    section "Methods"); initial weights He et al., ICCV 2015; group norm Wu and He, ECCV 2018.
    """
    side = _side(task, "resnet18")
    if len(task.image) != 3:
        raise ValueError("resnet18 takes 2-D images; use cnn for 3-D")
    stem: list[nn.Module] = [nn.Conv2d(task.image[0], 64, 3, padding=1, bias=False)]
    if side > _SMALL:
        stem = [nn.Conv2d(task.image[0], 64, 7, stride=2, padding=3, bias=False)]
    stem += [_norm(64), nn.ReLU()] + (
        [nn.MaxPool2d(3, stride=2, padding=1)] if side > _SMALL else []
    )
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [_Residual(inputs, outputs) for inputs, outputs in pairwise(widths)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, task.outputs)]
    model = nn.Sequential(*stem, *blocks, *head)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(
                layer.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(_bias(layer), -bound, bound, generator=generator)
    return _channels_last(model, task)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the first halves the sides where the channels double."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            _norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _norm(outputs),
        )
        short = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), _norm(outputs)
        )
        self.short = nn.Identity() if inputs == outputs else short
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Body and shortcut, added."""
        total: Tensor = self.last(self.body(x) + self.short(x))
        return total


def _side(task: Task, name: str) -> int:
    """Pixels of a side. Raises ValueError where records are no images."""
    if not task.image:
        raise ValueError(
            f"{name} takes images, these records are {task.features} numbers; use logistic or mlp"
        )
    return task.image[-1]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


def _bias(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> Tensor:
    if layer.bias is None:
        raise ValueError("this layer has no bias")
    return layer.bias


def _channels_last(model: nn.Sequential, task: Task) -> nn.Sequential:
    """The layout in which convolution and pooling are fast on a CPU."""
    solid = len(task.image) == 4
    return model.to(memory_format=torch.channels_last_3d if solid else torch.channels_last)  # type: ignore[call-overload,no-any-return]
