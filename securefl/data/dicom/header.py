"""The declared fields of one file's header: who, which series, where in space, how large.

Nothing else of a header is looked at. Values that identify somebody have no place in `repr`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from securefl.data.dicom.files import File, Flaw
from securefl.data.dicom.reading import careful, dataset

# Stated sizes are checked before anything is allocated.
MAX_ROWS = 2**14
MAX_FRAMES = 2**13
MAX_FRAME_VALUES = 2**26
MAX_FILE_VALUES = 2**30
UNIT_TOLERANCE = 1e-2
# Millimetres; beyond them, quotients and sums could overflow.
SPACINGS = (1e-4, 1e4)
MAX_POSITION = 1e6
TAGS = [
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "BurnedInAnnotation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("PixelAspectRatio", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
]

Vector = tuple[float, float, float]


class Plane(NamedTuple):
    """Where an image lies in the patient, in millimetres (PS3.3, C.7.6.2).

    Attributes:
        position: of the centre of the first pixel.
        row: unit vector along a row, towards higher columns.
        column: unit vector along a column, towards higher rows.
    """

    position: Vector
    row: Vector
    column: Vector

    @property
    def normal(self) -> Vector:
        """The unit vector across the image: row x column."""
        (a, b, c), (d, e, f) = self.row, self.column
        return (b * f - c * e, c * d - a * f, a * e - b * d)


class Frame(NamedTuple):
    """The geometry of one frame.

    Attributes:
        plane: None where the file does not say where the frame lies.
        spacing: millimetres from row to row and from column to column; None where unknown.
        aspect: height of a pixel over its width.
    """

    plane: Plane | None
    spacing: tuple[float, float] | None
    aspect: float


@dataclass(frozen=True)
class PixelForm:
    """How the pixels of a file are stored.

    Attributes:
        rows, columns, frames, samples: the stated sizes, within bounds.
        photometric: the photometric interpretation.
        allocated, stored, high: bits of a value, those in use, and the place of the highest.
        signed: whether values are in two's complement.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def frame_values(self) -> int:
        """Values of one frame."""
        return self.rows * self.columns * self.samples


@dataclass(frozen=True, eq=False)
class Header:
    """What a run uses of one file's header, apart from its tables of values.

    Two headers are equal only where they are one object, so that hashes cost nothing.

    Attributes:
        file: where it is.
        patient, study, series, instance: identifiers.
        form: of the pixels.
        frames: geometry of each frame.
        burned_in: "YES", "NO", or "" where it is unknown.
    """

    file: File
    patient: str = field(repr=False)
    study: str = field(repr=False)
    series: str = field(repr=False)
    instance: str = field(repr=False)
    form: PixelForm
    frames: tuple[Frame, ...]
    burned_in: str


def read_header(file: File, content: bytes, modality: str) -> Header | None:
    """Returns the declared fields of a file's header; None for one of another modality.

    Raises:
        Flaw: the file is no image, or is damaged.
    """
    found = dataset(content, pixels=False, tags=TAGS)
    with careful("has a damaged header"):
        if str(found.get("Modality") or "").strip() != modality:
            return None
        form = pixel_form(found)
        return Header(
            file,
            patient=_identifier(found, "PatientID"),
            study=_identifier(found, "StudyInstanceUID"),
            series=_identifier(found, "SeriesInstanceUID"),
            instance=_identifier(found, "SOPInstanceUID"),
            form=form,
            frames=tuple(_frames(found, form.frames)),
            burned_in=burned_in(found),
        )


def burned_in(found: Any) -> str:
    """Returns what a header says about text in the pixels: "YES", "NO", or "" for unknown."""
    text = str(found.get("BurnedInAnnotation") or "").strip().upper()
    # A word that the standard does not know could mean anything.
    return {"": "", "NO": "NO"}.get(text, "YES")


