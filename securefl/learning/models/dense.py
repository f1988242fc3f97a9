"""DenseNet-121: every layer sees the feature maps of all layers before it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.models.enlarging import enlarging, sequence
from securefl.learning.models.parts import channels_last, group_norm, started

USUAL_GROWTH = 32
MIN_GROWTH, MAX_GROWTH = 2, 64
BLOCKS = (6, 12, 24, 16)  # layers of a block
BOTTLENECK = 4  # channels between the two convolutions of a layer, over the growth


def densenet121(
    task: Task,
    *,
    width: int = USUAL_GROWTH,
    enlarge: int | None = None,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns DenseNet-121 with group norm, for 2-D images; small ones are enlarged.

    Args:
        task: gives the image's shape and the width of the last layer.
        width: channels that each layer adds, 2 to 64: the paper's growth rate.
        enlarge: how many times; by default the smallest number that reaches 64 pixels.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images, or a parameter is outside its range.

    Source: Huang et al., CVPR 2017, table 1 and section 3 (bottlenecks, compression 0.5).
    """
    factor = enlarging(task, "densenet121", enlarge)
    if not MIN_GROWTH <= width <= MAX_GROWTH:
        raise ValueError(f"densenet121 needs a width of {MIN_GROWTH} to {MAX_GROWTH}, got {width}")

    def layers() -> Iterator[nn.Module]:
        channels = 2 * width
        yield nn.Conv2d(task.image[0], channels, 7, stride=2, padding=3, bias=False)
        yield from (group_norm(channels), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
        for block, count in enumerate(BLOCKS):
            if block:
                yield from _transition(channels)
                channels //= 2
            for _ in range(count):
                yield _DenseLayer(channels, width)
                channels += width
        yield from (group_norm(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        yield nn.Linear(channels, task.outputs)

    model = started(lambda: sequence(layers(), factor=factor), generator)
    return channels_last(model, solid=False)


def _transition(channels: int) -> list[nn.Module]:
    """Returns layers that halve the channels and the sides."""
    return [
        group_norm(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels // 2, 1, bias=False),
        nn.AvgPool2d(2),
    ]


class _DenseLayer(nn.Module):
    """Adds new channels to those that come in.

    Args:
        inputs: channels that come in.
        growth: channels that are added.
    """

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        between = BOTTLENECK * growth
        self.body = nn.Sequential(
            group_norm(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, between, 1, bias=False),
            group_norm(between),
            nn.ReLU(),
            nn.Conv2d(between, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the channels that came in, then the new ones."""
        return torch.cat([x, self.body(x)], dim=1)
