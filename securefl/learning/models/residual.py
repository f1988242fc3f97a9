"""ResNet-18 and ResNet-50, for images and for volumes."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.models.convolutions import (
    Convolution,
    acs_convolution,
    flat_convolution,
    slice_convolution,
    solid_convolution,
)
from securefl.learning.models.parts import (
    channels_last,
    group_norm,
    is_solid,
    shortest_side,
    started,
)

SMALL_IMAGE_SIDE = 64  # pixels up to which a network starts with a 3 x 3 convolution
USUAL_WIDTH = 64
MIN_WIDTH, MAX_WIDTH = 4, 256  # of the stem
BLOCKS_OF_18 = (2, 2, 2, 2)
BLOCKS_OF_50 = (3, 4, 6, 3)
EXPANSION = 4  # of a bottleneck
# Of volumes. "slices" is a 2-D network that takes the slices of a volume as channels.
SOLID: Mapping[str, Convolution] = {
    "2.5d": slice_convolution,
    "3d": solid_convolution,
    "acs": acs_convolution,
}
SLICES = "slices"
NORMS = ("group", "batch")


@dataclass(frozen=True)
class _Layers:
    """The layers that a residual network is made of.

    Args:
        convolution: makes a convolution.
        norm: makes a norm of so many channels.
        max_pool: the class of the stem's pooling.
        mean: the class of the pooling before the last layer.
    """

    convolution: Convolution
    norm: Callable[[int], nn.Module]
    max_pool: type[nn.Module]
    mean: type[nn.Module]


# inputs, width, stride, layers -> a block
_Block = Callable[[int, int, int, _Layers], nn.Module]


def resnet18(
    task: Task,
    *,
    convolution: str = "2d",
    width: int = USUAL_WIDTH,
    norm: str = "group",
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns ResNet-18 with group norm, for 2-D images or volumes.

    Up to 64 pixels its stem is one 3 x 3 convolution without pooling.

    Args:
        task: gives the image's shape and the width of the last layer.
        convolution: "2d" for images. For volumes "acs", "3d", "2.5d" (each slice by itself), or
            "slices": a 2-D network that takes all slices as channels.
        width: channels of the stem, 4 to 256.
        norm: "group", or "batch", which training with noise cannot have.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no images of that kind, or a parameter is none of these.

    Source: He et al., CVPR 2016, table 1; small stem as in MedMNIST's experiments (Yang et al.,
    Scientific Data 2023, section "Methods"); initial weights He et al., ICCV 2015; group norm Wu
    and He, ECCV 2018; volumes as in `convolutions`.
    """
    options = _Options("resnet18", convolution, width, norm)
    return _resnet(task, options, _basic, BLOCKS_OF_18, 1, generator)