def pixel_form(found: Any) -> PixelForm:
    """Returns how the pixels are stored. Raises Flaw: a size is missing or out of bounds."""
    allocated = _whole(found, "BitsAllocated")
    stored = _whole(found, "BitsStored")
    form = PixelForm(
        rows=_whole(found, "Rows"),
        columns=_whole(found, "Columns"),
        frames=_whole(found, "NumberOfFrames", 1),
        samples=_whole(found, "SamplesPerPixel", 1),
        photometric=str(found.get("PhotometricInterpretation") or "").strip(),
        allocated=allocated,
        stored=stored,
        high=_whole(found, "HighBit", stored - 1),
        signed=bool(_whole(found, "PixelRepresentation", 0)),
    )
    if allocated not in (8, 16, 32) or not 1 <= stored <= form.high + 1 <= allocated:
        raise Flaw("has pixels of another kind than 8, 16 or 32 allocated bits")
    if not (1 <= form.rows <= MAX_ROWS and 1 <= form.columns <= MAX_ROWS):
        raise Flaw(f"states {form.rows} x {form.columns} pixels; a side has 1 to {MAX_ROWS}")
    if not 1 <= form.frames <= MAX_FRAMES:
        raise Flaw(f"states {form.frames} frames; 1 to {MAX_FRAMES} are read")
    if form.samples not in (1, 3):
        raise Flaw("has pixels of another number of samples than 1 and 3")
    if form.frame_values > MAX_FRAME_VALUES or form.frame_values * form.frames > MAX_FILE_VALUES:
        raise Flaw("states more pixels than are read from one file")
    return form


def functional(found: Any, index: int, keyword: str) -> Any:
    """Returns the functional group of a frame, else the data set itself (PS3.3, C.7.6.16)."""
    for groups, place in (
        (found.get("PerFrameFunctionalGroupsSequence"), index),
        (found.get("SharedFunctionalGroupsSequence"), 0),
    ):
        if groups and place < len(groups) and groups[place].get(keyword):
            return groups[place][keyword].value[0]
    return found


def numbers(value: Any, count: int | None = None) -> tuple[float, ...] | None:
    """Returns the finite numbers of an element; None where it is absent or empty.

    Args:
        value: of an element, single or multiple.
        count: of numbers that it must have.

    Raises:
        Flaw: there is another number of them, or one is not finite.
    """
    if value is None or value == "":
        return None
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not items:
        return None
    found = tuple(float(item) for item in items)
    if (count is not None and len(found) != count) or not all(map(math.isfinite, found)):
        raise Flaw("has a damaged header")
    return found


def _frames(found: Any, frames: int) -> Iterator[Frame]:
    """Yields the geometry of each frame; the groups of a multi-frame file must be complete."""
    groups = found.get("PerFrameFunctionalGroupsSequence")
    if groups and len(groups) != frames:
        raise Flaw(f"states {frames} frames, and describes {len(groups)}")
    # Without groups only a single frame has the position of the header.
    is_placed = bool(groups) or frames == 1
    for index in range(frames):
        measures = functional(found, index, "PixelMeasuresSequence")
        spacing = numbers(measures.get("PixelSpacing"), 2) or numbers(
            found.get("ImagerPixelSpacing"), 2
        )
        ratio = spacing or numbers(found.get("PixelAspectRatio"), 2) or (1.0, 1.0)
        if not SPACINGS[0] <= min(ratio) <= max(ratio) <= SPACINGS[1]:
            raise Flaw("states a pixel spacing or aspect that is out of bounds")
        plane = _plane(found, index) if is_placed else None
        sides = None if spacing is None else (spacing[0], spacing[1])
        yield Frame(plane, sides, ratio[0] / ratio[1])


def _plane(found: Any, index: int) -> Plane | None:
    """Returns where a frame lies; None where the file does not say. Raises Flaw."""
    place = functional(found, index, "PlanePositionSequence")
    angles = functional(found, index, "PlaneOrientationSequence")
    position = numbers(place.get("ImagePositionPatient"), 3)
    cosines = numbers(angles.get("ImageOrientationPatient"), 6)
    if position is None or cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    products = [
        math.fsum(a * b for a, b in zip(left, right, strict=True))
        for left, right in ((row, row), (column, column), (row, column))
    ]
    if any(abs(x - y) > UNIT_TOLERANCE for x, y in zip(products, (1, 1, 0), strict=True)):
        raise Flaw("has an image orientation that is no pair of orthogonal unit vectors")
    if max(map(abs, position)) > MAX_POSITION:
        raise Flaw("states a position that is out of bounds")
    x, y, z = position
    return Plane((x, y, z), (row[0], row[1], row[2]), (column[0], column[1], column[2]))


def _whole(found: Any, keyword: str, default: int | None = None) -> int:
    """Returns a whole number of the header. Raises Flaw: it is missing."""
    value = found.get(keyword)
    if value is None or value == "":
        if default is None:
            raise Flaw(f"lacks {keyword}, so it is no image, or cut off")
        return default
    return int(value)


def _identifier(found: Any, keyword: str) -> str:
    text = str(found.get(keyword) or "").strip()
    if not text:
        raise Flaw(f"lacks {keyword}")
    return text
