"""Record-local steps for images: each image is mapped by itself, by declared constants.

Stored units are those of the records: 0 to 255 where pixels are bytes, else the numbers as they
are. What a step returns for an image depends on no other image, to the bit. Values are finite:
every source refuses another one, and sets it to 0 under a claim.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.data.own.clean import MAX_MAGNITUDE

# Images are mapped so many values at a time: intermediate results take eight bytes a value.
BLOCK_VALUES = 2**19
MAX_BYTE = 255
Rows = NDArray[Any]


def window(features: Tensor, *, low: float, high: float) -> Tensor:
    """Cuts intensities to a fixed window, and stretches the window to the full range.

    Bytes stay bytes, 0 to 255, rounded to the nearest. Other images become float32 in [-1, 1].

    Args:
        features: (n, channels, side, ...) images.
        low: becomes the lowest value, in stored units.
        high: becomes the highest value; above `low`.
    """
    if features.dtype == torch.uint8:
        levels = np.arange(MAX_BYTE + 1, dtype=np.float64)
        table = _bytes((levels.clip(low, high) - low) / (high - low) * MAX_BYTE)
        return _by_blocks(features, np.uint8, lambda rows: table[rows])
    return _by_blocks(features, np.float32, lambda rows: _stretched(rows, low, high))


def zscore(features: Tensor, *, clip: float | None = None) -> Tensor:
    """Subtracts each image's mean, and divides by its standard deviation.

    The mean and the deviation are over all values of the image, all its channels together, and the
    deviation divides by their number. A constant image becomes zeros.

    Args:
        features: (n, channels, side, ...) images.
        clip: largest absolute value of the result, in standard deviations; None for any.

    Returns:
        The same shape, float32.
    """
    return _by_blocks(features, np.float32, lambda rows: _standardised(rows, clip))


def nyul(features: Tensor, *, landmarks: Sequence[float], percentiles: Sequence[float]) -> Tensor:
    """Maps the percentiles of each image to landmarks, linearly between them.

    The landmarks are public constants. Landmarks that are learned from the records of a federation
    are a release about these records, which nothing here pays for.

    Values beyond the first and the last percentile continue the line of the outer segments. Where
    several percentiles of an image fall on one value, it becomes the middle of their landmarks. A
    percentile between two values of the sorted image is interpolated linearly.

    Bytes stay bytes, rounded to the nearest and cut to 0 to 255. Other images become float32, cut
    to the outer landmarks or to 1e6 on both sides, whichever is further. An outer line may be steep
    enough to leave float32 otherwise, and under a claim others would notice.

    Args:
        features: (n, channels, side, ...) images of finite values.
        landmarks: rising, in stored units.
        percentiles: one for each landmark, rising, from 0 to 100.

    Source: Nyul, Udupa and Zhang, IEEE TMI 2000, section II. The paper takes the percentiles of the
    foreground. Here they are those of the whole image, since a threshold would itself depend on the
    scanner.
    """
    targets = np.asarray(landmarks, dtype=np.float64)
    ranks = np.asarray(percentiles, dtype=np.float64) / 100
    if features.dtype == torch.uint8:
        return _by_blocks(features, np.uint8, lambda rows: _byte_landmarks(rows, ranks, targets))

    bound = max(MAX_MAGNITUDE, float(np.abs(targets).max()))

    def mapped(rows: Rows) -> NDArray[np.float64]:
        values = rows.astype(np.float64)
        found = quantiles(np.sort(values, axis=1), ranks)
        return _piecewise(values, found, targets).clip(-bound, bound)

    return _by_blocks(features, np.float32, mapped)


def _by_blocks(
    features: Tensor, dtype: type[np.generic], mapped: Callable[[Rows], NDArray[np.generic]]
) -> Tensor:
    """Returns the mapped images, computed some at a time.

    Args:
        features: (n, channels, side, ...).
        dtype: of the result.
        mapped: (m, values) -> (m, values).
    """
    # Not -1: a site may have no record.
    images = features.numpy().reshape(len(features), math.prod(features.shape[1:]))
    result = np.empty(images.shape, dtype=dtype)
    step = max(1, BLOCK_VALUES // max(1, images.shape[1]))
    for start in range(0, len(images), step):
        result[start : start + step] = mapped(images[start : start + step])
    return torch.from_numpy(result.reshape(features.shape))


def _bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(values).clip(0, MAX_BYTE).astype(np.uint8)
    return rounded


def _stretched(rows: Rows, low: float, high: float) -> NDArray[np.float64]:
    inside: NDArray[np.float64] = rows.astype(np.float64).clip(low, high)
    return (inside - low) / (high - low) * 2 - 1


def _standardised(rows: Rows, clip: float | None) -> NDArray[np.float64]:
    # In float64 from the start: a sum over rows that are cast on the way could depend on the block.
    values: NDArray[np.float64] = rows.astype(np.float64)
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True))
    # Rounding of the mean leaves traces in a constant image.
    constant = values.max(axis=1, keepdims=True) == values.min(axis=1, keepdims=True)
    scores: NDArray[np.float64] = np.where(
        constant, 0.0, centred / np.where(constant, 1.0, deviation)
    )
    if clip is not None:
        scores = np.clip(scores, -clip, clip)
    return scores


def _byte_landmarks(
    rows: Rows, ranks: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Returns images of bytes (m, values) after Nyul: each has a table of its 256 levels."""
    levels = MAX_BYTE + 1
    shifted = rows + levels * np.arange(len(rows))[:, None]
    counts = np.bincount(shifted.ravel(), minlength=levels * len(rows)).reshape(-1, levels)
    # Sorted values up to each level: the k-th smallest is the first level with more than k.
    below = counts.cumsum(axis=1)
    places = ranks * (rows.shape[1] - 1)
    lower, upper = np.floor(places), np.ceil(places)
    low = np.stack([(below <= place).sum(axis=1) for place in lower], axis=1)
    high = np.stack([(below <= place).sum(axis=1) for place in upper], axis=1)
    found = low + (places - lower) * (high - low)
    every = np.broadcast_to(np.arange(levels, dtype=np.float64), (len(rows), levels))
    tables = _bytes(_piecewise(every, found, targets))
    return tables.ravel()[shifted]


def quantiles(ascending: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the quantiles of each sorted row, (m, ranks), linear between neighbours."""
    places = ranks * (ascending.shape[1] - 1)
    lower, upper = np.floor(places).astype(int), np.ceil(places).astype(int)
    low, high = ascending[:, lower], ascending[:, upper]
    between: NDArray[np.float64] = low + (places - lower) * (high - low)
    return between


def _piecewise(
    values: NDArray[np.float64], sources: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Maps each row's values (m, v) by the line through its points (sources[i], targets)."""
    widths = np.diff(sources, axis=1)
    slopes = np.diff(targets) / np.where(widths > 0, widths, np.inf)
    mapped: NDArray[np.float64] = targets[0] + slopes[:, :1] * (values - sources[:, :1])
    for index in range(len(targets)):
        start = sources[:, index : index + 1]
        slope = slopes[:, min(index, slopes.shape[1] - 1), None]
        mapped = np.where(values >= start, targets[index] + slope * (values - start), mapped)
    for index in range(len(targets)):
        here = sources[:, index : index + 1]
        same = sources == here
        last = targets[same.shape[1] - 1 - same[:, ::-1].argmax(axis=1)]
        middle = (targets[same.argmax(axis=1)] + last) / 2
        mapped = np.where(values == here, middle[:, None], mapped)
    return mapped
