"""How close reconstructions come: PSNR and SSIM of the best match, and a guessing baseline."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attacks.checks import check_finite

_SSIM_WINDOW_PIXELS = 11
_SSIM_DEVIATION_PIXELS = 1.5
_SSIM_K1 = 0.01
_SSIM_K2 = 0.03
_NUMBERS_AT_A_TIME = 4_000_000  # compared together, which bounds memory
_LEAST_RELATIVE_ERROR = 1e-12  # mean squared error over squared range: 120 dB


Bounds = tuple[float, float]  # the least and the largest value of a pixel


class Match(NamedTuple):
    """The closest reconstruction of each of n records; 0 dB and -1 if there is none."""

    psnr: Tensor  # (n,) float64, in dB
    which: Tensor  # (n,) int64, index of the reconstruction


def psnr(reconstructions: Tensor, truth: Tensor, *, bounds: Bounds) -> Tensor:
    """Returns the peak signal-to-noise ratio of each reconstruction, in dB.

    Args:
        reconstructions: (n, ...) floats. Values outside the bounds are moved to their edge, as a
            viewer would do.
        truth: (n, ...) floats of the same shape.
        bounds: the least and the largest value of a pixel.

    Returns:
        (n,) float64, 10 log10(range^2 / mean squared error), at most 120.

    Raises:
        ValueError: shapes that differ, no records, values that are not finite, or bounds in the
            wrong order.
    """
    _check_pair(reconstructions, truth, bounds)
    visible = reconstructions.double().clamp(*bounds)
    difference = (visible - truth.double()).flatten(1)
    error = difference.square().mean(dim=1)
    return _decibels(error, bounds)


def ssim(reconstructions: Tensor, truth: Tensor, *, bounds: Bounds) -> Tensor:
    """Returns the structural similarity of each reconstructed image.

    Args:
        reconstructions: (n, channels, height, width) floats, sides of 11 pixels or more.
        truth: the same shape.
        bounds: the least and the largest value of a pixel.

    Returns:
        (n,) float64, at most 1, the mean over channels and all windows inside the image.

    Raises:
        ValueError: as psnr, or no images of that size.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004: Gaussian window of 11 x 11 with
        deviation 1.5, K1 = 0.01, K2 = 0.03, variances over the window's weights (no n - 1).
    """
    _check_pair(reconstructions, truth, bounds)
    if reconstructions.dim() != 4 or min(reconstructions.shape[2:]) < _SSIM_WINDOW_PIXELS:
        raise ValueError(
            f"ssim needs images (n, channels, side, side) of sides >= {_SSIM_WINDOW_PIXELS}, "
            f"got {tuple(reconstructions.shape)}"
        )
    # Every channel is an image of its own: SSIM is defined for grey images.
    height, width = reconstructions.shape[2:]
    visible = reconstructions.clamp(*bounds).double()
    x = visible.reshape(-1, 1, height, width)
    y = truth.double().reshape(-1, 1, height, width)
    window = _gaussian_window()

    def mean(values: Tensor) -> Tensor:
        return functional.conv2d(values, window)

    span = bounds[1] - bounds[0]
    c1 = (_SSIM_K1 * span) ** 2
    c2 = (_SSIM_K2 * span) ** 2
    mean_x = mean(x)
    mean_y = mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    index = numerator / denominator
    return index.reshape(len(reconstructions), -1).mean(dim=1)


def _gaussian_window() -> Tensor:
    """Returns SSIM's window (1, 1, 11, 11) with sum 1."""
    centre = (_SSIM_WINDOW_PIXELS - 1) / 2
    offsets = torch.arange(_SSIM_WINDOW_PIXELS, dtype=torch.float64) - centre
    variance = _SSIM_DEVIATION_PIXELS**2
    bell = torch.exp(-offsets.square() / (2 * variance))
    square = torch.outer(bell, bell)
    return square[None, None] / bell.sum() ** 2


def best_match(reconstructions: Tensor, truth: Tensor, *, bounds: Bounds) -> Match:
    """Returns the closest reconstruction of each record; one may be closest to several.

    Args:
        reconstructions: (m, ...) floats, in any order, clamped to the bounds; m may be 0.
        truth: (n, ...) floats, records of the same shape.
        bounds: the least and the largest value of a pixel.

    Raises:
        ValueError: records of other shapes, no truth, values that are not finite, or bounds in the
            wrong order.
    """
    check_finite("truth", truth, (-1, *truth.shape[1:]))
    _check_bounds(bounds)
    if not len(reconstructions):
        no_decibels = torch.zeros(len(truth), dtype=torch.float64)
        no_index = torch.full((len(truth),), -1)
        return Match(no_decibels, no_index)
    check_finite("reconstructions", reconstructions, (-1, *truth.shape[1:]))
    candidates = reconstructions.double().clamp(*bounds).flatten(1)
    records = truth.double().flatten(1)
    # Each chunk of records is compared with all candidates, one record at least.
    size = max(1, _NUMBERS_AT_A_TIME // candidates.numel())
    errors = [_errors(chunk, candidates) for chunk in torch.split(records, size)]
    least, which = torch.cat(errors).min(dim=1)  # of (n, m)
    return Match(_decibels(least, bounds), which)


def _errors(records: Tensor, candidates: Tensor) -> Tensor:
    """Returns the mean squared error (n, m) between every record and every candidate."""
    differences = records[:, None] - candidates[None]
    return differences.square().mean(dim=2)


def guesses(own: Tensor) -> Tensor:
    """Returns the guesses of an attacker who saw no update: the mean record, and its mean.

    Args:
        own: (n, ...) floats, records of the attacker's own.

    Returns:
        (2, ...) of the dtype of `own`: the mean record, and a constant record of its mean value.
        Their best match is the baseline that an attack has to exceed.

    Raises:
        ValueError: no records, or values that are not finite.
    """
    check_finite("own", own, (-1, *own.shape[1:]))
    mean = own.double().mean(dim=0)
    grey = mean.mean().expand_as(mean)
    return torch.stack([mean, grey]).to(own.dtype)


def _decibels(error: Tensor, bounds: Bounds) -> Tensor:
    least, largest = bounds
    relative = error / (largest - least) ** 2
    return -10 * torch.log10(relative.clamp_min(_LEAST_RELATIVE_ERROR))


def _check_pair(reconstructions: Tensor, truth: Tensor, bounds: Bounds) -> None:
    check_finite("truth", truth, (-1, *truth.shape[1:]))
    check_finite("reconstructions", reconstructions, tuple(truth.shape))
    _check_bounds(bounds)


def _check_bounds(bounds: Bounds) -> None:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be in order, got {bounds}")
