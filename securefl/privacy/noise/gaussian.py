"""Gaussian noise for DP releases, in float64 from a keystream."""

import math

import numpy as np
from numpy.typing import NDArray

from securefl.rng import Keystream

# Any even number above 2 resists the attack; Opacus' secure mode takes 4, too.
DRAWS_PER_NORMAL = 4


def hardened_normal(size: int, stream: Keystream) -> NDArray[np.float64]:
    """Returns (size,) standard normals, each the sum of four draws divided by 2.

    Guarantees:
        - Mean 0, variance 1: four unit variances over 2 squared.
        - The floating-point pattern of one draw no longer reveals the value below the noise.

    Source: Holohan and Braghin, ESORICS 2021, section 5.1, with n = 2.
    """
    total = np.zeros(size)
    for _ in range(DRAWS_PER_NORMAL):
        # A call for each draw: within one call, two coordinates share a radius and an angle.
        stream.add_normal(total)
    total /= math.sqrt(DRAWS_PER_NORMAL)
    return total
