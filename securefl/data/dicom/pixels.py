"""One file's frames as brightness in [0, 1], one frame at a time.

Uncompressed grey pixels are read here, as a view of the file. pydicom decodes everything else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.data.dicom.compressed import JPEG_2000, RLE, check_frame
from securefl.data.dicom.files import Flaw
from securefl.data.dicom.header import Header, PixelForm, pixel_form
from securefl.data.dicom.reading import (
    BIG_ENDIAN,
    careful,
    coloured,
    dataset,
    decoded_frame,
    encapsulated_frame,
    is_decodable,
    syntax_name,
)
from securefl.data.dicom.values import greys, stored_values

GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
NATIVE_LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
# Whose decoders return whole cells, so that the highest bit in use has to be looked up.
WHOLE_CELLS = (*NATIVE_LITTLE_ENDIAN, BIG_ENDIAN, RLE)


@dataclass(frozen=True)
class Pixels:
    """The frames of one file.

    Attributes:
        found: the data set, with its pixels.
        form: of the pixels, equal to that of the header.
        window: declared; None takes that of the file.
    """

    found: Any
    form: PixelForm
    window: tuple[float, float] | None

    def frame(self, index: int) -> NDArray[np.float32]:
        """Returns a frame, (1 or 3, rows, columns) in [0, 1]. Raises Flaw."""
        if self.form.photometric in GREYS:
            with careful("has damaged pixels, or a damaged header"):
                transform = greys(self.found, index, self.form, self.window)
            return transform.of(self._stored(index))[None]
        return self._colours(index)

    @property
    def _syntax(self) -> str:
        return str(self.found.file_meta.TransferSyntaxUID)

    def _stored(self, index: int) -> NDArray[Any]:
        """Returns the stored values of a grey frame, (rows, columns)."""
        if self._syntax in NATIVE_LITTLE_ENDIAN:
            count = self.form.frame_values
            cell = np.dtype(f"<u{self.form.allocated // 8}")
            raw = np.frombuffer(
                self.found.PixelData, dtype=cell, count=count, offset=index * count * cell.itemsize
            ).reshape(self.form.rows, self.form.columns)
        else:
            raw = self._decoded(index, masked=False)
            if raw.shape != (self.form.rows, self.form.columns) or raw.dtype.kind not in "iu":
                raise Flaw("has pixels of another size than its header states")
            # In the machine's order of bytes, which a view of other cells needs.
            raw = np.ascontiguousarray(raw, dtype=raw.dtype.newbyteorder("="))
        return stored_values(raw, self.form, shift=self._syntax in WHOLE_CELLS)

    def _colours(self, index: int) -> NDArray[np.float32]:
        values = self._decoded(index, masked=True)
        bits = self.form.stored
        if self.form.photometric == "PALETTE COLOR":
            with careful("has a damaged palette"):
                values = coloured(values, self.found)
            bits = 8 * values.dtype.itemsize
        if values.shape != (self.form.rows, self.form.columns, 3):
            raise Flaw("has pixels of another size than its header states")
        scaled = np.clip(values.astype(np.float32) / (2**bits - 1), 0, 1)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def _decoded(self, index: int, *, masked: bool) -> NDArray[Any]:
        name = syntax_name(self._syntax)
        with careful(f"has pixels that cannot be decoded as {name}"):
            bounded = self._bounded(index)
            decoded: NDArray[Any] = np.asarray(decoded_frame(bounded, index, masked=masked))
            return decoded

    def _bounded(self, index: int) -> Any:
        """Returns the data set, after a look at the size of a compressed frame. Raises Flaw."""
        if self._syntax not in (*NATIVE_LITTLE_ENDIAN, BIG_ENDIAN):
            frame = encapsulated_frame(self.found, index, self.form.frames)
            check_frame(frame, self._syntax, self.form)
        return self.found


def read_pixels(content: bytes, header: Header, window: tuple[float, float] | None) -> Pixels:
    """Returns the frames of a file.

    Raises:
        Flaw: the pixels are missing or cut off, or no codec for them is installed.
    """
    found = dataset(content, pixels=True)
    with careful("has a damaged header"):
        form = pixel_form(found)
        syntax = str(found.file_meta.TransferSyntaxUID)
        data = found.get("PixelData")
    if form != header.form:
        raise Flaw("changed while it was read")
    if not isinstance(data, bytes) or not data:
        raise Flaw("holds no pixels")
    if syntax in (*NATIVE_LITTLE_ENDIAN, BIG_ENDIAN):
        _check_native(data, form)
    elif not is_decodable(syntax):
        raise Flaw(_no_codec(syntax))
    return Pixels(found, form, window)


def check_kind(form: PixelForm, colour: str) -> None:
    """Raises Flaw for pixels of another kind than the schema declares."""
    expected = GREYS if colour == "grey" else COLOURS
    if form.photometric not in (*GREYS, *COLOURS):
        raise Flaw("has a photometric interpretation that is not read")
    if form.photometric not in expected:
        kind = "colour" if colour == "grey" else "grey"
        raise Flaw(f"holds {kind} pixels, and the schema declares colour = {colour!r}")
    if form.samples != (1 if form.photometric in (*GREYS, "PALETTE COLOR") else 3):
        raise Flaw("has another number of samples than its photometric interpretation")
    if colour == "rgb" and (form.signed or form.allocated > 16):
        raise Flaw("holds colours that are signed, or have 32 bits")


def _check_native(data: bytes, form: PixelForm) -> None:
    """Raises Flaw where uncompressed pixels are fewer than the header states."""
    values = form.frame_values * form.frames
    if form.photometric == "YBR_FULL_422":
        values = values * 2 // 3
    expected = values * form.allocated // 8
    if len(data) < expected:
        raise Flaw(f"is cut off: it states {expected} bytes of pixels and holds {len(data)}")


def _no_codec(syntax: str) -> str:
    name = syntax_name(syntax)
    if syntax.startswith(JPEG_2000):
        advice = "install one with `pip install 'securefl[dicom]'`"
    else:
        advice = "write the files uncompressed, or install a codec that pydicom knows"
    return f"is compressed as {name}, for which no codec is installed: {advice}"
