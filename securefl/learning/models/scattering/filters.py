"""The Morlet wavelets and the Gaussian of a 2-D scattering transform, on a torus of pixels.

A wavelet is a plane wave under a Gaussian envelope, minus as much of the envelope as makes its sum
zero. Scale j has envelope 0.8 x 2^j and frequency 3 pi / 4 / 2^j; the envelope is longer across the
wave, by L / 4 for L angles. All are functions on the frequencies of the discrete Fourier transform.

Source: Bruna & Mallat, TPAMI 2013, section 2; constants as in Kymatio (Andreux et al., JMLR 2020).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGMA = 0.8  # pixels, of the envelope at scale 0
FREQUENCY = 3 * math.pi / 4  # radians a pixel, of the wave at scale 0
TURNS = range(-2, 3)  # around the torus: beyond them an envelope is below rounding
# Kymatio divides by this number for pi. With pi itself each filter would differ by 3e-5.
ROUNDED_PI = 3.1415


@lru_cache(maxsize=64)
def wavelets(sides: tuple[int, int], scale: int, angles: int) -> Array:
    """Returns (angles, height, width), the wavelets of one scale, by frequency.

    Args:
        sides: height and width of the torus, in pixels.
        scale: j, >= 0.
        angles: L, >= 1, over half a turn.
    """
    return np.stack([_wavelet(sides, scale, angle, angles) for angle in range(angles)])


@lru_cache(maxsize=64)
def low_pass(side: int, scales: int) -> Array:
    """Returns (side,), the Gaussian of width 0.8 x 2^(J - 1) along one axis, by frequency.

    The Gaussian of the plane is the product of those of its axes.

    Args:
        side: of the torus along this axis, in pixels.
        scales: J, >= 1.
    """
    sigma = SIGMA * 2 ** (scales - 1)
    places = np.arange(side)
    values = np.zeros(side)
    for turn in TURNS:
        values += np.exp(-((places + turn * side) ** 2) / (2 * sigma**2))
    spectrum: Array = np.fft.fft(values).real
    spectrum /= math.sqrt(2 * ROUNDED_PI) * sigma
    return spectrum


def coarser(spectrum: Array, step: int, *, axes: int) -> Array:
    """Returns a filter for signals of every step-th sample: its lower frequencies.

    Args:
        spectrum: (..., n) or (..., height, width), by frequency.
        step: a power of 2 that divides the sides.
        axes: 1 or 2, how many of the last ones are frequencies.
    """
    for axis in range(-axes, 0):
        side = spectrum.shape[axis]
        # From -n / (2 step) up: of the two highest frequencies, which alias, one stays.
        low = np.arange(-(side // step // 2), (side // step + 1) // 2)
        spectrum = np.take(spectrum, np.fft.ifftshift(low), axis=axis, mode="wrap")
    return spectrum


def _wavelet(sides: tuple[int, int], scale: int, angle: int, angles: int) -> Array:
    """Returns (height, width), the wavelet of one scale and angle, by frequency."""
    theta = (int(angles / 2 - 1) - angle) * math.pi / angles
    wave = _envelope(sides, scale, theta, angles, frequency=FREQUENCY / 2**scale)
    still = _envelope(sides, scale, theta, angles, frequency=0.0)
    # Its sum is zero, so that it does not see the brightness of an image.
    wavelet = wave - wave.sum() / still.sum() * still
    spectrum: Array = np.fft.fft2(wavelet).real  # the imaginary part is rounding alone
    return spectrum


def _envelope(
    sides: tuple[int, int], scale: int, theta: float, angles: int, *, frequency: float
) -> NDArray[np.complex128]:
    """Returns a plane wave under an elliptic Gaussian, wound around the torus."""
    sigma, slant = SIGMA * 2**scale, 4.0 / angles
    total = np.zeros(sides, dtype=np.complex128)
    height, width = sides
    for down in TURNS:
        for right in TURNS:
            y = (np.arange(height) + down * height)[:, None]
            x = (np.arange(width) + right * width)[None, :]
            along = y * math.cos(theta) + x * math.sin(theta)
            across = x * math.cos(theta) - y * math.sin(theta)
            decay = (along**2 + (slant * across) ** 2) / (2 * sigma**2)
            total += np.exp(-decay + 1j * frequency * along)
    total *= slant / (2 * ROUNDED_PI * sigma**2)
    return total
