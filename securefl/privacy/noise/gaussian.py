"""Gaussian noise for DP releases, in float64 from a keystream."""

import math

import numpy as np
from numpy.typing import NDArray

from securefl.rng import Keystream

_DRAWS = 4  # any even number > 2 resists; 4 is what Opacus' secure mode takes


def hardened_normal(size: int, stream: Keystream) -> NDArray[np.float64]:
    """(size,) standard normals, each the sum of four draws divided by 2.

    Guarantees:
        - Mean 0, variance 1: four unit variances over 2 squared.
        - The floating-point pattern of one draw no longer tells the value below the noise.

    Source: Holohan and Braghin, ESORICS 2021, section 5.1, with n = 2.
    """
    total = np.zeros(size)
    for _ in range(
        _DRAWS
    ):  # one call each: within a call two coordinates share a radius and an angle
        total += stream.normal(size)
    return total / math.sqrt(_DRAWS)
