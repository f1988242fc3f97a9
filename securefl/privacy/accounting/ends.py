"""Upper ends of epsilon, and the releases that they are ends of."""

from typing import NamedTuple

from securefl.privacy.events import DiscreteGaussianSum, SampledGaussian

# Sorted events of one step each, and how often each was released.
Segments = tuple[tuple[SampledGaussian, int], ...]
Sums = tuple[tuple[DiscreteGaussianSum, int], ...]

# Width of a cell of the loss in the first grid; each further grid is four times finer.
COARSE = 1e-2


class Upper(NamedTuple):
    """An epsilon that is never below the true one, and the width of the grid that gave it."""

    epsilon: float
    interval: float


class History(NamedTuple):
    """Releases by kind, since each kind has an accountant of its own.

    Attributes:
        gaussians: releases of sampled Gaussian sums.
        sums: releases of sums that carry shares of discrete Gaussian noise.
    """

    gaussians: Segments
    sums: Sums
