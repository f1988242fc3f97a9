"""Linear resampling along one axis as a sparse matrix, with an antialiasing filter.

Each axis is resampled by itself, so that an image is matrix @ image @ matrix.T and no volume is
ever held at its full size. Where the result is coarser, the filter is the triangle that is as wide
as two pixels of the result, as in Pillow's BILINEAR.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CACHED_MATRICES = 64


def scaled(pixels: int, size: int) -> Any:
    """Returns the matrix that scales an axis to a size, (size, pixels)."""
    step = pixels / size
    return _matrix(pixels, size, step, step / 2 - 0.5)


def spaced(pixels: int, size: int, step: float) -> Any:
    """Returns the matrix that resamples an axis and crops or pads it around its centre.

    Args:
        pixels: of the axis.
        size: of the result.
        step: distance of the result's pixels, in pixels of the axis.

    Returns:
        (size, pixels); a row outside of the image is zero.
    """
    first = (pixels - 1) / 2 - (size - 1) / 2 * step
    return _matrix(pixels, size, step, first)


def along(image: NDArray[np.float32], rows: Any, columns: Any) -> NDArray[np.float32]:
    """Returns an image (h, w) resampled by the matrices of both axes."""
    height, width = image.shape
    if not _is_identity(rows, height):
        image = rows @ image
    if not _is_identity(columns, width):
        image = (columns @ image.T).T
    return np.ascontiguousarray(image, dtype=np.float32)


@lru_cache(maxsize=_CACHED_MATRICES)
def _matrix(pixels: int, size: int, step: float, first: float) -> Any:
    """Returns the matrix of a result whose pixel k lies at first + k step, in the axis' pixels."""
    # Takes a while to import, which checking a scenario must not cost.
    from scipy.sparse import csr_array

    radius = max(step, 1.0)
    centres = first + step * np.arange(size)  # (size,)
    # A pixel of the axis reaches half a pixel beyond its centre.
    is_inside = (centres > -0.5 - 1e-9) & (centres < pixels - 0.5 + 1e-9)
    values: list[NDArray[np.float64]] = []
    places: list[NDArray[np.int64]] = []
    ends = [0]
    for centre, inside in zip(centres, is_inside, strict=True):
        low = max(int(np.ceil(centre - radius)), 0)
        high = min(int(np.floor(centre + radius)), pixels - 1)
        if inside:
            near = np.arange(low, high + 1)
            weights = np.maximum(1 - np.abs(near - centre) / radius, 0)
            places.append(near)
            values.append(weights / weights.sum())
        ends.append(ends[-1] + (len(places[-1]) if inside else 0))
    data = np.concatenate([np.zeros(0), *values]).astype(np.float32)
    indices = np.concatenate([np.zeros(0, np.int64), *places])
    return csr_array((data, indices, ends), shape=(size, pixels))


def _is_identity(matrix: Any, pixels: int) -> bool:
    return bool(
        matrix.shape == (pixels, pixels)
        and matrix.nnz >= pixels
        and np.array_equal(matrix.diagonal(), np.ones(pixels, dtype=np.float32))
    )


def places_of(positions: NDArray[np.float64], size: int, spacing: float | None) -> Any:
    """Returns the matrix that resamples slices to a depth, (size, slices).

    A finer result is interpolated linearly between the true positions. For a coarser one the slices
    are first interpolated at as many even positions, which the filter of the pixels needs.

    Args:
        positions: (slices,) rising, in millimetres; two or more.
        size: slices of the result.
        spacing: of the result; without it the whole depth is scaled to the size.
    """
    slices = len(positions)
    gap = float(positions[-1] - positions[0]) / (slices - 1)
    step = slices / size if spacing is None else spacing / gap
    # As if the slices were even: each reaches half a gap beyond its position.
    even = scaled(slices, size) if spacing is None else spaced(slices, size, step)
    if step > 1:
        grid = positions[0] + gap * np.arange(slices)
        return (even @ _between(positions, grid)).toarray()
    middle = (positions[0] + positions[-1]) / 2
    centres = middle + (np.arange(size) - (size - 1) / 2) * step * gap
    matrix = _between(positions, centres).toarray()
    is_padding = even.sum(axis=1) == 0
    matrix[is_padding] = 0
    return matrix


def _between(positions: NDArray[np.float64], places: NDArray[np.float64]) -> Any:
    """Returns the matrix of linear interpolation, (places, slices); an end goes on as it is."""
    from scipy.sparse import csr_array

    slices = len(positions)
    indices = np.interp(places, positions, np.arange(slices))
    left = np.minimum(indices.astype(np.int64), slices - 2)
    share = indices - left
    weights = np.stack([1 - share, share], axis=1).astype(np.float32)
    columns = np.stack([left, left + 1], axis=1)
    ends = 2 * np.arange(len(places) + 1)
    return csr_array((weights.ravel(), columns.ravel(), ends), shape=(len(places), slices))
