"""Stored values -> values in the modality's units -> brightness in [0, 1].

The order is that of DICOM (PS3.4, N.2): modality LUT or rescale, then the window or VOI LUT, then
MONOCHROME1 is turned. Padding becomes 0, the lowest brightness, at the end.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.data.dicom.files import Flaw
from securefl.data.dicom.header import PixelForm, functional, numbers

MAX_LUT_ENTRIES = 2**16
LUT_BITS = range(8, 17)
# Of slopes and intercepts: beyond it, products with 32-bit values could overflow.
MAX_FACTOR = 1e12
SINGLE_PRECISION_BITS = 16

Floats = NDArray[np.floating[Any]]


class Lut(NamedTuple):
    """A table of values (PS3.3, C.11.1): entry 0 is for `first` and everything below it."""

    first: int
    entries: NDArray[np.float64]
    bits: int

    def of(self, values: NDArray[Any]) -> Floats:
        """Returns the entry of each value."""
        places = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        chosen: Floats = self.entries[places]
        return chosen


class Ramp(NamedTuple):
    """A window: brightness (value - low) / (high - low), clipped to [0, 1]."""

    low: float
    high: float

    def of(self, values: Floats) -> Floats:
        """Returns the brightness of each value."""
        brightness = (values - self.low) * (1 / (self.high - self.low))
        clipped: Floats = np.clip(brightness, 0, 1)
        return clipped


class Sigmoid(NamedTuple):
    """The window function SIGMOID (PS3.3, C.11.2.1.3.1)."""

    centre: float
    width: float

    def of(self, values: Floats) -> Floats:
        """Returns the brightness of each value."""
        exponent = np.clip(-4 * (values - self.centre) / self.width, -700, 700)
        curve: Floats = 1 / (1 + np.exp(exponent))
        return curve


class VoiLut(NamedTuple):
    """A VOI LUT: its entries over the highest that their bits can hold."""

    lut: Lut

    def of(self, values: Floats) -> Floats:
        """Returns the brightness of each value."""
        brightness: Floats = np.clip(self.lut.of(values) / (2**self.lut.bits - 1), 0, 1)
        return brightness


class Rescale(NamedTuple):
    """The linear modality transform: slope x stored value + intercept."""

    slope: float
    intercept: float

    def of(self, values: NDArray[Any]) -> Floats:
        """Returns the values in the modality's units."""
        small = values.dtype.itemsize * 8 <= SINGLE_PRECISION_BITS
        floats: Floats = values.astype(np.float32 if small else np.float64)
        if self != (1.0, 0.0):
            floats *= self.slope
            floats += self.intercept
        return floats


