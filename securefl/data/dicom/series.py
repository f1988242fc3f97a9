"""Series from the headers of files: which slices belong together, in which order, at which gaps.

File names and InstanceNumber count for nothing. Slices are sorted by their position along the
normal of the image, and distances come from positions, not from SliceThickness.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.data.dicom.files import File, Flaw
from securefl.data.dicom.header import Frame, Header

# Directions of one series differ by rounding only.
DIRECTION_TOLERANCE = 1e-3
SPACING_TOLERANCE = 1e-3
# A gap of so many times the smallest one lacks a slice: the usual gap of a short series may be one.
MISSING_GAP = 1.5
# A gap of so small a part of the usual one is a second slice.
DOUBLE_GAP = 0.25
# Sideways shift of a slice for each millimetre along the normal: a tilted gantry.
MAX_TILT = 0.05
MAX_ASPECT = 1.01
MAX_SLICES = 2**13


class Slice(NamedTuple):
    """One frame of one file."""

    header: Header
    frame: int

    @property
    def geometry(self) -> Frame:
        """Where the frame lies, and its spacing."""
        return self.header.frames[self.frame]


class Stack(NamedTuple):
    """Slices in the order of their positions.

    Attributes:
        slices: in order.
        positions: of each along the normal, in millimetres, rising.
    """

    slices: tuple[Slice, ...]
    positions: NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """The files of one series at one site."""

    site: int
    headers: tuple[Header, ...]

    @property
    def first(self) -> File:
        """The file with the lowest number, which stands for the series in a message."""
        return min(header.file for header in self.headers)

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All frames, in an order that no file name changes."""
        ordered = sorted(self.headers, key=lambda header: header.instance)
        return tuple(
            Slice(header, index) for header in ordered for index in range(header.form.frames)
        )


def grouped_by_series(headers: Iterable[Header]) -> tuple[Series, ...]:
    """Returns the series of all sites, by site and then by SeriesInstanceUID."""
    members: dict[tuple[int, str], list[Header]] = defaultdict(list)
    for header in headers:
        members[header.file.site, header.series].append(header)
    return tuple(Series(key[0], tuple(members[key])) for key in sorted(members))


def check_series(series: Series) -> None:
    """Checks that files make one series. Raises Flaw."""
    headers = series.headers
    if len({header.instance for header in headers}) < len(headers):
        raise Flaw("holds two files with one SOPInstanceUID")
    if len({header.patient for header in headers}) > 1:
        raise Flaw("holds files of two patients")
    if len({header.study for header in headers}) > 1:
        raise Flaw("holds files of two studies")
    if len({header.file.path.parent for header in headers}) > 1:
        raise Flaw("lies in two folders")


def shared_identifiers(all_series: Sequence[Series]) -> Iterator[tuple[Header, str]]:
    """Yields files whose series is at two sites, or whose SOPInstanceUID another series has."""
    sites: dict[str, int] = {}
    owners: dict[str, str] = {}
    for series in all_series:
        first = min(series.headers, key=lambda header: header.file.number)
        if sites.setdefault(first.series, series.site) != series.site:
            yield first, "the series of this file lies in the folders of two sites"
            continue
        for header in series.headers:
            if owners.setdefault(header.instance, header.series) != header.series:
                yield header, "this file and one of another series have one SOPInstanceUID"


