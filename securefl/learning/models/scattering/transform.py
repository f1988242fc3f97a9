"""The scattering transform of images: averages of moduli of wavelet coefficients, up to order two.

maps = scattered(images, scales=2, angles=8)  # (n, 81, 7, 7) of (n, 28, 28)
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from securefl.learning.models.scattering.filters import Array, coarser, low_pass, wavelets

IMAGES_AT_A_TIME = 16  # their coefficients then fit into the cache of a processor


def sizes_of_orders(*, scales: int, angles: int) -> list[int]:
    """Returns the number of maps of the orders 0, 1 and 2; an order without any is left out."""
    sizes = [1, scales * angles, scales * (scales - 1) // 2 * angles**2]
    return [size for size in sizes if size]


def side_of_maps(side: int, *, scales: int) -> int:
    """Returns the places of a map along an axis; 0 where the axis has too few pixels to mirror."""
    return 0 if side <= 2**scales else _padded(side, 2**scales) // 2**scales - 2


def scattered(images: Tensor, *, scales: int, angles: int) -> Tensor:
    """Returns (n, channels, height / 2^J, width / 2^J), the scattering coefficients of images.

    Each image is mirrored at its borders. Coefficients come in order: the average of the image;
    averages of |wavelet j, theta|, by j, then theta; averages of | |wavelet j1, theta1| wavelet
    j2, theta2| with j2 > j1, by j1, theta1, j2, theta2.

    Guarantees:
        - The coefficients of an image do not depend on the other images.

    Args:
        images: (n, height, width), float32 or float64; sides of 2^J pixels or more.
        scales: J, >= 1.
        angles: L, >= 1.

    Source: Bruna & Mallat, TPAMI 2013, section 2.
    """
    parts = torch.split(images, IMAGES_AT_A_TIME)
    return torch.cat([_scattered(part, scales, angles) for part in parts])


def _scattered(images: Tensor, scales: int, angles: int) -> Tensor:
    """The coefficients of a few images."""
    padded = _mirrored(images, 2**scales)
    maps = [_averaged(padded, scales, 0)[:, None]]
    second_order = []
    spectrum = torch.fft.fft2(padded)[:, None, None]  # (n, 1, 1, height, width)
    for first in range(scales):
        moduli = _moduli(spectrum, scales=(0, first), angles=angles)[:, 0]
        maps.append(_averaged(moduli, scales, first))
        if first + 1 == scales:
            break
        coarse = torch.fft.fft2(moduli)[:, :, None]  # (n, L, 1, ...)
        averages = [
            _averaged(_moduli(coarse, scales=(first, second), angles=angles), scales, second)
            for second in range(first + 1, scales)
        ]
        second_order.append(torch.cat(averages, dim=2).flatten(1, 2))
    return torch.cat([*maps, *second_order], dim=1)


def _moduli(spectrum: Tensor, *, scales: tuple[int, int], angles: int) -> Tensor:
    """Returns (n, m, L, ...), the moduli of the wavelets of a scale on every sample that it needs.

    Args:
        spectrum: (n, m, 1, height, width), of signals that hold every 2^before-th sample.
        scales: before, and the scale of the wavelets.
        angles: L.
    """
    before, scale = scales
    height, width = spectrum.shape[-2:]
    sides = (height * 2**before, width * 2**before)
    step = 2 ** (scale - before)
    filters = torch.from_numpy(_wavelets(sides, scale, angles, before)).to(spectrum.real) / step**2
    low, right = height // step, width // step
    # Taking every step-th sample adds the frequencies up that differ by a multiple of n / step.
    blocks = [
        (..., slice(row * low, (row + 1) * low), slice(column * right, (column + 1) * right))
        for row in range(step)
        for column in range(step)
    ]
    folded = spectrum[blocks[0]] * filters[blocks[0]]
    for block in blocks[1:]:
        folded += spectrum[block] * filters[block]
    moduli: Tensor = torch.fft.ifft2(folded).abs()
    return moduli


def _averaged(signals: Tensor, scales: int, before: int) -> Tensor:
    """Returns signals (..., height, width) under the Gaussian, on every 2^J-th sample.

    Args:
        signals: hold every 2^before-th sample of an image that was mirrored.
        scales: J.
        before: log2 of the step between samples.
    """
    height, width = signals.shape[-2:]
    rows = torch.from_numpy(_averages(height, scales, before)).to(signals)
    columns = torch.from_numpy(_averages(width, scales, before)).to(signals)
    return rows @ signals @ columns.T


def _mirrored(images: Tensor, border: int) -> Tensor:
    """Returns images with a mirrored border, and sides that are multiples of the border."""
    sizes = []
    for side in images.shape[:0:-1]:  # the last axis comes first
        length = _padded(side, border)
        before = (length - side) // 2
        sizes += [before, length - side - before]
    return functional.pad(images[:, None], sizes, mode="reflect")[:, 0]


def _padded(side: int, border: int) -> int:
    """Returns the side after padding: a multiple of the border, longer by one or two of them."""
    return ((side + border) // border + 1) * border


@lru_cache(maxsize=64)
def _wavelets(sides: tuple[int, int], scale: int, angles: int, before: int) -> Array:
    """The wavelets (L, height, width) of a scale, for every 2^before-th sample."""
    return coarser(wavelets(sides, scale, angles), 2**before, axes=2)


@lru_cache(maxsize=64)
def _averages(side: int, scales: int, before: int) -> Array:
    """The matrix (outputs, side) that averages along an axis; the outputs of borders are left out.

    Args:
        side: samples along the axis, every 2^before-th.
        scales: J.
        before: log2 of the step between samples.
    """
    step = 2 ** (scales - before)
    spectrum = coarser(low_pass(side * 2**before, scales), 2**before, axes=1)
    samples = np.fft.ifft(np.fft.fft(np.eye(side), axis=0) * spectrum[:, None], axis=0).real
    return samples[::step][1:-1].copy()
