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
from securefl.data.dicom.luts import Lut, numbers_of_words, order_of, read_lut

# Of slopes and intercepts: beyond it, products with 32-bit values could overflow.
MAX_FACTOR = 1e12
SINGLE_PRECISION_BITS = 16

Floats = NDArray[np.floating[Any]]


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
    modality: Rescale | Lut
    if table:
        modality = read_lut(table[0], order_of(found), is_signed=form.signed, keeps_sign=False)
    else:
        modality = _rescale(group)
    if window is None:
        brightness = _window(found, index, is_signed=_can_be_negative(modality, form))
    else:
        brightness = Ramp(*window)
    return Greys(
        modality,
        brightness,
        is_turned=form.photometric == "MONOCHROME1",
        padding=_padding(found, form),
    )


def _rescale(group: Any) -> Rescale:
    slope = numbers(group.get("RescaleSlope"), 1) or (1.0,)
    intercept = numbers(group.get("RescaleIntercept"), 1) or (0.0,)
    if not 0 < abs(slope[0]) <= MAX_FACTOR or abs(intercept[0]) > MAX_FACTOR:
        raise Flaw("states a rescale slope of 0, or one that is out of bounds")
    return Rescale(slope[0], intercept[0])


def _can_be_negative(modality: Rescale | Lut, form: PixelForm) -> bool:
    """Returns whether the modality transform has results below 0, whatever the pixels hold."""
    if isinstance(modality, Lut):
        return False
    ends = [modality.slope * value + modality.intercept for value in _stored_range(form)]
    return min(ends) < 0


def _window(found: Any, index: int, *, is_signed: bool) -> Ramp | Sigmoid | VoiLut:
    """Returns the first window of the file; a VOI LUT goes before it (PS3.3, C.11.2).

    Args:
        found: the data set.
        index: of the frame.
        is_signed: whether the values before the window can be negative.
    """
    group = functional(found, index, "FrameVOILUTSequence")
    table = group.get("VOILUTSequence")
    if table:
        lut = read_lut(table[0], order_of(found), is_signed=is_signed, keeps_sign=True)
        return VoiLut(lut)
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


def _padding(found: Any, form: PixelForm) -> tuple[int, int] | None:
    """Returns the lowest and the highest stored value that stand for no image.

    A padding value that no pixel can have marks none. A limit beyond the range of the pixels counts
    as the end of that range.
    """
    value = found.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    lowest, highest = _stored_range(form)
    order = order_of(found)
    fitting = [number for number in _readings(value, order) if lowest <= number <= highest]
    if not fitting:
        return None
    padding = fitting[0]
    limit = found.get("PixelPaddingRangeLimit")
    if limit is None or limit == "":
        return padding, padding
    readings = _readings(limit, order)
    # Of two readings beyond the range, the one that takes less of the image.
    clipped = [min(max(number, lowest), highest) for number in readings]
    nearest = min(clipped, key=lambda number: abs(number - padding))
    end = next((number for number in readings if lowest <= number <= highest), nearest)
    return min(padding, end), max(padding, end)


def _stored_range(form: PixelForm) -> tuple[int, int]:
    """Returns the lowest and the highest stored value that the bits in use can hold."""
    if form.signed:
        return -(2 ** (form.stored - 1)), 2 ** (form.stored - 1) - 1
    return 0, 2**form.stored - 1


def _readings(value: object, order: str) -> list[int]:
    """Returns a number of 16 bits as the file gives it, and with the other sign.

    Some files write it with the wrong sign.
    """
    words = numbers_of_words(value if isinstance(value, bytes) else int(str(value)), order)
    number = int(words[0])
    if number < 0:
        return [number, number + 2**16]
    return [number, number - 2**16] if number >= 2**15 else [number]
