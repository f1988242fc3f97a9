"""How near a reconstruction comes: PSNR and SSIM of the best match, beside guesses that have seen no update."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attacks.records import check_finite

_WINDOW, _DEVIATION = 11, 1.5  # pixels
_K1, _K2 = 0.01, 0.03
_NUMBERS = 4_000_000  # compared at a time
_LEAST = 1e-12  # mean squared error over squared range: 120 dB


Bounds = tuple[float, float]  # the least and the largest value of a pixel


class Match(NamedTuple):
    """For each of n records the reconstruction that comes nearest: psnr (n,) float64 in dB, which (n,) int64.

    Where there is no reconstruction they are 0 and -1.
    """

    psnr: Tensor
    which: Tensor


def psnr(found: Tensor, truth: Tensor, *, bounds: Bounds) -> Tensor:
    """Peak signal-to-noise ratio of each reconstruction, in dB.

    Args:
        found: (n, ...) floats; what lies outside the bounds is put at their edge, as whoever looks at it would.
        truth: (n, ...) floats of the same shape.
        bounds: the least and the largest value that a pixel can take.

    Returns:
        (n,) float64, 10 log10(range^2 / mean squared error), at most 120.

    Raises:
        ValueError: shapes that differ, no records, values that are not finite, or bounds in the wrong order.
    """
    _check_pair(found, truth, bounds)
    error = (found.double().clamp(*bounds) - truth.double()).flatten(1).square().mean(dim=1)
    return _decibels(error, bounds)


def ssim(found: Tensor, truth: Tensor, *, bounds: Bounds) -> Tensor:
    """Structural similarity of each reconstructed image.

    Args:
        found: (n, channels, height, width) floats, sides of 11 pixels or more.
        truth: the same shape.
        bounds: the least and the largest value that a pixel can take.

    Returns:
        (n,) float64, at most 1, the mean over channels and all windows that lie inside the image.

    Raises:
        ValueError: as psnr, or no images of that size.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004: Gaussian window of 11 x 11 and deviation 1.5, K1 = .01,
        K2 = .03, variances over the window's weights (no n - 1).
    """
    _check_pair(found, truth, bounds)
    if found.dim() != 4 or min(found.shape[2:]) < _WINDOW:
        raise ValueError(
            f"ssim needs images (n, channels, side, side) of sides >= {_WINDOW}, got {tuple(found.shape)}"
        )
    height, width = found.shape[2:]
    span = bounds[1] - bounds[0]
    x, y = (
        values.double().reshape(-1, 1, height, width) for values in (found.clamp(*bounds), truth)
    )
    at = torch.arange(_WINDOW, dtype=torch.float64) - (_WINDOW - 1) / 2
    bell = torch.exp(-at.square() / (2 * _DEVIATION**2))
    window = torch.outer(bell, bell)[None, None] / bell.sum() ** 2

    def mean(values: Tensor) -> Tensor:
        return functional.conv2d(values, window)

    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    index = numerator / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return index.reshape(len(found), -1).mean(dim=1)


def best_match(found: Tensor, truth: Tensor, *, bounds: Bounds) -> Match:
    """For each record the reconstruction that comes nearest to it; one may come nearest to several.

    Args:
        found: (m, ...) floats, in any order, clamped to the bounds; m may be 0.
        truth: (n, ...) floats, records of the same shape.
        bounds: the least and the largest value that a pixel can take.

    Raises:
        ValueError: records of other shapes, no truth, values that are not finite, or bounds in the wrong order.
    """
    check_finite("truth", truth, (-1, *truth.shape[1:]))
    _check_bounds(bounds)
    if not len(found):
        return Match(torch.zeros(len(truth), dtype=torch.float64), torch.full((len(truth),), -1))
    check_finite("found", found, (-1, *truth.shape[1:]))
    rows, known = found.double().clamp(*bounds).flatten(1), truth.double().flatten(1)
    chunks = torch.split(known, max(1, _NUMBERS // rows.numel()))
    errors = torch.cat(
        [(chunk[:, None] - rows[None]).square().mean(dim=2) for chunk in chunks]
    )  # (n, m)
    least, which = errors.min(dim=1)
    return Match(_decibels(least, bounds), which)


def guesses(known: Tensor) -> Tensor:
    """Reconstructions by who has seen no update: the mean record, and its mean as a constant.

    Args:
        known: (n, ...) floats, records of the attacker's own.

    Returns:
        (2, ...) of known's type; the best match of these is the baseline that an attack has to exceed.

    Raises:
        ValueError: no records, or values that are not finite.
    """
    check_finite("known", known, (-1, *known.shape[1:]))
    mean = known.double().mean(dim=0)
    return torch.stack([mean, mean.mean().expand_as(mean)]).to(known.dtype)


def _decibels(error: Tensor, bounds: Bounds) -> Tensor:
    return -10 * torch.log10((error / (bounds[1] - bounds[0]) ** 2).clamp_min(_LEAST))


def _check_pair(found: Tensor, truth: Tensor, bounds: Bounds) -> None:
    check_finite("truth", truth, (-1, *truth.shape[1:]))
    check_finite("found", found, tuple(truth.shape))
    _check_bounds(bounds)


def _check_bounds(bounds: Bounds) -> None:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be in order, got {bounds}")
