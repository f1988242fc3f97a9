"""Stored values to brightness: known answers by hand, and pydicom's own functions as oracles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing, pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from securefl.data.dicom.files import Flaw
from securefl.data.dicom.header import pixel_form
from securefl.data.dicom.values import greys, stored_values, window_of
from securefl.errors import DataError
from tests.data.dicom.files import dicom, first, save, source, store

ROW = [[0, 64, 128, 255]]


def read(root: Path, pixels: Any, dtype: Any = np.int16, **elements: Any) -> list[int]:
    """Returns the record of one row of four pixels, in the window of 0 to 255."""
    changes = {key: elements.pop(key) for key in ("window",) if key in elements}
    dicom(root / "sites/bern/a", np.array(pixels, dtype), **elements)
    values: list[int] = first(root, size=[1, 4], **changes)[0].tolist()
    return values


def lut(values: Any, first_value: int, bits: int = 16) -> Sequence:
    item = Dataset()
    item.add_new(
        "LUTDescriptor", "SS" if first_value < 0 else "US", [len(values), first_value, bits]
    )
    item.add_new("LUTData", "US", list(values))
    return Sequence([item])


def test_a_slope_and_an_intercept_come_before_the_window(tmp_path: Path) -> None:
    # 2 x - 100 = -100, 0, 100, 410; the window of 0 to 255 clips both ends.
    stored = [[0, 50, 100, 255]]
    assert read(tmp_path, stored, RescaleSlope=2, RescaleIntercept=-100) == [0, 0, 100, 255]


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    for place, slope in enumerate([1, 2, 3]):
        path = tmp_path / f"sites/bern/{place}"
        dicom(path, 50, position=(0, 0, place), RescaleSlope=slope, RescaleIntercept=place)
    assert first(tmp_path, size=[3, 2, 3])[:, 1, 1].tolist() == [50, 101, 152]


def test_the_declared_window_becomes_0_to_255(tmp_path: Path) -> None:
    # (x + 160) / 400 of 255: -200 -> 0, -160 -> 0, 40 -> 127.5, 240 -> 255. rint halves to even.
    assert read(tmp_path, [[-200, -160, 40, 300]], window=[-160, 240]) == [0, 0, 128, 255]


def test_twelve_signed_bits_are_read_with_their_sign_and_without_the_others() -> None:
    # By hand: 0xF801 has the low 12 bits 0x801 = 2049 - 4096 = -2047; 0x17FF has 0x7FF = 2047.
    raw = np.array([[0xF801, 0x17FF, 0x0FFF, 0x5000]], np.uint16)
    found = Dataset()
    store(found, raw)
    found.BitsStored, found.HighBit, found.PixelRepresentation = 12, 11, 1
    assert stored_values(raw, pixel_form(found)).tolist() == [[-2047, 2047, -1, 0]]
    found.PixelRepresentation = 0
    assert stored_values(raw, pixel_form(found)).tolist() == [[0x801, 0x7FF, 0xFFF, 0]]
    # Twelve bits at the upper end of the cell.
    found.HighBit = 15
    assert stored_values(raw, pixel_form(found)).tolist() == [[0xF80, 0x17F, 0x0FF, 0x500]]
    found.PixelRepresentation = 1
    assert stored_values(raw, pixel_form(found)).tolist() == [[-0x80, 0x17F, 0x0FF, 0x500]]
    # Eight bits in the middle: 0x80, 0x7F, 0xFF and 0x00.
    found.BitsStored, found.HighBit = 8, 11
    assert stored_values(raw, pixel_form(found)).tolist() == [[-128, 127, -1, 0]]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("dtype", "stored"), [(np.uint8, 8), (np.uint16, 12), (np.uint32, 20)])
def test_stored_values_are_those_of_pydicom(
    tmp_path: Path, dtype: Any, stored: int, signed: int
) -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, np.iinfo(dtype).max, (4, 6), dtype=dtype, endpoint=True)
    found = dicom(
        tmp_path / "a", raw, BitsStored=stored, HighBit=stored - 1, PixelRepresentation=signed
    )
    assert stored_values(raw, pixel_form(found)).tolist() == pixel_array(found).tolist()


def test_padding_is_the_lowest_brightness(tmp_path: Path) -> None:
    stored = [[-2000, -100, 100, 200]]
    more: dict[str, Any] = {"PixelPaddingValue": 200}
    assert read(tmp_path, stored, window=[-100, 200], **more) == [0, 0, 170, 0]
    more |= {"PixelPaddingRangeLimit": 50}
    assert read(tmp_path, stored, window=[-100, 200], **more) == [0, 0, 0, 0]
    # A range from the lower end; and turned images, whose padding would be the brightest.
    more = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -100}
    more["PhotometricInterpretation"] = "MONOCHROME1"
    assert read(tmp_path, stored, window=[-100, 200], **more) == [0, 0, 85, 0]


def test_padding_written_with_the_wrong_sign_is_understood(tmp_path: Path) -> None:
    found = dicom(tmp_path / "sites/bern/a", np.array([[-2000, 0, 5, 9]], np.int16))
    found.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    save(found, tmp_path / "sites/bern/a")
    # As an image, -2000 would be 1000 / 3009 of 255 = 85.
    assert first(tmp_path, size=[1, 4], window=[-3000, 9])[0].tolist() == [0, 254, 255, 255]


# Stored bits, sign, padding value, its limit -> lowest and highest stored value that are padding.
PADDINGS = [
    # No pixel can have the value, by either sign.
    ((12, 0, 63536, None), None),
    ((12, 0, -2000, None), None),
    ((12, 1, 4000, None), None),
    ((12, 0, 4096, 10), None),
    # It fits by one sign.
    ((16, 0, -2000, None), (63536, 63536)),
    ((12, 1, 63536, None), (-2000, -2000)),
    ((12, 0, 4095, None), (4095, 4095)),
    ((12, 1, -2048, 64512), (-2048, -1024)),
    ((16, 1, 32767, -1024), (-1024, 32767)),
    # The limit lies beyond.
    ((12, 0, 4095, 5000), (4095, 4095)),
    ((12, 0, 4000, 5000), (4000, 4095)),
    ((12, 0, 10, -1), (0, 10)),
    ((12, 0, 0, 63536), (0, 0)),
    ((12, 1, -2000, -3000), (-2048, -2000)),
]


@pytest.mark.parametrize(("stated", "expected"), PADDINGS, ids=str)
def test_padding_is_what_the_bits_in_use_can_hold(stated: Any, expected: Any) -> None:
    bits, signed, value, limit = stated
    found = Dataset()
    store(found, np.zeros((2, 2), np.uint16))
    found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits - 1, signed
    found.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    if limit is not None:
        found.add_new("PixelPaddingRangeLimit", "SS" if limit < 0 else "US", limit)
    assert greys(found, 0, pixel_form(found), (0, 1)).padding == expected


def test_monochrome1_is_turned_after_the_window(tmp_path: Path) -> None:
    turned = {"PhotometricInterpretation": "MONOCHROME1"}
    assert read(tmp_path, ROW, **turned) == [255, 191, 127, 0]


def test_a_modality_lut_goes_before_slope_and_intercept_of_the_window(tmp_path: Path) -> None:
    # Entries for 10, 11 and 12; lower values take the first, higher ones the last.
    table = lut([5, 100, 250], 10)
    assert read(tmp_path, [[0, 10, 11, 99]], ModalityLUTSequence=table) == [5, 5, 100, 250]
    table = lut([5, 100, 250], -1)
    assert read(tmp_path, [[-7, 0, 1, 2]], ModalityLUTSequence=table) == [5, 100, 250, 250]


def test_the_window_of_the_file_counts_only_where_the_schema_says_so(tmp_path: Path) -> None:
    window = {"WindowCenter": [128, 40], "WindowWidth": [256, 400]}
    # PS3.3, C.11.2.1.2: (x - 127.5) / 255 + 0.5 = x / 255.
    assert read(tmp_path, ROW, window="file", **window) == [0, 64, 128, 255]
    window = {"WindowCenter": [64], "WindowWidth": [128]}
    # x / 127.
    assert read(tmp_path, [[0, 1, 64, 99]], window="file", **window) == [0, 2, 129, 199]
    assert read(tmp_path, ROW, **window) == [0, 64, 128, 255]
    exact = {**window, "VOILUTFunction": "LINEAR_EXACT"}
    assert read(tmp_path, ROW, window="file", **exact) == [0, 128, 255, 255]
    sigmoid = {**window, "VOILUTFunction": "SIGMOID"}
    # 1 / (1 + exp(-4 (x - 64) / 128)): 1 / (1 + e^2) = 0.1192 at 0.
    assert read(tmp_path, ROW, window="file", **sigmoid)[:2] == [30, 128]


def test_a_voi_lut_goes_before_the_window_of_the_file(tmp_path: Path) -> None:
    more: dict[str, Any] = {"WindowCenter": 1, "WindowWidth": 1}
    more["VOILUTSequence"] = lut([0, 1023, 511], 10, bits=10)
    assert read(tmp_path, [[0, 11, 12, 99]], window="file", **more) == [0, 255, 127, 127]


def voi_table(first_value: int, vr: str) -> Sequence:
    """Returns a VOI LUT of 2001 entries of 12 bits."""
    table = lut([0], 0)
    table[0].add_new("LUTDescriptor", vr, [2001, first_value, 12])
    table[0].add_new("LUTData", "US", list(range(1000, 3001)))
    return table


@pytest.mark.parametrize(
    ("syntax", "first_value", "vr"),
    [
        (ExplicitVRLittleEndian, -1000, "SS"),
        (ExplicitVRLittleEndian, 2**16 - 1000, "US"),
        (ImplicitVRLittleEndian, 2**16 - 1000, "US"),
    ],
    ids=["signed", "unsigned", "implicit"],
)
def test_a_voi_lut_may_begin_below_0_on_unsigned_pixels(
    tmp_path: Path, syntax: str, first_value: int, vr: str
) -> None:
    stored = np.array([[0, 24, 1024, 4095]], np.uint16)
    elements: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
    found = dicom(tmp_path / "a", stored, RescaleSlope=1, **elements)
    found.VOILUTSequence = voi_table(first_value, vr)
    save(found, tmp_path / "sites/bern/a", syntax)
    # Values -1024, -1000, 0 and 3071: entries 0, 0, 1000 and 2000, which are 1000 + so much.
    expected = [round(255 * entry / 4095) for entry in (1000, 1000, 2000, 3000)]
    assert first(tmp_path, size=[1, 4], window="file")[0].tolist() == expected


def test_a_voi_lut_begins_above_32767_where_no_value_is_negative() -> None:
    found = Dataset()
    stored = np.array([[0, 63536, 64536, 65535]], np.uint16)
    store(found, stored)
    found.VOILUTSequence = voi_table(63536, "US")
    form = pixel_form(found)
    expected = apply_voi_lut(stored, found) / 4095
    assert greys(found, 0, form, None).of(stored) == pytest.approx(expected)
    # The output of a modality LUT is never negative; a falling slope makes it so.
    found.ModalityLUTSequence = lut([0, 63600, 64536, 65535], 0)
    transform = greys(found, 0, form, None)
    assert transform.of(np.array([[0, 1, 2, 3]], np.uint16)) * 4095 == pytest.approx(
        np.array([[1000, 1064, 2000, 2999]])
    )
    del found.ModalityLUTSequence
    found.RescaleSlope, found.RescaleIntercept = -1, 0
    # Entry 0 is for 63536 - 65536 = -2000.
    assert greys(found, 0, form, None).of(np.array([[0, 1000, 2000]], np.uint16)) * 4095 == (
        pytest.approx(np.array([[3000, 2000, 1000]]))
    )


def test_a_negative_first_value_stays_where_no_value_is_negative() -> None:
    found = Dataset()
    stored = np.array([[0, 1, 999, 5000]], np.uint16)
    store(found, stored)
    found.VOILUTSequence = voi_table(-1000, "SS")
    expected = apply_voi_lut(stored.astype(np.int32), found) / 4095
    assert greys(found, 0, pixel_form(found), None).of(stored) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_words_of_a_lut_have_the_byte_order_of_the_file(tmp_path: Path, kind: str) -> None:
    stored = np.array([[0, 1, 2, 3]], np.uint16)
    found = dicom(tmp_path / "a", stored)
    setattr(found, kind, lut([0], 0))
    item = found[kind].value[0]
    item.LUTDescriptor = [4, 0, 16]
    # As words: 0, 85, 170 and 255, each twice.
    item.add_new("LUTData", "OW", np.array([0, 0x55, 0xAA, 0xFF], ">u2").tobytes())
    found.PixelData = stored.astype(">u2").tobytes()
    window: Any = [0, 255]
    if kind == "VOILUTSequence":
        item.LUTDescriptor = [4, 0, 8]
        window = "file"
    save(found, tmp_path / "sites/bern/a", ExplicitVRBigEndian)
    assert first(tmp_path, size=[1, 4], window=window)[0].tolist() == [0, 85, 170, 255]
    item.LUTDescriptor = [8, 0, 8]
    save(found, tmp_path / "sites/bern/a", ExplicitVRBigEndian)
    with pytest.raises(DataError, match="has a LUT of bytes in big endian, which is not read"):
        first(tmp_path, size=[1, 4], window=window)


def test_bytes_of_a_lut_are_read_in_little_endian(tmp_path: Path) -> None:
    found = dicom(tmp_path / "a", np.array([[0, 1, 2, 3]], np.uint16))
    found.ModalityLUTSequence = lut([0], 0)
    item = found.ModalityLUTSequence[0]
    item.LUTDescriptor = [3, 0, 8]
    item.add_new("LUTData", "OW", bytes([7, 99, 255, 0]))
    save(found, tmp_path / "sites/bern/a")
    assert first(tmp_path, size=[1, 4])[0].tolist() == [7, 99, 255, 255]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function: str) -> None:
    found = Dataset()
    store(found, np.arange(256, dtype=np.uint8).reshape(16, 16))
    found.WindowCenter, found.WindowWidth, found.VOILUTFunction = 100, 77.5, function
    values = np.arange(256, dtype=np.float64)
    expected = apply_windowing(values, found) / 255
    assert window_of(100, 77.5, function).of(values) == pytest.approx(expected, abs=1e-9)


def test_transforms_are_those_of_pydicom() -> None:
    rng = np.random.default_rng(0)
    raw: NDArray[Any] = rng.integers(0, 4096, (8, 8)).astype(np.uint16)
    found = Dataset()
    store(found, raw)
    found.RescaleSlope, found.RescaleIntercept = "0.5", "-3"
    found.VOILUTSequence = lut(rng.integers(0, 4096, 900).tolist(), 200, bits=12)
    form = pixel_form(found)
    transform = greys(found, 0, form, None)
    units = apply_modality_lut(raw, found)
    assert transform.modality.of(raw) == pytest.approx(units)
    found.RescaleIntercept = 0
    whole = np.rint(apply_modality_lut(raw, found) * 2).astype(np.uint16)
    expected = apply_voi_lut(whole, found) / 4095
    assert transform.window.of(whole.astype(np.float32)) == pytest.approx(expected)
    found.ModalityLUTSequence = lut(rng.integers(0, 65536, 3000).tolist(), 500)
    table = greys(found, 0, form, (0, 1)).modality
    assert table.of(raw).tolist() == apply_modality_lut(raw, found).tolist()


@pytest.mark.parametrize(
    ("elements", "sentence"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "a window whose width is not above 0"),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, "a window whose width is below 1"),
        ({"WindowCenter": 5}, "has no window of its own"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "X"}, "DICOM does not know"),
        ({"RescaleSlope": 0}, "a rescale slope of 0"),
        ({"RescaleSlope": "1e300"}, "out of bounds"),
        ({"ModalityLUTSequence": lut([1, 2], 0, bits=40)}, "has a damaged LUT"),
    ],
    ids=["width 0", "narrow", "no width", "function", "slope 0", "huge slope", "bits"],
)
def test_damaged_transforms_are_refused(
    tmp_path: Path, elements: dict[str, Any], sentence: str
) -> None:
    dicom(tmp_path / "sites/bern/a", **elements)
    with pytest.raises(DataError, match=sentence):
        source(tmp_path, window="file").read(claim=False)
    assert len(source(tmp_path, window="file").read(claim=True).train.examples) == 0


def test_a_lut_of_another_length_than_it_states_is_damaged() -> None:
    found = Dataset()
    store(found, np.zeros((2, 2), np.uint16))
    table = lut([1, 2, 3], 0)
    table[0].LUTDescriptor = [4, 0, 16]
    found.ModalityLUTSequence = table
    with pytest.raises(Flaw, match="damaged LUT"):
        greys(found, 0, pixel_form(found), (0, 1))
