"""Simulated scanners: the same images as they would look from another machine.

Experiments need sites whose images differ for no other reason than the scanner:

    unlike = scanned(site.train, Scanner(gain=0.6, gamma=1.6))
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.data.coins import below, record_numbers
from securefl.data.task import Examples, FederatedData, Site, concatenate
from securefl.errors import ScenarioError
from securefl.rng import seeded_keystream

MAX_BYTE = 255
BLOCK_VALUES = 2**19  # of images that are blurred at once, in eight bytes each


@dataclass(frozen=True)
class Scanner:
    """What a simulated scanner does to an image whose pixels are bytes.

    A pixel x of 0 to 1 becomes gain * x ** gamma, cut to 0 to 1 and rounded to a byte.

    Args:
        gain: above 1 it is brighter, and the brightest parts saturate.
        gamma: above 1 it is darker between black and white.
        blur: standard deviation of a Gaussian blur in pixels, before gain and gamma; 0 for none.
    """

    gain: float = 1.0
    gamma: float = 1.0
    blur: float = 0.0


def scanned(examples: Examples, scanner: Scanner) -> Examples:
    """Returns the same records from a simulated scanner, each image mapped by itself.

    Raises:
        ScenarioError: the pixels are no bytes, so that nobody knows what is black and white.
    """
    images = examples.features
    if images.dtype != torch.uint8:
        raise ScenarioError(
            "simulate.scanners needs images whose pixels are bytes, 0 to 255; remove it"
        )
    return Examples(_mapped(images, scanner), examples.labels)


def with_scanners(
    data: FederatedData, scanners: Mapping[int, Scanner], *, seed: int
) -> FederatedData:
    """Returns the same sites, some of them with a scanner of their own.

    Test records that belong to no site are dealt to all sites, and each is scanned where it
    belongs. The site of a record follows from its content and the seed.

    Args:
        data: of sites with images.
        scanners: index of a site -> its scanner; the images of all others stay as they are.
        seed: of the split.
    """
    tests = [site.test for site in data.sites]
    if None in tests:
        numbers = record_numbers(data.test, seeded_keystream(seed, "scanners"))
        owners = below(numbers[:, 0], len(tests))
        tests = [_part(data.test, owners == index) for index in range(len(tests))]
    sites = []
    for index, (site, test) in enumerate(zip(data.sites, tests, strict=True)):
        scanner = scanners.get(index)
        if scanner is None or test is None:
            sites.append(Site(site.name, site.train, test))
        else:
            sites.append(Site(site.name, scanned(site.train, scanner), scanned(test, scanner)))
    own = [site.test for site in sites if site.test is not None]
    return FederatedData(data.task, tuple(sites), concatenate(own))


def _part(examples: Examples, chosen: Tensor) -> Examples:
    return Examples(examples.features[chosen], examples.labels[chosen])


def _mapped(images: Tensor, scanner: Scanner) -> Tensor:
    pixels = images.numpy()
    if not scanner.blur:
        return torch.from_numpy(_curve(np.arange(MAX_BYTE + 1), scanner)[pixels])
    result = np.empty(pixels.shape, dtype=np.uint8)
    step = max(1, BLOCK_VALUES // max(1, pixels[:1].size))
    for start in range(0, len(pixels), step):
        block = pixels[start : start + step].astype(np.float64)
        result[start : start + step] = _curve(_blurred(block, scanner.blur), scanner)
    return torch.from_numpy(result)


def _blurred(pixels: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
    """Returns (n, channels, side, ...) images after a Gaussian blur of their sides."""
    from scipy.ndimage import gaussian_filter  # SciPy takes long to import

    sides = tuple(range(2, pixels.ndim))
    blurred: NDArray[np.float64] = gaussian_filter(pixels, blur, axes=sides, mode="nearest")
    return blurred


def _curve(levels: NDArray[np.generic], scanner: Scanner) -> NDArray[np.uint8]:
    """Returns what levels of 0 to 255 become."""
    shares = np.asarray(levels, dtype=np.float64) / MAX_BYTE
    bright = (scanner.gain * shares**scanner.gamma).clip(0, 1)
    rounded: NDArray[np.uint8] = np.rint(bright * MAX_BYTE).astype(np.uint8)
    return rounded
