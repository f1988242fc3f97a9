"""Fixed features of images: scattering maps, normalised by record, pooled, and of unit norm.

Nothing here is learned, and no record has an influence on the features of another one. So they cost
no privacy, and a linear head on them is all that noise has to be added to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.learning.models.scattering.transform import scattered, sizes_of_orders

# Of the variance within a group, for pixels from 0 to 1: fainter texture is not blown up.
EPSILON = 1e-5
SMALLEST_NORM = 1e-12  # of a row: an image of one grey has no features, and keeps none
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

        The slices of a volume, those along its first axis, are images of their own; their features
        are averaged.

        Args:
            images: (n, channels, height, width) or (n, channels, depth, height, width), pixels from
                -1 to 1.
        """
        if not len(images):
            return images.new_zeros(0, self.width(images.shape[1]))
        parts = torch.split(images, VOLUMES_AT_A_TIME)
        return torch.cat([self._rows(part) for part in parts])

    def _rows(self, images: Tensor) -> Tensor:
        if images.ndim == 5:
            depth = images.shape[2]
            slices = self._maps(images.transpose(1, 2).flatten(0, 1))
            maps = slices.view(-1, depth, *slices.shape[1:]).mean(dim=1)
        else:
            maps = self._maps(images)
        return functional.normalize(maps.flatten(1), dim=1, eps=SMALLEST_NORM)

    def _maps(self, images: Tensor) -> Tensor:
        """Returns (n, channels x maps, pooling, pooling), normalised and pooled."""
        channels = images.shape[1]
        pixels = (images + 1) / 2
        maps = scattered(pixels.flatten(0, 1), scales=self.scales, angles=self.angles)
        # Moduli shrink from order to order: each is a group, or the first would drown the others.
        orders = torch.split(maps, sizes_of_orders(scales=self.scales, angles=self.angles), dim=1)
        normal = [functional.layer_norm(order, order.shape[1:], eps=EPSILON) for order in orders]
        pooled = functional.adaptive_avg_pool2d(torch.cat(normal, dim=1), self.pooling)
        return pooled.reshape(-1, channels * maps.shape[1], self.pooling, self.pooling)


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
