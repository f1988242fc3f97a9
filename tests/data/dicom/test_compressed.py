"""Compressed frames state the size of their header, or reach no codec."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    HTJ2K,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from securefl.data.dicom.compressed import MAX_TILES, check_frame
from securefl.data.dicom.files import Flaw
from securefl.data.dicom.header import PixelForm
from securefl.errors import DataError
from tests.data.dicom.codestreams import codestream, frame_of, jpeg, segment
from tests.data.dicom.files import dicom, first, save, source

FORM = PixelForm(2, 3, 1, 1, "MONOCHROME2", 8, 8, 7, signed=False)
COMMENT = segment(0xFE, b"Anna \xff\xc0\0\x0b\x08" + b"\x75\x30" * 2)

GOOD = [
    (JPEG2000Lossless, codestream(3, 2)),
    (JPEG2000Lossless, codestream(3, 2, origin=(5, 7))),
    (JPEG2000Lossless, codestream(3, 2, tile=(1, 1))),
    (HTJ2K, codestream(3, 2)),
    (JPEGBaseline8Bit, jpeg(frame_of(2, 3))),
    (JPEGBaseline8Bit, jpeg(COMMENT, b"\xff\xff" + frame_of(2, 3))),
    (JPEGLSLossless, jpeg(frame_of(2, 3, marker=0xF7))),
    (RLELossless, b"Anna"),
]
ANOTHER = "another size than its header states"
NO_JPEG = "is no JPEG"
BAD = [
    (JPEG2000Lossless, codestream(2, 3), ANOTHER),
    (JPEG2000Lossless, codestream(3, 2, samples=3), ANOTHER),
    (HTJ2K, codestream(30_000, 30_000), ANOTHER),
    (JPEG2000Lossless, b"\0" + codestream(3, 2), "is no JPEG 2000 codestream"),
    (JPEG2000Lossless, codestream(3, 2, tile=(0, 1)), "too many tiles"),
    (JPEGBaseline8Bit, jpeg(frame_of(3, 2)), ANOTHER),
    (JPEGBaseline8Bit, jpeg(frame_of(2, 3, samples=3)), ANOTHER),
    (JPEGLSLossless, jpeg(frame_of(30_000, 30_000, marker=0xF7)), ANOTHER),
    # A second size, a progressive frame, none, garbage between segments, and no segment.
    (JPEGBaseline8Bit, jpeg(frame_of(2, 3), frame_of(30_000, 30_000)), NO_JPEG),
    (JPEGBaseline8Bit, jpeg(frame_of(2, 3, marker=0xC2)), NO_JPEG),
    (JPEGBaseline8Bit, jpeg(), NO_JPEG),
    (JPEGBaseline8Bit, jpeg(b"\0", frame_of(2, 3)), NO_JPEG),
    (JPEGBaseline8Bit, jpeg(b"\xff\xd9\0\2", frame_of(2, 3)), NO_JPEG),
    (JPEGBaseline8Bit, jpeg(b"\xff\xfe\0\1", frame_of(2, 3)), NO_JPEG),
    (JPEGBaseline8Bit, codestream(3, 2), NO_JPEG),
    (RLELossless, b"\0" * (2**16 + 13), "larger than its pixels"),
]


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_a_frame_of_the_stated_size_passes(place: int) -> None:
    syntax, frame = GOOD[place]
    check_frame(frame, syntax, FORM)


@pytest.mark.parametrize("place", range(len(BAD)))
def test_a_frame_of_another_size_reaches_no_codec(place: int) -> None:
    syntax, frame, sentence = BAD[place]
    with pytest.raises(Flaw, match=sentence):
        check_frame(frame, syntax, FORM)


def test_tiles_are_counted() -> None:
    form = PixelForm(MAX_TILES + 1, 1, 1, 1, "MONOCHROME2", 8, 8, 7, signed=False)
    check_frame(codestream(1, MAX_TILES + 1, tile=(1, 2)), JPEG2000Lossless, form)
    for width in (1, 2):
        with pytest.raises(Flaw, match="too many tiles"):
            check_frame(codestream(1, MAX_TILES + 1, tile=(width, 1)), JPEG2000Lossless, form)
    form = PixelForm(MAX_TILES, 1, 1, 1, "MONOCHROME2", 8, 8, 7, signed=False)
    check_frame(codestream(1, MAX_TILES, tile=(1, 1)), JPEG2000Lossless, form)


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3), 90, np.uint8)).save(file, kind, **options)
    return file.getvalue()


def stored(path: Path, syntax: str, frame: bytes) -> None:
    found = dicom(path)
    found.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    save(found, path, syntax)


def test_the_files_of_an_encoder_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sites/bern/a"
    stored(path, JPEG2000Lossless, encoded("JPEG2000", no_jp2=True))
    assert first(tmp_path).flatten().tolist() == [90] * 6
    stored(path, JPEGBaseline8Bit, encoded("JPEG"))
    assert np.abs(first(tmp_path).astype(int) - 90).max() <= 2


def test_a_jp2_file_is_no_codestream(tmp_path: Path) -> None:
    # Its boxes could show one size to us and another to the codec.
    stored(tmp_path / "sites/bern/a", JPEG2000Lossless, encoded("JPEG2000", no_jp2=False))
    with pytest.raises(DataError, match="has a frame that is no JPEG 2000 codestream"):
        source(tmp_path).read(claim=False)


def test_the_frame_that_is_checked_is_the_one_that_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "sites/bern/a"
    found = dicom(path)
    good = encoded("JPEG2000", no_jp2=True)
    good += b"\0" * (len(good) % 2)
    large = codestream(30_000, 30_000)
    large += b"\0" * (len(large) % 2)
    # The first fragment is good; the extended table leads to the second one.
    data, offsets, lengths = encapsulate_extended([good, large])
    found.PixelData, found.NumberOfFrames = data, 1
    found.ExtendedOffsetTable, found.ExtendedOffsetTableLengths = offsets[8:], lengths[8:]
    save(found, path, JPEG2000Lossless)
    assert pydicom.dcmread(path).ExtendedOffsetTable == offsets[8:]
    with pytest.raises(DataError, match="another size than its header states"):
        source(tmp_path).read(claim=False)
