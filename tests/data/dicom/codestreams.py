"""The first bytes of compressed frames, by hand."""

import struct


def codestream(
    columns: int,
    rows: int,
    samples: int = 1,
    tile: tuple[int, int] = (1024, 1024),
    origin: tuple[int, int] = (0, 0),
) -> bytes:
    """Returns the markers SOC and SIZ of JPEG 2000 (ISO/IEC 15444-1, A.5.1)."""
    left, top = origin
    sizes = struct.pack(">4I", left + columns, top + rows, left, top)
    tiles = struct.pack(">4I", *tile, 0, 0)
    components = struct.pack(">H", samples) + b"\7\1\1" * samples
    length = struct.pack(">HH", 38 + 3 * samples, 0)
    return b"\xff\x4f\xff\x51" + length + sizes + tiles + components


def segment(marker: int, body: bytes) -> bytes:
    """Returns a segment of JPEG (ISO/IEC 10918-1, B.1.1.4)."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def jpeg(*segments: bytes) -> bytes:
    """Returns a JPEG with some segments and the start of a scan."""
    return b"\xff\xd8" + b"".join(segments) + segment(0xDA, b"\1\1\0\0\x3f\0")


def frame_of(rows: int, columns: int, samples: int = 1, marker: int = 0xC0) -> bytes:
    """Returns the segment with the size of a frame (ISO/IEC 10918-1, B.2.2)."""
    sizes = struct.pack(">BHHB", 8, rows, columns, samples)
    return segment(marker, sizes + b"\1\x11\0" * samples)
