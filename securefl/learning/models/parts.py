"""What the networks for images share: sides, norms, initial weights, layout in memory."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from securefl.data.task import Task
from securefl.learning.models.convolutions import AxialCoronalSagittal

NORM_GROUPS = 8  # of a group norm, where the channels allow it
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
VECTOR_NUMBERS = 16  # float32 of the widest vector of an x86 processor


def shortest_side(task: Task, name: str) -> int:
    """Returns the pixels of the shortest side. Raises ValueError where records are no images."""
    if not task.image:
        raise ValueError(
            f"{name} takes images, these records are {task.features} numbers; use logistic or mlp"
        )
    return min(task.image[1:])


def is_solid(task: Task) -> bool:
    """Whether images are 3-D: channels and three sides."""
    return len(task.image) == 4


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns a group norm of at most eight groups."""
    # The number of groups has to divide the channels.
    return nn.GroupNorm(math.gcd(NORM_GROUPS, channels), channels)


def bias_of(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> Tensor:
    """Returns the bias of a layer. Raises ValueError without one."""
    if layer.bias is None:
        raise ValueError("this layer has no bias")
    return layer.bias


def started(make: Callable[[], nn.Sequential], generator: torch.Generator) -> nn.Sequential:
    """Returns a network whose initial weights a generator alone decides.

    Convolutions start as He et al. say, so that gradients keep their size. Linear layers start
    uniform within 1/sqrt(inputs), and norms as the identity.

    Args:
        make: builds the network. It draws nothing: its layers have no memory yet.
        generator: draws the weights, layer by layer.

    Source: He et al., ICCV 2015, section 2.2 (fan-out).
    """
    place = torch.empty(0).device  # "meta" where only shapes are asked for
    with torch.device("meta"):
        shapes = make()
    model = shapes.to_empty(device=place)
    banked = {
        id(part)
        for layer in model.modules()
        if isinstance(layer, AxialCoronalSagittal)
        for part in layer.children()
    }
    for layer in model.modules():
        if id(layer) not in banked:
            _start(layer, generator)
    return model


def _start(layer: nn.Module, generator: torch.Generator) -> None:
    """Writes the initial weights of one layer."""
    if isinstance(layer, AxialCoronalSagittal):
        layer.load_bank(_he_normal(torch.empty(layer.bank_shape), generator))
    elif isinstance(layer, CONVOLUTIONS):
        _he_normal(layer.weight, generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        bound = 1 / math.sqrt(layer.in_features)
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        if layer.bias is not None:
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    elif isinstance(layer, nn.GroupNorm | nn.LayerNorm | _BatchNorm):
        layer.reset_parameters()  # ones and zeros


def _he_normal(weight: Tensor, generator: torch.Generator) -> Tensor:
    return nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def channels_last(model: nn.Sequential, *, solid: bool) -> nn.Sequential:
    """Returns the model in the layout in which convolution and pooling are fast on a CPU.

    A network with a strided 1 x 1 convolution of few channels keeps channels first.
    """
    if any(_overruns(layer) for layer in model.modules()):
        return model
    layout = torch.channels_last_3d if solid else torch.channels_last
    return model.to(memory_format=layout)  # type: ignore[call-overload,no-any-return]


def _overruns(layer: nn.Module) -> bool:
    """Whether torch writes beyond its memory in the backward pass, with channels last.

    Source: github.com/uxlfoundation/oneDNN, issue 6035, seen with torch 2.13: a stride, 1 x 1, and
    fewer channels than a vector of the processor has numbers.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels < VECTOR_NUMBERS
    )
