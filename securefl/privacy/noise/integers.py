"""Gaussian noise for DP releases of integers, such as counts."""

import math

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream

# Far above any use; a count and its noise are then exact in float64, and fit 32 bits.
MAX_STD = 2.0**24


def noisy_counts(counts: NDArray[np.int64], *, std: float, stream: Keystream) -> NDArray[np.int64]:
    """Returns integers (n,) plus Gaussian noise, rounded to integers.

    Args:
        counts: (n,).
        std: of the noise before rounding: sensitivity times noise multiplier.
        stream: makes the noise.

    Raises:
        ValueError: std is not in (0, 2^24].

    Guarantees:
        - Rounding the noise equals rounding the noisy count, since the count is an integer. So
          the release costs at most what the Gaussian mechanism costs: rounding comes after it.
        - Only integers leave. The digits of a floating-point number cannot give a count away.
        - The result may be negative. Cutting it at 0 would shift every sum of many small counts.
    """
    if not (math.isfinite(std) and 0 < std <= MAX_STD):
        raise ValueError(f"the noise of counts must have a deviation in (0, 2^24], got {std}")
    noise = np.rint(std * hardened_normal(len(counts), stream))
    return counts + noise.astype(np.int64)
