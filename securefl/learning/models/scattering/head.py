"""The model: a linear head on fixed scattering features of images."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from securefl.data.task import Task
from securefl.learning.models.parts import shortest_side
from securefl.learning.models.scattering.features import FixedFeatures, Recipe
from securefl.learning.models.scattering.prior import prior_of
from securefl.learning.models.scattering.transform import side_of_maps

POOLINGS = (1, 3, 7)
USUAL_SCALES = 2
MAX_SCALES = 4
MAX_ANGLES = 16


def scattering(
    task: Task,
    *,
    scales: int = USUAL_SCALES,
    angles: int = 8,
    pooling: int = 7,
    prior: Sequence[float] | None = None,
    generator: torch.Generator,
) -> nn.Sequential:
    """Returns a linear layer, started at zero, on fixed scattering features of images.

    Only the layer trains. Volumes are taken slice by slice.

    Args:
        task: gives the image's shape and the width of the layer.
        scales: octaves of the wavelets, 1 to 4.
        angles: of the wavelets, 1 to 16, over half a turn.
        pooling: side of the grid to which each map is averaged: 1, 3 or 7.
        prior: declared shares of the classes, a fixed offset in training that stands for the bias;
            None for a bias that trains.
        generator: not used, since the problem is convex and any start will do.

    Raises:
        ValueError: records are no images, a value is outside its range, or the image is too small.

    Source: Bruna & Mallat, TPAMI 2013; for training with noise, Tramer & Boneh, ICLR 2021.
    """
    shortest_side(task, "scattering")
    if not 1 <= scales <= MAX_SCALES:
        raise ValueError(f"scattering needs scales of 1 to {MAX_SCALES}, got {scales}")
    if not 1 <= angles <= MAX_ANGLES:
        raise ValueError(f"scattering needs angles of 1 to {MAX_ANGLES}, got {angles}")
    if pooling not in POOLINGS:
        raise ValueError(f"scattering needs pooling of 1, 3 or 7, got {pooling}")
    _check_side(min(task.image[-2:]), scales, pooling)
    recipe = Recipe(scales, angles, pooling)
    head = nn.Linear(recipe.width(task.image[0]), task.outputs, bias=prior is None)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    layers: OrderedDict[str, nn.Module] = OrderedDict(features=FixedFeatures(recipe), head=head)
    if prior is not None:
        layers["prior"] = prior_of(task, prior)
    return nn.Sequential(layers)


def grids_of(task: Task, *, scales: object = None) -> tuple[int, ...]:
    """Returns the poolings that images of a task have enough pixels for, ascending.

    Args:
        task: of the records.
        scales: as a scenario gives them; what `scattering` refuses counts as the default.
    """
    octaves = scales if isinstance(scales, int) and 1 <= scales <= MAX_SCALES else USUAL_SCALES
    places = side_of_maps(min(task.image[-2:], default=0), scales=octaves)
    return tuple(pooling for pooling in POOLINGS if pooling <= places)


def _check_side(side: int, scales: int, pooling: int) -> None:
    """Checks that maps have as many places as the grid."""
    places = side_of_maps(side, scales=scales)
    if places >= pooling:
        return
    fitting = [str(smaller) for smaller in POOLINGS if smaller <= places]
    way_out = f"set model.pooling to {' or '.join(fitting)}" if fitting else "use fewer scales"
    raise ValueError(
        f"scattering with pooling = {pooling} and scales = {scales} needs sides of "
        f"{pooling * 2**scales} pixels or more, got {side}; {way_out}"
    )