def resnet50(
    task: Task,
    *,
    convolution: str = "2d",
    width: int = USUAL_WIDTH,
    norm: str = "group",
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns ResNet-50 with group norm, for 2-D images or volumes.

    Everything is as in `resnet18`, but for blocks of three convolutions.

    Args:
        task: gives the image's shape and the width of the last layer.
        convolution: as of `resnet18`.
        width: channels of the stem, 4 to 256; the last block has 32 times as many.
        norm: as of `resnet18`.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no images of that kind, or a parameter is none of these.

    Source: He et al., CVPR 2016, table 1. The 3 x 3 convolution of a block has the stride, as in
    MedMNIST's experiments; the paper gives it to the 1 x 1 convolution before it.
    """
    options = _Options("resnet50", convolution, width, norm)
    return _resnet(task, options, _bottleneck, BLOCKS_OF_50, EXPANSION, generator)


@dataclass(frozen=True)
class _Options:
    """The hyper-parameters of a residual network, and its name for refusals."""

    name: str
    convolution: str
    width: int
    norm: str


def _resnet(
    task: Task,
    options: _Options,
    block: _Block,
    blocks: tuple[int, ...],
    expansion: int,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns a residual network with its initial weights."""
    side = shortest_side(task, options.name)
    _check(task, options)
    layers = _layers(options)
    small = side <= SMALL_IMAGE_SIDE
    sliced = options.convolution == SLICES
    inputs = task.image[0] * task.image[1] if sliced else task.image[0]
    features = options.width * 2 ** (len(blocks) - 1) * expansion

    def made() -> nn.Sequential:
        parts = [
            *_stem(inputs, options.width, small, layers),
            *_stages(options.width, block, blocks, expansion, layers),
            layers.mean(1),
            nn.Flatten(),
            nn.Linear(features, task.outputs),
        ]
        # Numbered by place, whether slices are joined before or not: weights keep their names.
        named = OrderedDict((str(place), part) for place, part in enumerate(parts))
        if sliced:
            named = OrderedDict([("slices", nn.Flatten(1, 2)), *named.items()])
        return nn.Sequential(named)

    return channels_last(started(made, generator), solid=options.convolution in SOLID)


def _check(task: Task, options: _Options) -> None:
    """Refuses hyper-parameters that do not exist or do not fit the images."""
    name, convolution = options.name, options.convolution
    of_volumes = (*SOLID, SLICES)
    if convolution not in ("2d", *of_volumes):
        raise ValueError(
            f"{name} has the convolutions 2d, {', '.join(of_volumes)}, got {convolution!r}"
        )
    if is_solid(task) and convolution == "2d":
        raise ValueError(
            f'{name} takes 2-D images; for 3-D set model.convolution = "acs", or use cnn'
        )
    if not is_solid(task) and convolution != "2d":
        raise ValueError(
            f"{name} with convolution = {convolution!r} takes 3-D images; leave model.convolution "
            "out for 2-D"
        )
    if not MIN_WIDTH <= options.width <= MAX_WIDTH:
        raise ValueError(f"{name} needs a width of {MIN_WIDTH} to {MAX_WIDTH}, got {options.width}")
    if options.norm not in NORMS:
        raise ValueError(f"{name} has the norms {' and '.join(NORMS)}, got {options.norm!r}")


def _layers(options: _Options) -> _Layers:
    """Returns the layers for the chosen convolution and norm."""
    grouped = options.norm == "group"
    if options.convolution in SOLID:
        return _Layers(
            SOLID[options.convolution],
            group_norm if grouped else nn.BatchNorm3d,
            nn.MaxPool3d,
            nn.AdaptiveAvgPool3d,
        )
    return _Layers(
        flat_convolution,
        group_norm if grouped else nn.BatchNorm2d,
        nn.MaxPool2d,
        nn.AdaptiveAvgPool2d,
    )


def _stem(inputs: int, width: int, small: bool, layers: _Layers) -> list[nn.Module]:
    """Returns the first layers, for small images or for others."""
    if small:
        return [layers.convolution(inputs, width, 3, 1), layers.norm(width), nn.ReLU()]
    return [
        layers.convolution(inputs, width, 7, 2),
        layers.norm(width),
        nn.ReLU(),
        layers.max_pool(3, stride=2, padding=1),
    ]


def _stages(
    width: int, block: _Block, blocks: tuple[int, ...], expansion: int, layers: _Layers
) -> Iterator[nn.Module]:
    """Yields the blocks; from stage to stage channels double and sides are halved."""
    inputs = width
    for stage, count in enumerate(blocks):
        for place in range(count):
            stride = 2 if stage and not place else 1
            yield block(inputs, width * 2**stage, stride, layers)
            inputs = width * 2**stage * expansion


class _Residual(nn.Module):
    """Adds a body of convolutions to a shortcut.

    Args:
        body: the convolutions and their norms.
        inputs: channels.
        outputs: channels.
        stride: of the body.
        layers: to make the shortcut of, where shapes change.
    """

    def __init__(
        self, body: nn.Sequential, inputs: int, outputs: int, stride: int, layers: _Layers
    ) -> None:
        super().__init__()
        self.body = body
        self.short: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.short = nn.Sequential(
                layers.convolution(inputs, outputs, 1, stride), layers.norm(outputs)
            )
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Returns body plus shortcut, rectified."""
        total: Tensor = self.last(self.body(x) + self.short(x))
        return total


def _basic(inputs: int, width: int, stride: int, layers: _Layers) -> nn.Module:
    """Returns a block of two 3 x 3 convolutions."""
    body = nn.Sequential(
        layers.convolution(inputs, width, 3, stride),
        layers.norm(width),
        nn.ReLU(),
        layers.convolution(width, width, 3, 1),
        layers.norm(width),
    )
    return _Residual(body, inputs, width, stride, layers)


def _bottleneck(inputs: int, width: int, stride: int, layers: _Layers) -> nn.Module:
    """Returns a block of a 3 x 3 convolution between two of 1 x 1."""
    outputs = EXPANSION * width
    body = nn.Sequential(
        layers.convolution(inputs, width, 1, 1),
        layers.norm(width),
        nn.ReLU(),
        layers.convolution(width, width, 3, stride),
        layers.norm(width),
        nn.ReLU(),
        layers.convolution(width, outputs, 1, 1),
        layers.norm(outputs),
    )
    return _Residual(body, inputs, outputs, stride, layers)
