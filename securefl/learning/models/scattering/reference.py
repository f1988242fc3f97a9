"""The usual size of scattering coefficients, measured on images that a formula made.

Coefficients shrink from order to order, by a factor of twenty each. To stand on one footing they
are taken in units of what noise has whose amplitude falls with frequency, as that of photographs
does. No record of anybody is used, so that these units are public constants.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.learning.models.scattering.transform import scattered
from securefl.rng import Keystream, seeded_keystream

Array = NDArray[np.float64]

IMAGES = 128
SIDE = 32  # pixels
STEEPEST, FLATTEST = -1.6, -0.8  # of the amplitude's power of frequency
MEAN, DEVIATION = 0.4, 0.18  # of the pixels of each image, before they are cut off at 0 and 1

# Source: amplitudes of photographs fall about as 1 / frequency, Field, JOSA A 1987.


class Units(NamedTuple):
    """The usual mean and deviation of each map, (channels, 1, 1)."""

    mean: Array
    deviation: Array


@lru_cache(maxsize=8)
def usual_units(*, scales: int, angles: int) -> Units:
    """Returns the units of all maps of the transform with J scales and L angles.

    Maps that turned images exchange have the same units: those of order 1 with one scale, and those
    of order 2 with two scales and one angle between their wavelets.
    """
    # In a thread of its own: the caller may be within a transform of torch, as `vmap` is one, whose
    # tensors must not be kept.
    with ThreadPoolExecutor(max_workers=1) as apart:
        return apart.submit(_measured, scales, angles).result()


def _measured(scales: int, angles: int) -> Units:
    maps = scattered(torch.from_numpy(images()), scales=scales, angles=angles).numpy()
    mean, deviation = np.zeros((2, maps.shape[1], 1, 1))
    kinds = kinds_of(scales=scales, angles=angles)
    for kind in dict.fromkeys(kinds):
        places = [place for place, other in enumerate(kinds) if other == kind]
        mean[places] = maps[:, places].mean()
        deviation[places] = maps[:, places].std()
    return Units(mean, deviation)


def kinds_of(*, scales: int, angles: int) -> list[tuple[int, ...]]:
    """Returns the kind of every map: (), (j,) or (j1, j2, steps between the two angles)."""
    kinds: list[tuple[int, ...]] = [()]
    kinds += [(scale,) for scale in range(scales) for _ in range(angles)]
    for first in range(scales):
        for one in range(angles):
            for second in range(first + 1, scales):
                for other in range(angles):
                    apart = abs(one - other)
                    kinds.append((first, second, min(apart, angles - apart)))
    return kinds


def images() -> Array:
    """Returns (n, side, side), the images that the units are measured on."""
    stream = seeded_keystream(0, "reference images")
    return np.stack([_image(stream) for _ in range(IMAGES)])


def _image(stream: Keystream) -> Array:
    power = STEEPEST + (FLATTEST - STEEPEST) * stream.uniform(1)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    frequency[0, 0] = 1 / SIDE
    white = stream.normal(SIDE * SIDE).reshape(SIDE, SIDE)
    noise = np.fft.ifft2(np.fft.fft2(white) * frequency**power).real
    normal = (noise - noise.mean()) / noise.std()
    pixels: Array = np.clip(MEAN + DEVIATION * normal, 0, 1)
    return pixels