def stacked(slices: Sequence[Slice]) -> Stack:
    """Returns the slices of a volume in the order of their positions.

    Raises:
        Flaw: they are no volume: positions are missing or double, a slice is missing, or sizes,
            spacings or orientations differ.
    """
    if len(slices) > MAX_SLICES:
        raise Flaw(f"holds {len(slices)} slices, more than {MAX_SLICES}")
    _check_alike(slices)
    planes = [piece.geometry.plane for piece in slices]
    if None in planes:
        raise Flaw("holds slices that do not say where they lie")
    if len(planes) == 1:
        raise Flaw("holds one slice, which is no volume")
    known = [plane for plane in planes if plane is not None]
    directions = np.array([[*plane.row, *plane.column] for plane in known])
    if np.abs(directions - directions[0]).max() > DIRECTION_TOLERANCE:
        raise Flaw("holds slices of different orientations")
    normal = np.array(known[0].normal)
    normal = normal / np.linalg.norm(normal)
    points = np.array([plane.position for plane in known])  # (slices, 3)
    along = points @ normal
    order = np.argsort(along, kind="stable")
    _check_gaps(np.diff(along[order]))
    _check_tilt(points[order], along[order], normal, slices[0].geometry.spacing)
    return Stack(tuple(slices[place] for place in order), along[order])


def middle(slices: Sequence[Slice]) -> Slice:
    """Returns the slice in the middle of a series, the lower one of two; see `stacked`."""
    if len(slices) == 1:
        return slices[0]
    ordered = stacked(slices).slices
    return ordered[(len(ordered) - 1) // 2]


def has_square_pixels(geometry: Frame) -> bool:
    """Whether the pixels of a frame are squares, within rounding."""
    return 1 / MAX_ASPECT <= geometry.aspect <= MAX_ASPECT


def has_mixed_orientations(series: Series) -> bool:
    """Whether slices of a series look in different directions, as scouts do."""
    planes = [piece.geometry.plane for piece in series.slices]
    directions = np.array([[*plane.row, *plane.column] for plane in planes if plane is not None])
    if not len(directions):
        return False
    return bool(np.abs(directions - directions[0]).max() > DIRECTION_TOLERANCE)


def orientation(series: Series) -> str:
    """Returns where rows and columns of the first image lead, as two letters of DICOM.

    Left, right, anterior, posterior, head or foot (PS3.3, C.7.6.1.1.1); of an oblique direction
    the nearest one. "" where the file does not say.
    """
    plane = series.slices[0].geometry.plane
    if plane is None:
        return ""
    letters = []
    for direction in (plane.row, plane.column):
        axis = int(np.argmax(np.abs(direction)))
        letters.append(("LPH" if direction[axis] > 0 else "RAF")[axis])
    return "\\".join(letters)


def _check_alike(slices: Sequence[Slice]) -> None:
    """Raises Flaw where slices differ in size or spacing."""
    if len({(piece.header.form.rows, piece.header.form.columns) for piece in slices}) > 1:
        raise Flaw("holds slices of different sizes")
    spacings = [piece.geometry.spacing or (0.0, 0.0) for piece in slices]
    if not np.allclose(spacings, spacings[0], rtol=SPACING_TOLERANCE):
        raise Flaw("holds slices of different pixel spacings")


def _check_gaps(gaps: NDArray[np.float64]) -> None:
    """Raises Flaw where slices are missing or lie at one place."""
    usual = float(np.median(gaps))
    if usual <= 0 or gaps.min() < DOUBLE_GAP * usual:
        raise Flaw("holds two slices at one position")
    smallest = float(gaps.min())
    places = np.flatnonzero(gaps > MISSING_GAP * smallest)
    if len(places):
        ratio = gaps[places[0]] / smallest
        raise Flaw(
            f"lacks slices: the gap after slice {places[0] + 1} of {len(gaps) + 1} is "
            f"{ratio:.3g} times the smallest one"
        )


def _check_tilt(
    points: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
    spacing: tuple[float, float] | None,
) -> None:
    """Raises Flaw where slices are shifted sideways, as with a tilted gantry."""
    distance = along - along[0]
    sideways = np.linalg.norm(points - points[0] - distance[:, None] * normal, axis=1)
    # Positions are rounded, so that a pixel's width is no tilt.
    if (sideways > MAX_TILT * distance + min(spacing or (1.0, 1.0))).any():
        raise Flaw("holds slices that are shifted sideways, as with a tilted gantry")
