"""Stored values to brightness: known answers by hand, and pydicom's own functions as oracles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing, pixel_array
from pydicom.sequence import Sequence

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