@dataclass(frozen=True)
class Greys:
    """What turns the stored values of one grey frame into brightness.

    Attributes:
        modality: to the units of the modality.
        window: to [0, 1].
        is_turned: whether low values are bright (MONOCHROME1).
        padding: lowest and highest stored value that are no image; None where there are none.
    """

    modality: Rescale | Lut
    window: Ramp | Sigmoid | VoiLut
    is_turned: bool
    padding: tuple[int, int] | None

    def of(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the brightness of stored values, in [0, 1]."""
        brightness = self.window.of(self.modality.of(stored))
        if self.is_turned:
            brightness = 1 - brightness
        if self.padding is not None:
            low, high = self.padding
            brightness[(stored >= low) & (stored <= high)] = 0
        return brightness.astype(np.float32, copy=False)


def stored_values(raw: NDArray[Any], form: PixelForm, *, shift: bool = True) -> NDArray[Any]:
    """Returns the values in the bits that are in use, with their sign.

    Args:
        raw: whole cells of `form.allocated` bits.
        form: says which bits are in use. The others may hold anything, such as old overlays.
        shift: whether the highest bit in use is where the form says; else it is the last one.
    """
    unsigned = raw.view(np.dtype(f"u{raw.dtype.itemsize}"))
    bits = 8 * raw.dtype.itemsize
    high = form.high if shift else form.stored - 1
    cells = unsigned
    # To the left end of the cell and back: the sign comes with the arithmetic shift.
    if high + 1 < bits:
        cells = cells << (bits - 1 - high)
    if form.signed:
        cells = cells.view(np.dtype(f"i{raw.dtype.itemsize}"))
    if form.stored < bits:
        cells = cells >> (bits - form.stored)
    elif cells is unsigned and form.signed:
        cells = unsigned.view(np.dtype(f"i{raw.dtype.itemsize}"))
    return cells


def greys(found: Any, index: int, form: PixelForm, window: tuple[float, float] | None) -> Greys:
    """Returns what turns the stored values of a frame into brightness.

    Args:
        found: the data set.
        index: of the frame.
        form: of its pixels.
        window: declared; None takes that of the file.

    Raises:
        Flaw: a transform is damaged, or the window of the file is wanted and missing.
    """
    group = functional(found, index, "PixelValueTransformationSequence")
    table = found.get("ModalityLUTSequence")
    modality = _lut(table[0], form) if table else _rescale(group)
    return Greys(
        modality,
        Ramp(*window) if window is not None else _window(found, index, form),
        is_turned=form.photometric == "MONOCHROME1",
        padding=_padding(found, form),
    )


def _rescale(group: Any) -> Rescale:
    slope = numbers(group.get("RescaleSlope"), 1) or (1.0,)
    intercept = numbers(group.get("RescaleIntercept"), 1) or (0.0,)
    if not 0 < abs(slope[0]) <= MAX_FACTOR or abs(intercept[0]) > MAX_FACTOR:
        raise Flaw("states a rescale slope of 0, or one that is out of bounds")
    return Rescale(slope[0], intercept[0])


def _window(found: Any, index: int, form: PixelForm) -> Ramp | Sigmoid | VoiLut:
    """Returns the first window of the file; a VOI LUT goes before it (PS3.3, C.11.2)."""
    group = functional(found, index, "FrameVOILUTSequence")
    table = group.get("VOILUTSequence")
    if table:
        return VoiLut(_lut(table[0], form))
    centres, widths = numbers(group.get("WindowCenter")), numbers(group.get("WindowWidth"))
    if centres is None or widths is None:
        raise Flaw('has no window of its own; declare one instead of "file"')
    function = str(group.get("VOILUTFunction") or "LINEAR").strip()
    return window_of(centres[0], widths[0], function)


def window_of(centre: float, width: float, function: str) -> Ramp | Sigmoid:
    """Returns a window of DICOM (PS3.3, C.11.2.1.2). Raises Flaw: its width is out of bounds."""
    if not math.isfinite(centre) or abs(centre) > MAX_FACTOR or not 0 < width <= MAX_FACTOR:
        raise Flaw("states a window whose width is not above 0, or is out of bounds")
    if function == "LINEAR":
        if width < 1:
            raise Flaw("states a window whose width is below 1")
        # A width of 1 is a step at the centre less a half; no float lies within this ramp.
        half = (width - 1) / 2 or 1e-6
        return Ramp(centre - 0.5 - half, centre - 0.5 + half)
    if function == "LINEAR_EXACT":
        return Ramp(centre - width / 2, centre + width / 2)
    if function == "SIGMOID":
        return Sigmoid(centre, width)
    raise Flaw("states a VOI LUT function that DICOM does not know")


def _lut(item: Any, form: PixelForm) -> Lut:
    """Returns a table of values. Raises Flaw: its data are not what its descriptor says."""
    descriptor = _words(item.get("LUTDescriptor"))
    if len(descriptor) != 3:
        raise Flaw("has a damaged LUT")
    count, first, bits = (int(number) for number in descriptor)
    # A count of 0 stands for 2^16, which 16 bits cannot hold.
    count = (count % MAX_LUT_ENTRIES) or MAX_LUT_ENTRIES
    first %= MAX_LUT_ENTRIES
    if form.signed and first >= MAX_LUT_ENTRIES // 2:
        first -= MAX_LUT_ENTRIES
    if bits not in LUT_BITS:
        raise Flaw("has a damaged LUT")
    entries = _entries(item.get("LUTData"), count)
    return Lut(first, entries.astype(np.float64), bits)


def _entries(data: object, count: int) -> NDArray[Any]:
    """Returns the entries of a LUT; 8-bit ones may be packed as bytes."""
    if isinstance(data, bytes) and len(data) in (count, count + count % 2):
        return np.frombuffer(data, dtype=np.uint8)[:count]
    entries = _words(data)
    if len(entries) != count:
        raise Flaw("has a damaged LUT")
    return entries % MAX_LUT_ENTRIES


def _words(data: object) -> NDArray[np.int64]:
    """Returns numbers of 16 bits that pydicom gives as numbers or as bytes."""
    if isinstance(data, bytes):
        return np.frombuffer(data, dtype="<u2").astype(np.int64)
    return np.atleast_1d(np.asarray(data, dtype=np.int64))


def _padding(found: Any, form: PixelForm) -> tuple[int, int] | None:
    """Returns the lowest and the highest stored value that stand for no image."""
    value = found.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = found.get("PixelPaddingRangeLimit")
    ends = [_stored(value, form), _stored(value if limit in (None, "") else limit, form)]
    return min(ends), max(ends)


def _stored(value: object, form: PixelForm) -> int:
    """Returns an element as a stored value: some files give it with the wrong sign."""
    whole = int.from_bytes(value, "little") if isinstance(value, bytes) else int(str(value))
    number = int(whole % 2**form.stored)
    if form.signed and number >= 2 ** (form.stored - 1):
        number -= 2**form.stored
    return number
