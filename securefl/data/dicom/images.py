"""Slices -> records of the declared size: uint8, (channels, height, width) or a volume."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.data.dicom.files import Flaw, content
from securefl.data.dicom.header import Header
from securefl.data.dicom.pixels import Pixels, check_kind, read_pixels
from securefl.data.dicom.resample import along, places_of, scaled, spaced
from securefl.data.dicom.schema import COLOUR_CHANNELS, DicomSchema
from securefl.data.dicom.series import Series, Slice, has_square_pixels, middle, stacked

# Slices times declared height and width: 8,192 slices of 512 x 512.
MAX_RESAMPLED_VALUES = 2**31


def images_of(series: Series, schema: DicomSchema) -> Iterator[NDArray[np.uint8]]:
    """Yields the records of a series, each (channels, *size).

    One file's pixels at a time are in memory at full size.

    Raises:
        Flaw: the series cannot become the declared records.
    """
    for header in series.headers:
        check_kind(header.form, schema.colour)
    if schema.is_volume:
        yield _volume(series.slices, schema)
        return
    slices: Sequence[Slice] = series.slices
    if schema.slices == "middle":
        slices = [middle(slices)]
    for _, image in _planes(slices, schema, schema.size):
        yield _bytes(image)


def _volume(slices: Sequence[Slice], schema: DicomSchema) -> NDArray[np.uint8]:
    stack = stacked(slices)
    depth, *sides = schema.size
    step = None if schema.spacing is None else schema.spacing[0]
    matrix = places_of(stack.positions, depth, step)  # (depth, slices)
    rank = {piece: place for place, piece in enumerate(stack.slices)}
    if len(slices) * math.prod(sides) > MAX_RESAMPLED_VALUES:
        raise Flaw(f"holds {len(slices)} slices, too many for the declared sides")
    volume = np.zeros((COLOUR_CHANNELS[schema.colour], *schema.size), dtype=np.float32)
    # In the order of the files, each of which is opened once.
    for piece, image in _planes(slices, schema, sides):
        weights = matrix[:, rank[piece]]  # (depth,)
        # Added at once: slices of the declared sides may be far larger than the file.
        for place in np.flatnonzero(weights):
            volume[:, place] += weights[place] * image
    return _bytes(volume)


def _planes(
    slices: Sequence[Slice], schema: DicomSchema, sides: Sequence[int]
) -> Iterator[tuple[Slice, NDArray[np.float32]]]:
    """Yields slices with their images of the declared sides, (channels, height, width)."""
    window = None if schema.window == "file" else schema.window
    opened: tuple[Header, Pixels] | None = None
    for piece in slices:
        try:
            if opened is None or opened[0] is not piece.header:
                data = content(piece.header.file.path)
                opened = (piece.header, read_pixels(data, piece.header, window))
            image = opened[1].frame(piece.frame)
        except Flaw as reason:
            reason.file = piece.header.file
            raise
        rows, columns = _matrices(piece, schema, sides)
        yield piece, np.stack([along(channel, rows, columns) for channel in image])


def _matrices(piece: Slice, schema: DicomSchema, sides: Sequence[int]) -> tuple[Any, Any]:
    """Returns the matrices that resample rows and columns. Raises Flaw."""
    pixels = (piece.header.form.rows, piece.header.form.columns)
    if schema.spacing is None:
        if not has_square_pixels(piece.geometry):
            raise Flaw("has pixels that are no squares; declare spacing in the schema")
        rows, columns = (scaled(*pair) for pair in zip(pixels, sides, strict=True))
        return rows, columns
    if piece.geometry.spacing is None:
        raise Flaw("states no pixel spacing, which the declared spacing needs")
    rows, columns = (
        spaced(count, side, declared / spacing)
        for count, side, declared, spacing in zip(
            pixels, sides, schema.spacing[-2:], piece.geometry.spacing, strict=True
        )
    )
    return rows, columns


def _bytes(brightness: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns brightness in [0, 1] as bytes."""
    return np.clip(np.rint(brightness * 255), 0, 255).astype(np.uint8)
