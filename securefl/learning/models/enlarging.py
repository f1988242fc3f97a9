"""Images that are enlarged first, for networks that begin too coarsely for small ones."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from torch import nn

from securefl.data.task import Task
from securefl.learning.models.parts import is_solid, shortest_side

# Five halvings leave two pixels; networks made for 224 pixels have nothing to look at below that.
MIN_SIDE = 64
MAX_ENLARGING = 16
NAME = "enlarge"  # of the layer


def enlarging(task: Task, name: str, enlarge: int | None) -> int:
    """Returns the factor by which a network enlarges images, 1 where it takes them as they are.

    Args:
        task: gives the image's shape.
        name: of the network, for refusals.
        enlarge: the factor that is asked for; None takes the smallest one that reaches 64 pixels.

    Raises:
        ValueError: records are no 2-D images, or the factor leaves them too small or is none.
    """
    side = shortest_side(task, name)
    if is_solid(task):
        raise ValueError(
            f"{name} takes 2-D images; for 3-D use resnet18 or resnet50 with model.convolution"
        )
    least = -(-MIN_SIDE // side)
    if enlarge is None:
        return least
    if not 1 <= enlarge <= MAX_ENLARGING:
        raise ValueError(f"{name} enlarges images 1 to {MAX_ENLARGING} times, got {enlarge}")
    if enlarge < least:
        raise ValueError(
            f"{name} needs sides of {MIN_SIDE} pixels: set model.enlarge to {least} or more for "
            f"{side} pixels, got {enlarge}"
        )
    return enlarge


def sequence(parts: Iterable[nn.Module], *, factor: int) -> nn.Sequential:
    """Returns the layers of a network, after one that repeats each pixel.

    Weights have the same names with and without enlarging.

    Source: nearest pixels, as MedMNIST's experiments at 224 pixels (Yang et al., Scientific Data
    2023).
    """
    named = OrderedDict((str(place), part) for place, part in enumerate(parts))
    if factor == 1:
        return nn.Sequential(named)
    first = nn.Upsample(scale_factor=factor, mode="nearest")
    return nn.Sequential(OrderedDict([(NAME, first), *named.items()]))


def factor_of(model: nn.Module) -> int:
    """Returns the factor by which a network enlarges images first; 1 where it does not."""
    first = getattr(model, NAME, None)
    if not isinstance(first, nn.Upsample):
        return 1
    factor: Any = first.scale_factor
    return int(factor)
