"""Fixed features of images: scattering maps, normalised by record, pooled, and of unit norm.

Nothing here is learned, and no record has an influence on the features of another one. So they cost
no privacy, and a linear head on them is all that noise has to be added to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.learning.models.scattering.reference import usual_units
from securefl.learning.models.scattering.transform import scattered, sizes_of_orders

# Of the variance of a record, in units of usual coefficients: a record without any contrast has a
# smaller one.
EPSILON = 1e-5
SMALLEST_NORM = 1e-12  # of a row that is divided by its norm
VOLUMES_AT_A_TIME = 16


@dataclass(frozen=True)
class Recipe:
    """What is computed of every image.

    Args:
        scales: J, octaves of the wavelets.
        angles: L, over half a turn.
        pooling: side of the grid to which each map is averaged.
    """

    scales: int
    angles: int
    pooling: int

    def width(self, channels: int) -> int:
        """Returns the number of features of an image with so many colour channels."""
        maps = sizes_of_orders(scales=self.scales, angles=self.angles)
        return channels * sum(maps) * self.pooling**2

    def rows(self, images: Tensor) -> Tensor:
        """Returns (n, width) features of unit norm.

        The maps of a volume are the averages over its slices, those along its first axis. Maps are
        taken in their usual units, and normalised all together, record by record.

        Args:
            images: (n, channels, height, width) or (n, channels, depth, height, width), pixels from
                -1 to 1.

        Source: group norm of scattering features, Tramer & Boneh, ICLR 2021, here with one group.
        """
        if not len(images):
            return images.new_zeros(0, self.width(images.shape[1]))
        parts = torch.split(images, VOLUMES_AT_A_TIME)
        return torch.cat([self._rows(part) for part in parts])

    def _rows(self, images: Tensor) -> Tensor:
        maps = self._maps(images)
        units = usual_units(scales=self.scales, angles=self.angles)
        mean, deviation = (torch.from_numpy(values).to(maps) for values in units)
        usual = (maps - mean) / deviation
        normal = functional.layer_norm(usual, usual.shape[1:], eps=EPSILON)
        pooled = functional.adaptive_avg_pool2d(normal.flatten(1, 2), self.pooling)
        return functional.normalize(pooled.flatten(1), dim=1, eps=SMALLEST_NORM)

    def _maps(self, images: Tensor) -> Tensor:
        """Returns (n, channels, maps, height, width), averaged over the slices of volumes."""
        n, *between = images.shape[:-2]
        pixels = (images.flatten(0, -3) + 1) / 2
        maps = scattered(pixels, scales=self.scales, angles=self.angles)
        every = maps.view(n, *between, *maps.shape[1:])
        return every.mean(dim=2) if images.ndim == 5 else every


class FixedFeatures(nn.Module):
    """The first part of a model: images become rows of features, and rows stay as they are.

    Training computes the rows of its records once and passes those.

    Args:
        recipe: what is computed.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, records: Tensor) -> Tensor:
        """Returns (n, width) features of images, or the rows that were given."""
        return records if records.ndim == 2 else self.recipe.rows(records)

    def extra_repr(self) -> str:
        """Returns the recipe in words, for whoever prints the model."""
        recipe = self.recipe
        return f"scales={recipe.scales}, angles={recipe.angles}, pooling={recipe.pooling}"


def features_of(model: nn.Module) -> FixedFeatures | None:
    """Returns the fixed features that a model begins with; None where it begins in another way."""
    first = next(iter(model.children()), None)
    return first if isinstance(first, FixedFeatures) else None
