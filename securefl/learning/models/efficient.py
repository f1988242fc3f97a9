"""EfficientNet-B4: convolutions of single channels, with weights for channels."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.models.enlarging import enlarging, sequence
from securefl.learning.models.parts import channels_last, group_norm, started

USUAL_WIDTH = 48  # channels of the stem
MIN_WIDTH, MAX_WIDTH = 4, 96
# A stage of B4: expansion, channels, blocks, stride of the first block, kernel.
STAGES = (
    (1, 24, 2, 1, 3),
    (6, 32, 4, 2, 3),
    (6, 56, 4, 2, 5),
    (6, 112, 6, 2, 3),
    (6, 160, 6, 1, 5),
    (6, 272, 8, 2, 5),
    (6, 448, 2, 1, 3),
)
LAST = 1792  # channels before the mean over the image
MULTIPLE = 8  # of which all channels are
SQUEEZE = 4  # channels that come into a block, over those that weights are computed from
MAX_DROPOUT = 0.9


def efficientnet_b4(
    task: Task,
    *,
    width: int = USUAL_WIDTH,
    dropout: float = 0.4,
    enlarge: int | None = None,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns EfficientNet-B4 with group norm, for 2-D images; small ones are enlarged.

    Args:
        task: gives the image's shape and the width of the last layer.
        width: channels of the stem, 4 to 96; the others keep their proportion to it.
        dropout: share of the last features that are left out, 0 to 0.9. Half of it is the share of
            records that skip the body of the last block.
        enlarge: how many times; by default the smallest number that reaches 64 pixels.
        generator: draws the initial weights.

    Raises:
        ValueError: records are no 2-D images, or a parameter is outside its range.

    Source: Tan and Le, ICML 2019, table 1, width 1.4, depth 1.8 and dropout 0.4 for B4; stochastic
    depth, Huang et al., ECCV 2016.
    """
    factor = enlarging(task, "efficientnet_b4", enlarge)
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise ValueError(
            f"efficientnet_b4 needs a width of {MIN_WIDTH} to {MAX_WIDTH}, got {width}"
        )
    if not 0 <= dropout <= MAX_DROPOUT:
        raise ValueError(f"efficientnet_b4 needs a dropout of 0 to {MAX_DROPOUT}, got {dropout}")

    def layers() -> Iterator[nn.Module]:
        yield from _convolution(task.image[0], width, 3, 2)
        yield from _blocks(width, dropout / 2)
        last = _scaled(LAST, width)
        yield from _convolution(_scaled(STAGES[-1][1], width), last, 1, 1)
        yield from (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        yield nn.Linear(last, task.outputs)

    model = started(lambda: sequence(layers(), factor=factor), generator)
    return channels_last(model, solid=False)


def _scaled(channels: int, width: int) -> int:
    """Returns channels in proportion to the width, rounded to a multiple of eight."""
    return max(MULTIPLE, MULTIPLE * round(channels * width / USUAL_WIDTH / MULTIPLE))


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, *, groups: int = 1
) -> list[nn.Module]:
    """Returns a convolution with its norm and SiLU."""
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [convolution, group_norm(outputs), nn.SiLU()]


def _blocks(width: int, most_skipped: float) -> Iterator[nn.Module]:
    """Yields the blocks of all stages; the share of records that skip a body rises."""
    total = sum(count for _, _, count, _, _ in STAGES)
    inputs, place = width, 0
    for expansion, channels, count, first_stride, kernel in STAGES:
        outputs = _scaled(channels, width)
        for repetition in range(count):
            stride = 1 if repetition else first_stride
            skipped = most_skipped * place / total
            yield _Block(inputs, outputs, expansion, kernel, stride, skipped)
            inputs = outputs
            place += 1


class _Block(nn.Module):
    """Widens the channels, convolves each by itself, weighs them, and narrows them again.

    Args:
        inputs: channels.
        outputs: channels.
        expansion: how many times wider it is inside.
        kernel: side of the kernels.
        stride: of the convolution of single channels.
        skipped: share of records that skip the body, where a shortcut exists.
    """

    def __init__(
        self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, skipped: float
    ) -> None:
        super().__init__()
        inside = expansion * inputs
        widened = _convolution(inputs, inside, 1, 1) if expansion > 1 else []
        self.body = nn.Sequential(
            *widened,
            *_convolution(inside, inside, kernel, stride, groups=inside),
            _Weighed(inside, max(1, inputs // SQUEEZE)),
            nn.Conv2d(inside, outputs, 1, bias=False),
            group_norm(outputs),
        )
        self.short = stride == 1 and inputs == outputs
        self.skip = nn.Dropout(skipped)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the body, on top of what came in where shapes allow it."""
        inside: Tensor = self.body(x)
        if not self.short:
            return inside
        # Dropout of one number a record leaves out the whole body of some records.
        kept: Tensor = self.skip(inside.new_ones(len(x), 1, 1, 1))
        return x + inside * kept


class _Weighed(nn.Module):
    """Multiplies each channel with a weight that the means of all channels give."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the weighed channels."""
        weighed: Tensor = x * self.weigh(x)
        return weighed
