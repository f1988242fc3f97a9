"""Pixels of every kind that pydicom ships, and files that state what they do not hold."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from securefl.data.dicom.files import File, Flaw, content
from securefl.data.dicom.header import read_header
from securefl.data.dicom.pixels import check_kind, read_pixels
from securefl.errors import DataError
from tests.data.dicom.codestreams import codestream
from tests.data.dicom.files import AXIAL, dicom, first, save, source, store

# File of pydicom -> modality, and the interval of its stored values.
GREY_FILES = {
    "CT_small.dcm": "CT",
    "MR_small.dcm": "MR",
    "MR_small_bigendian.dcm": "MR",
    "MR_small_expb.dcm": "MR",
    "MR_small_implicit.dcm": "MR",
    "MR_small_RLE.dcm": "MR",
    "MR_small_jp2klossless.dcm": "MR",
    "MR_small_padded.dcm": "MR",
    "693_J2KI.dcm": "CT",
}
COLOUR_FILES = {
    "SC_rgb_rle_2frame.dcm": "OT",
    "SC_rgb_rle_16bit.dcm": "OT",
    "SC_rgb_small_odd.dcm": "OT",
    "SC_rgb_small_odd_big_endian.dcm": "OT",
    "SC_rgb_jpeg_dcmtk.dcm": "OT",
    "SC_ybr_full_422_uncompressed.dcm": "OT",
    "examples_ybr_color.dcm": "US",
    "examples_palette.dcm": "US",
}


def shipped(name: str) -> Path:
    """Returns a file inside the package pydicom."""
    path = get_testdata_file(name, download=False)
    assert path is not None
    return Path(str(path))


def opened(path: Path, modality: str, window: Any = (-1024.0, 3071.0)) -> Any:
    data = content(path)
    header = read_header(File(0, 1, path), data, modality)
    assert header is not None
    return read_pixels(data, header, window)


@pytest.mark.parametrize("name", GREY_FILES)
def test_grey_files_give_the_values_that_pydicom_gives(name: str) -> None:
    pixels = opened(shipped(name), GREY_FILES[name])
    found = pydicom.dcmread(shipped(name))
    with warnings.catch_warnings(action="ignore"):  # pydicom says that padding bytes follow
        stored = pixel_array(found).astype(np.float64)
    units = stored * float(found.get("RescaleSlope", 1)) + float(found.get("RescaleIntercept", 0))
    expected = np.clip((units + 1024) / 4095, 0, 1)
    padding = found.get("PixelPaddingValue")
    if padding is not None:
        expected[stored == int(padding)] = 0
    assert np.abs(pixels.frame(0)[0] - expected).max() < 1e-6


@pytest.mark.parametrize("name", COLOUR_FILES)
def test_colours_become_rgb(name: str) -> None:
    found = pydicom.dcmread(shipped(name))
    pixels = opened(shipped(name), COLOUR_FILES[name])
    frame = pixels.frame(0)
    assert frame.shape == (3, found.Rows, found.Columns)
    values = pixel_array(found, index=0)
    if found.PhotometricInterpretation == "PALETTE COLOR":
        values = pydicom.pixels.apply_color_lut(values, found)
    expected = values / (2 ** (8 * values.dtype.itemsize) - 1)
    assert np.abs(frame - expected.transpose(2, 0, 1)).max() < 1e-6
    check_kind(pixels.form, "rgb")
    with pytest.raises(Flaw, match="holds colour pixels, and the schema declares colour = 'grey'"):
        check_kind(pixels.form, "grey")


def test_a_jpeg_in_colour_is_red_where_it_was_red() -> None:
    # The first bar of this picture is pure red; JPEG loses little of it.
    frame = opened(shipped("SC_rgb_jpeg_dcmtk.dcm"), "OT").frame(0)
    assert frame[:, 5, 50] == pytest.approx([1, 0, 0], abs=0.02)


def test_rgb_records_have_three_channels(tmp_path: Path) -> None:
    found = pydicom.dcmread(shipped("SC_rgb_small_odd.dcm"))
    found.PatientID, found.Modality = "P1", "US"
    found.SeriesInstanceUID = "1.2.3"
    save(found, tmp_path / "sites/bern/a")
    changes: dict[str, Any] = {
        "modality": "US",
        "colour": "rgb",
        "window": None,
        "size": [found.Rows, 4],
    }
    records = source(tmp_path, **changes).read(claim=False)
    assert records.train.examples.features.shape == (1, 3, found.Rows, 4)
    with pytest.raises(DataError, match="holds colour pixels"):
        source(tmp_path, modality="US").read(claim=False)


def test_grey_pixels_are_no_rgb(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/a")
    with pytest.raises(DataError, match="holds grey pixels, and the schema declares colour = 'rgb"):
        source(tmp_path, colour="rgb", window=None).read(claim=False)


def enhanced(path: Path, frames: np.ndarray[Any, Any], positions: list[float]) -> Dataset:
    """Writes a multi-frame file whose frames have their own position and slope."""
    found = dicom(path, position=None, PixelSpacing=None)
    store(found, frames)
    found.NumberOfFrames = len(frames)
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = AXIAL
    shared.PixelMeasuresSequence = Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [2, 2]
    found.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for index, position in enumerate(positions):
        group = Dataset()
        group.PlanePositionSequence = Sequence([Dataset()])
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, position]
        group.PixelValueTransformationSequence = Sequence([Dataset()])
        group.PixelValueTransformationSequence[0].RescaleSlope = 1
        group.PixelValueTransformationSequence[0].RescaleIntercept = 100 * index
        groups.append(group)
    found.PerFrameFunctionalGroupsSequence = Sequence(groups)
    save(found, path)
    return found


def test_frames_have_their_own_position_and_intercept(tmp_path: Path) -> None:
    frames = np.array([10, 20, 30], np.uint16)[:, None, None] * np.ones((1, 2, 3), np.uint16)
    found = enhanced(tmp_path / "sites/bern/a", frames, [4, 0, 2])
    # By position: the second (20 + 100), the third (30 + 200) and the first (10).
    assert first(tmp_path, size=[3, 2, 3])[:, 0, 0].tolist() == [120, 230, 10]
    # Shared spacing: 2 mm, so that one pixel of two is outside of this field.
    assert first(tmp_path, size=[3, 1, 1], spacing=[2, 2, 2]).shape == (3, 1, 1)
    del found.PerFrameFunctionalGroupsSequence[2]
    save(found, tmp_path / "sites/bern/a")
    with pytest.raises(DataError, match="states 3 frames, and describes 2"):
        first(tmp_path, size=[3, 2, 3])


def test_frames_without_groups_have_no_position(tmp_path: Path) -> None:
    frames = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    dicom(tmp_path / "sites/bern/a", frames, NumberOfFrames=2)
    with pytest.raises(DataError, match="holds slices that do not say where they lie"):
        first(tmp_path, size=[2, 2, 3])
    records = source(tmp_path).read(claim=False)
    assert records.train.examples.features.flatten().tolist() == list(range(12))


def test_multi_frame_rle_is_read_frame_by_frame(tmp_path: Path) -> None:
    frames = np.arange(24, dtype=np.uint16).reshape(4, 2, 3)
    found = dicom(tmp_path / "plain", frames, NumberOfFrames=4)
    found.compress(RLELossless)
    save(found, tmp_path / "sites/bern/a", RLELossless)
    records = source(tmp_path).read(claim=False)
    assert records.train.examples.features.flatten().tolist() == list(range(24))


def not_dicom(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("Anna Muster, 1950")


def cut_pixels(path: Path) -> None:
    dicom(path, np.zeros((40, 40), np.uint16))
    path.write_bytes(path.read_bytes()[:-1000])


def cut_header(path: Path) -> None:
    dicom(path)
    path.write_bytes(path.read_bytes()[:420])


def no_pixels(path: Path) -> None:
    dicom(path, PixelData=None)


def many_frames(path: Path) -> None:
    dicom(path, NumberOfFrames=70_000)


def some_frames(path: Path) -> None:
    dicom(path, NumberOfFrames=8_000)


def huge_sides(path: Path) -> None:
    dicom(path, Rows=65535, Columns=65535)


def large_sides(path: Path) -> None:
    dicom(path, Rows=16384, Columns=16384)


def a_single_bit(path: Path) -> None:
    dicom(path, BitsAllocated=1, BitsStored=1, HighBit=0)


def high_bit_outside(path: Path) -> None:
    dicom(path, HighBit=9)


def oblong_pixels(path: Path) -> None:
    dicom(path, PixelSpacing=[1, 2])


def oblong_by_ratio(path: Path) -> None:
    dicom(path, PixelSpacing=None, PixelAspectRatio=[1, 2])


def no_patient(path: Path) -> None:
    dicom(path, PatientID="")


def bad_orientation(path: Path) -> None:
    dicom(path, orientation=[1, 0, 0, 1, 0, 0])


def bad_spacing(path: Path) -> None:
    dicom(path, PixelSpacing=[0, 0])


def deflated(path: Path) -> None:
    save(dicom(path), path, DeflatedExplicitVRLittleEndian)


def no_syntax(path: Path) -> None:
    dicom(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x12\x00UI"))


def jpeg_ls(path: Path) -> None:
    encapsulated(path, JPEGLSLossless, b"\xff\xd8")


def another_codestream(path: Path) -> None:
    # SOC, SIZ, its length, its capabilities, and 30,000 x 30,000 pixels instead of 3 x 2.
    encapsulated(path, JPEG2000Lossless, codestream(30_000, 30_000))


def no_codestream(path: Path) -> None:
    encapsulated(path, JPEG2000Lossless, b"Anna Muster")


def broken_codestream(path: Path) -> None:
    encapsulated(path, JPEG2000Lossless, codestream(3, 2))


def long_run(path: Path) -> None:
    encapsulated(path, RLELossless, b"\0" * 70_000)


def a_link(path: Path) -> None:
    dicom(path.parents[3] / "elsewhere")
    path.parent.mkdir(parents=True)
    path.symlink_to(path.parents[3] / "elsewhere")


def encapsulated(path: Path, syntax: str, frame: bytes) -> None:
    found = dicom(path)
    found.PixelData = pydicom.encaps.encapsulate([frame + b"\0" * (len(frame) % 2)])
    save(found, path, syntax)


BAD = {
    not_dicom: "is no DICOM file",
    cut_pixels: "is cut off: it states 3200 bytes of pixels and holds|damaged",
    cut_header: "lacks|damaged",
    no_pixels: "holds no pixels",
    many_frames: "states 70000 frames; 1 to 8192 are read",
    some_frames: "is cut off: it states 48000 bytes of pixels and holds 6",
    huge_sides: "states 65535 x 65535 pixels; a side has 1 to 16384",
    large_sides: "states more pixels than are read from one file",
    a_single_bit: "another kind than 8, 16 or 32 allocated bits",
    high_bit_outside: "another kind than 8, 16 or 32 allocated bits",
    oblong_pixels: "has pixels that are no squares; declare spacing",
    oblong_by_ratio: "has pixels that are no squares; declare spacing",
    no_patient: "lacks PatientID",
    bad_orientation: "no pair of orthogonal unit vectors",
    bad_spacing: "a pixel spacing or aspect that is out of bounds",
    deflated: "is deflated, which is not read",
    no_syntax: "states no transfer syntax",
    jpeg_ls: r"is compressed as JPEG-LS Lossless.*no codec is installed: write the files uncompr",
    another_codestream: "has pixels of another size than its header states",
    no_codestream: "has a frame that is no JPEG 2000",
    broken_codestream: "has pixels that cannot be decoded as JPEG 2000",
    long_run: "has a compressed frame that is larger than its pixels",
    a_link: "is a link; put the file itself there",
}


@pytest.mark.parametrize("write", BAD, ids=lambda write: write.__name__)
def test_a_bad_file_is_refused_with_its_place_and_left_out_under_a_claim(
    tmp_path: Path, write: Any
) -> None:
    site = tmp_path / "sites/bern"
    write(site / "Muster^Anna/1950.dcm")
    dicom(site / "a.dcm", 5, series="1.5", study="1.6", patient="P9")
    records = source(tmp_path, {"1.2.3": 1, "1.5": 0})
    with pytest.raises(DataError, match=BAD[write]) as refusal:
        records.read(claim=False)
    sentence = str(refusal.value)
    assert sentence.startswith("site 'bern', file 1 of 2: ")
    assert len(sentence.splitlines()) == 1
    assert not [name for name in ("Muster", "1950", "1.2.3", "P1") if name in sentence]
    train = records.read(claim=True).train.examples
    assert (train.labels.tolist(), sorted(set(train.features.flatten().tolist()))) == ([0], [5])
    records.digest(bytes(32))


def test_oblong_pixels_become_squares_of_the_declared_spacing(tmp_path: Path) -> None:
    # Two columns of 2 mm become four of 1 mm.
    image = np.array([[0, 200], [0, 200]], np.uint8)
    dicom(tmp_path / "sites/bern/a", image, PixelSpacing=[1, 2])
    assert first(tmp_path, size=[2, 4], spacing=[1, 1]).tolist() == [[0, 50, 150, 200]] * 2


def test_jpeg_2000_without_its_codec_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securefl.data.dicom.pixels.is_decodable", lambda syntax: False)
    with pytest.raises(Flaw, match=r"JPEG 2000.*codec is installed: .*'securefl\[dicom\]'"):
        opened(shipped("693_J2KI.dcm"), "CT")


def test_implicit_files_say_the_same(tmp_path: Path) -> None:
    found = dicom(tmp_path / "a", np.array([[-5, 9]], np.int16), PixelPaddingValue=-5)
    save(found, tmp_path / "sites/bern/a", ImplicitVRLittleEndian)
    assert first(tmp_path, size=[1, 2], window=[-10, 10])[0].tolist() == [0, 242]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_the_highest_bit_counts_in_whatever_transfer_syntax(
    tmp_path: Path, high: int, signed: int
) -> None:
    values = np.array([[-2048, -1, 0, 2047]], np.int16) + 2048 * (1 - signed)
    cells = (values.astype(np.uint16) & 0xFFF) << (high - 11)
    form: dict[str, Any] = {"BitsStored": 12, "HighBit": high, "PixelRepresentation": signed}
    plain = dicom(tmp_path / "plain", cells.astype(np.uint16), **form)
    big = dicom(tmp_path / "big", cells.astype(np.uint16), **form)
    big.PixelData = cells.astype(">u2").tobytes()
    save(big, tmp_path / "big", ExplicitVRBigEndian)
    plain.compress(RLELossless)
    save(plain, tmp_path / "short", RLELossless)
    # -2048, -1, 0 and 2047, or 0, 2047, 2048 and 4095.
    window = (float(values.min()), float(values.max()))
    for name in ("big", "short"):
        frame = opened(tmp_path / name, "CT", window).frame(0)[0]
        assert frame * 4095 == pytest.approx(np.array([[0, 2047, 2048, 4095]]))


def test_a_deep_header_hurts_nobody(tmp_path: Path) -> None:
    path = tmp_path / "sites/bern/a"
    dicom(path)
    # Sequences of undefined length, each within an item of the one before.
    opening = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = path.read_bytes()
    start = data.index(b"\x08\x00\x16\x00UI")
    path.write_bytes(data[:start] + opening * 5000 + data[start:])
    with pytest.raises(DataError, match="file 1 of 1: is a damaged DICOM file"):
        source(tmp_path).read(claim=False)
    # An element that states four gigabytes.
    path.write_bytes(data[:start] + b"\x08\x00\x15\x00UN\0\0\xf0\xff\xff\xff" + data[start:])
    with pytest.raises(DataError, match=r"file 1 of 1: "):
        source(tmp_path).read(claim=False)


def test_warnings_of_pydicom_quote_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = dicom(tmp_path / "a")
    data = (tmp_path / "a").read_bytes().replace(b"1.2.3\0", b"Muster")
    (tmp_path / "sites/bern").mkdir(parents=True)
    (tmp_path / "sites/bern/a").write_bytes(data)
    assert found.SeriesInstanceUID == "1.2.3"
    records = source(tmp_path, {"Muster": 1}).read(claim=False)
    assert len(records.train.examples) == 1
    output = capfd.readouterr()
    assert "Muster" not in output.out + output.err
