"""AlexNet and VGG-16: convolutions one after the other, and three linear layers.

The papers have no norms. Here a group norm follows each convolution, as batch norm does in later
forms of both.
"""

from collections.abc import Iterator

import torch
from torch import nn

from securefl.data.task import Task
from securefl.learning.models.enlarging import enlarging, sequence
from securefl.learning.models.parts import channels_last, group_norm, started

USUAL_WIDTH = 64
MIN_WIDTH, MAX_WIDTH = 1, 128  # of the first convolution
HIDDEN = 64  # neurons of a hidden layer, over the width
MAX_DROPOUT = 0.9
# Of VGG-16: convolutions of a stage, and their channels over the width.
STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
# Of AlexNet after its first convolution: channels over the width, kernel, pooling behind it.
LATER = ((3, 5, True), (6, 3, False), (4, 3, False), (4, 3, True))
VGG_SIDE, ALEX_SIDE = 7, 6  # pixels of the last feature map's sides, whatever the image's


def vgg16(
    task: Task,
    *,
    width: int = USUAL_WIDTH,
    dropout: float = 0.5,
    enlarge: int | None = None,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns VGG-16 with group norm, for 2-D images; small ones are enlarged.

    Args:
        task: gives the image's shape and the width of the last layer.
        width: channels of the first convolution, 1 to 128; a hidden layer has 64 times as many.
        dropout: share of the hidden neurons that are left out, 0 to 0.9.
        enlarge: how many times; by default the smallest number that reaches 64 pixels.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images, or a parameter is outside its range.

    Source: Simonyan and Zisserman, ICLR 2015, table 1, column D.
    """
    factor = enlarging(task, "vgg16", enlarge)
    _check("vgg16", width, dropout)

    def layers() -> Iterator[nn.Module]:
        inputs = task.image[0]
        for count, times in STAGES:
            for _ in range(count):
                yield from _block(inputs, times * width, 3, 1)
                inputs = times * width
            yield nn.MaxPool2d(2)
        yield nn.AdaptiveAvgPool2d(VGG_SIDE)
        yield nn.Flatten()
        for features in (inputs * VGG_SIDE**2, HIDDEN * width):
            yield from (nn.Linear(features, HIDDEN * width), nn.ReLU(), nn.Dropout(dropout))
        yield nn.Linear(HIDDEN * width, task.outputs)

    model = started(lambda: sequence(layers(), factor=factor), generator)
    return channels_last(model, solid=False)


def alexnet(
    task: Task,
    *,
    width: int = USUAL_WIDTH,
    dropout: float = 0.5,
    enlarge: int | None = None,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns AlexNet with group norm, for 2-D images; small ones are enlarged.

    Args:
        task: gives the image's shape and the width of the last layer.
        width: channels of the first convolution, 1 to 128; a hidden layer has 64 times as many.
        dropout: share of the hidden neurons that are left out, 0 to 0.9.
        enlarge: how many times; by default the smallest number that reaches 64 pixels.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images, or a parameter is outside its range.

    Source: Krizhevsky, arXiv 1404.5997, section 5: the form for one processor, without groups of
    channels.
    """
    factor = enlarging(task, "alexnet", enlarge)
    _check("alexnet", width, dropout)

    def layers() -> Iterator[nn.Module]:
        yield from _block(task.image[0], width, 11, 4)
        yield nn.MaxPool2d(3, 2)
        inputs = width
        for times, kernel, pooled in LATER:
            yield from _block(inputs, times * width, kernel, 1)
            inputs = times * width
            if pooled:
                yield nn.MaxPool2d(3, 2)
        yield nn.AdaptiveAvgPool2d(ALEX_SIDE)
        yield nn.Flatten()
        for features in (inputs * ALEX_SIDE**2, HIDDEN * width):
            yield from (nn.Dropout(dropout), nn.Linear(features, HIDDEN * width), nn.ReLU())
        yield nn.Linear(HIDDEN * width, task.outputs)

    model = started(lambda: sequence(layers(), factor=factor), generator)
    return channels_last(model, solid=False)


def _check(name: str, width: int, dropout: float) -> None:
    """Refuses hyper-parameters outside their ranges."""
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise ValueError(f"{name} needs a width of {MIN_WIDTH} to {MAX_WIDTH}, got {width}")
    if not 0 <= dropout <= MAX_DROPOUT:
        raise ValueError(f"{name} needs a dropout of 0 to {MAX_DROPOUT}, got {dropout}")


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """Returns a convolution with its norm."""
    # AlexNet's 11 x 11 kernel looks two pixels beyond the image, at every fourth pixel.
    padding = kernel // 2 if stride == 1 else 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    return [convolution, group_norm(outputs), nn.ReLU()]
