"""Convolutional networks for images, of layers whose gradients exist one example at a time.

Batch normalisation mixes the examples of a batch, so that a record would move the gradients of
others: DP-SGD cannot bound that. All norms here are group norms.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from securefl.data.task import Task

MAX_CHANNELS = 1024  # of a layer
NORM_GROUPS = 8  # of a group norm, where the channels allow it
POOLED_SIDE = 4  # pixels of the last feature map's sides, whatever the image's
SMALL_IMAGE_SIDE = 64  # pixels up to which ResNet-18 starts with a 3 x 3 convolution
RESNET18_WIDTHS = (64, 64, 64, 128, 128, 256, 256, 512, 512)  # of the stem and of eight blocks


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
    side = _side(task, "cnn")
    if not channels or not all(1 <= width <= MAX_CHANNELS for width in channels):
        raise ValueError(f"cnn needs channels of 1 to {MAX_CHANNELS}, got {list(channels)}")
    if side < 2 ** len(channels):
        raise ValueError(
            f"cnn halves the image's sides with each block: {side} pixels are too few for "
            f"{len(channels)}"
        )
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((task.image[0], *channels)):
        layers += _block(inputs, outputs, solid=_is_solid(task))
    pool = nn.AdaptiveAvgPool3d if _is_solid(task) else nn.AdaptiveAvgPool2d
    features = channels[-1] * POOLED_SIDE ** (len(task.image) - 1)
    head = nn.Linear(features, task.outputs)
    model = nn.Sequential(*layers, pool(POOLED_SIDE), nn.Flatten(), head)
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(_bias(layer), -bound, bound, generator=generator)
    return _channels_last(model, task)


def _block(inputs: int, outputs: int, *, solid: bool) -> list[nn.Module]:
    """Returns the layers of one block of `cnn`."""
    if solid:
        convolution: nn.Module = nn.Conv3d(inputs, outputs, 3, padding=1)
        pool: nn.Module = nn.MaxPool3d(2)
    else:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        pool = nn.MaxPool2d(2)
    return [convolution, _norm(outputs), nn.Tanh(), pool]


def resnet18(task: Task, *, generator: torch.Generator) -> nn.Sequential:
    """Returns ResNet-18 with group norm, for 2-D images.

    Up to 64 pixels its stem is one 3 x 3 convolution without pooling.

    Args:
        task: gives the image's shape and the width of the last layer.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images.

    Source: He et al., CVPR 2016, table 1; small stem as in MedMNIST's experiments (Yang et al.,
    Scientific Data 2023, section "Methods"); initial weights He et al., ICCV 2015; group norm Wu
    and He, ECCV 2018.
    """
    side = _side(task, "resnet18")
    if len(task.image) != 3:
        raise ValueError("resnet18 takes 2-D images; use cnn for 3-D")
    blocks = [_Residual(inputs, outputs) for inputs, outputs in pairwise(RESNET18_WIDTHS)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(RESNET18_WIDTHS[-1], task.outputs)]
    model = nn.Sequential(*_stem(task.image[0], side), *blocks, *head)
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


def _stem(channels: int, side: int) -> list[nn.Module]:
    """Returns the first layers of ResNet-18 for images of this side."""
    width = RESNET18_WIDTHS[0]
    if side <= SMALL_IMAGE_SIDE:
        return [nn.Conv2d(channels, width, 3, padding=1, bias=False), _norm(width), nn.ReLU()]
    convolution = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    return [convolution, _norm(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]


class _Residual(nn.Module):
    """Adds two 3 x 3 convolutions to a shortcut.

    The first convolution halves the sides where the channels double.
    """

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
        """Returns body plus shortcut, rectified."""
        total: Tensor = self.last(self.body(x) + self.short(x))
        return total


def _side(task: Task, name: str) -> int:
    """Returns the pixels of the shortest side. Raises ValueError where records are no images."""
    if not task.image:
        raise ValueError(
            f"{name} takes images, these records are {task.features} numbers; use logistic or mlp"
        )
    return min(task.image[1:])


def _is_solid(task: Task) -> bool:
    """Whether images are 3-D: channels and three sides."""
    return len(task.image) == 4


def _norm(channels: int) -> nn.GroupNorm:
    # The number of groups has to divide the channels.
    return nn.GroupNorm(math.gcd(NORM_GROUPS, channels), channels)


def _bias(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> Tensor:
    if layer.bias is None:
        raise ValueError("this layer has no bias")
    return layer.bias


def _channels_last(model: nn.Sequential, task: Task) -> nn.Sequential:
    """Returns the model in the layout in which convolution and pooling are fast on a CPU."""
    layout = torch.channels_last_3d if _is_solid(task) else torch.channels_last
    return model.to(memory_format=layout)  # type: ignore[call-overload,no-any-return]
