"""The size that a compressed frame states, before a codec allocates it.

Source: ISO/IEC 15444-1, A.4 and A.5 (JPEG 2000); ISO/IEC 10918-1, B.1 and B.2 (JPEG);
ISO/IEC 14495-1, C.2 (JPEG-LS).
"""

import struct

from securefl.data.dicom.files import Flaw
from securefl.data.dicom.header import PixelForm

RLE = "1.2.840.10008.1.2.5"
# JPEG 2000 and High-Throughput JPEG 2000.
JPEG_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
# A frame that is compressed has at most twice its bytes, and a header.
FRAME_HEADER_BYTES = 2**16
# For each tile the codec allocates its parameters, however small the tile is.
MAX_TILES = 2**12
_SOC_SIZ = b"\xff\x4f\xff\x51"
_SOI = b"\xff\xd8"
_START_OF_SCAN = 0xDA
# Sequential, extended and lossless JPEG, and JPEG-LS. No syntax of DICOM is progressive any more.
_START_OF_FRAME = (0xC0, 0xC1, 0xC3, 0xF7)
_OTHER_FRAMES = (0xC2, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
# Tables, comments and parameters; all of them have a length.
_OTHER_SEGMENTS = (0xC4, 0xCC, *range(0xDB, 0xF0), 0xF8, 0xFE)

Size = tuple[int, int, int]


def check_frame(frame: bytes, syntax: str, form: PixelForm) -> None:
    """Refuses a compressed frame of another size than the header states.

    Args:
        frame: the bytes that the codec gets.
        syntax: UID of an encapsulated transfer syntax.
        form: of the pixels.

    Raises:
        Flaw: it has another size, or none.
        struct.error: it is cut off.
    """
    if len(frame) > 2 * form.frame_values * form.allocated // 8 + FRAME_HEADER_BYTES:
        raise Flaw("has a compressed frame that is larger than its pixels")
    # RLE states no size: pydicom takes that of the header.
    if syntax == RLE:
        return
    size = _jpeg_2000_size(frame) if syntax.startswith(JPEG_2000) else _jpeg_size(frame)
    if size != (form.rows, form.columns, form.samples):
        raise Flaw("has pixels of another size than its header states")


def _jpeg_2000_size(frame: bytes) -> Size:
    """Returns rows, columns and components of a codestream.

    DICOM has codestreams without the boxes of a JP2 file (PS3.5, A.4.4).
    """
    if not frame.startswith(_SOC_SIZ):
        raise Flaw("has a frame that is no JPEG 2000 codestream")
    # After the markers: Lsiz and Rsiz (2 bytes each), the image, the tiles, and Csiz.
    right, bottom, left, top, width, height, x, y, samples = struct.unpack_from(">8IH", frame, 8)
    if not width or not height or -(-(right - x) // width) * -(-(bottom - y) // height) > MAX_TILES:
        raise Flaw("has a frame with too many tiles")
    return (bottom - top, right - left, samples)


def _jpeg_size(frame: bytes) -> Size:
    """Returns rows, columns and components of a JPEG or JPEG-LS frame."""
    if not frame.startswith(_SOI):
        raise Flaw("has a frame that is no JPEG")
    size: Size | None = None
    place = len(_SOI)
    while True:
        (prefix, marker, length) = struct.unpack_from(">BBH", frame, place)
        if prefix == marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == _START_OF_SCAN and size is not None:
            return size
        # Codecs differ in what they do with garbage and with a second size.
        if prefix != 0xFF or length < 2 or marker in _OTHER_FRAMES:
            raise Flaw("has a frame that is no JPEG")
        if marker in _START_OF_FRAME and size is None:
            size = struct.unpack_from(">HHB", frame, place + 5)
        elif marker not in _OTHER_SEGMENTS:
            raise Flaw("has a frame that is no JPEG")
        place += 2 + length
