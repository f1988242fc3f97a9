"""The count of elements goes the way that pydicom goes, and stops before it costs much."""

import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from securefl.data.dicom import elements
from securefl.data.dicom.elements import MAX_ITEMS, Encoding, check_elements
from securefl.data.dicom.files import Flaw
from securefl.data.dicom.reading import _vr_of, dataset, is_directory
from securefl.errors import DataError
from tests.data.dicom.files import dicom, source

IMPLICIT = Encoding(implicit=True, little=True)
EXPLICIT = Encoding(implicit=False, little=True)
BIG = Encoding(implicit=False, little=False)
# StationName and StudyID; ReferencedStudySequence; shared and per-frame functional groups.
TEXTS = (0x00081010, 0x00200010)
EMPTY_SEQUENCE = 0x00081110
SEQUENCES = (0x52009229, 0x52009230)
EMPTY_ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
GROUPS = b"\x00\x52\x30\x92"  # PerFrameFunctionalGroupsSequence
UNDEFINED = b"\xff\xff\xff\xff"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def counted(data: bytes, encoding: Encoding) -> tuple[int, int]:
    count = elements._Count(data, encoding, _vr_of)
    count.walk(0)
    return count._items, count._elements


def counted_by_pydicom(found: Dataset) -> tuple[int, int]:
    """Counts the slow way: every value becomes an object."""
    items = count = 0
    for element in found:
        count += 1
        if element.VR == "SQ" and not element.tag.is_private:
            for item in element.value:
                inner = counted_by_pydicom(item)
                items += 1 + inner[0]
                count += inner[1]
    return items, count


def tree(depth: int) -> st.SearchStrategy[Dataset]:
    """Returns data sets of some elements, with sequences of defined and undefined length."""

    def built(sizes: list[int], inner: list[list[Dataset]], flags: tuple[bool, bool]) -> Dataset:
        found = Dataset()
        found.add_new(EMPTY_SEQUENCE, "SQ", Sequence([]))
        for tag, size in zip(TEXTS, sizes, strict=False):
            found.add_new(tag, "SH", "x" * size)
        for tag, items in zip(SEQUENCES, inner, strict=False):
            found.add_new(tag, "SQ", Sequence(items))
            found[tag].is_undefined_length = flags[0]
            for item in items:
                item.is_undefined_length_sequence_item = flags[1]
        found.add_new(0x7FE00010, "OW", b"\0\0")
        return found

    below = (
        st.just([]) if depth == 0 else st.lists(st.lists(tree(depth - 1), max_size=3), max_size=2)
    )
    return st.builds(
        built,
        st.lists(st.integers(0, 12), max_size=2),
        below,
        st.tuples(st.booleans(), st.booleans()),
    )


@pytest.mark.parametrize("encoding", [IMPLICIT, EXPLICIT, BIG], ids=["implicit", "explicit", "big"])
@settings(max_examples=25, deadline=None)
@given(found=tree(2))
def test_every_item_and_element_of_pydicom_is_counted(encoding: Encoding, found: Dataset) -> None:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = encoding.little, encoding.implicit
    write_dataset(file, found)
    data = file.getvalue()
    read = pydicom.filereader.read_dataset(BytesIO(data), encoding.implicit, encoding.little)
    assert counted(data, encoding) == counted_by_pydicom(read) == counted_by_pydicom(found)


def test_the_lengths_of_32_bits_are_those_of_the_standard() -> None:
    assert set(elements._LONG) == {str(vr.value) for vr in EXPLICIT_VR_LENGTH_32}


def spoiled(path: Path, inserted: bytes, before: bytes = b"\xe0\x7f\x10\x00") -> None:
    """Writes a file with bytes before its pixels, or before another element."""
    dicom(path)
    data = path.read_bytes()
    place = data.index(before)
    path.write_bytes(data[:place] + inserted + data[place:])


def sequence(body: bytes, vr: bytes = b"SQ", tag: bytes = GROUPS) -> bytes:
    return tag + vr + b"\0\0" + struct.pack("<I", len(body)) + body


FEW_ITEMS = 1008
MANY = EMPTY_ITEM * (FEW_ITEMS + 1)
COSTLY = {
    "defined length": sequence(MANY),
    "undefined length": GROUPS + b"SQ\0\0" + UNDEFINED + MANY + SEQUENCE_END,
    "unknown": sequence(MANY, b"UN"),
    "unknown undefined": GROUPS + b"UN\0\0" + UNDEFINED + MANY + SEQUENCE_END,
    "implicit": GROUPS + struct.pack("<I", len(MANY)) + MANY,
    "private undefined": b"\x11\x00\x10\x10SQ\0\0" + UNDEFINED + MANY + SEQUENCE_END,
    "within an item": sequence(
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(MANY) + 12) + sequence(MANY)
    ),
    "implicit within an item": sequence(
        b"\xfe\xff\x00\xe0"
        + struct.pack("<I", len(MANY) + 8)
        + GROUPS
        + struct.pack("<I", len(MANY))
        + MANY
    ),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_items_that_would_cost_memory_are_refused_before_they_do(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elements, "MAX_ITEMS", FEW_ITEMS)
    spoiled(tmp_path / "sites/bern/a", COSTLY[kind])
    with pytest.raises(DataError, match=r"file 1 of 1: has more than 1008 items"):
        source(tmp_path).read(claim=False)
    assert len(source(tmp_path).read(claim=True).train.examples) == 0


@pytest.mark.parametrize("before", [b"\xe0\x7f\x10\x00", b""], ids=["before", "after"])
def test_elements_are_counted_before_the_pixels_and_after_them(
    tmp_path: Path, before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elements, "MAX_ELEMENTS", 1000)
    many = b"\x20\x00\x10\x00SH\0\0" * 1000
    path = tmp_path / "sites/bern/a"
    spoiled(path, many) if before else path.parent.mkdir(parents=True)
    if not before:
        dicom(path)
        path.write_bytes(path.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\0\0\0\0" + many)
    with pytest.raises(DataError, match=r"file 1 of 1: has more than 1000 elements"):
        source(tmp_path).read(claim=False)


def test_numbers_in_text_are_few(tmp_path: Path) -> None:
    text = b"1\\" * 40_000
    # PixelSpacing without a representation has a length of 32 bits.
    spoiled(tmp_path / "sites/bern/a", b"\x28\x00\x30\x00" + struct.pack("<I", len(text)) + text)
    with pytest.raises(DataError, match="has an element of text with more than 65536 bytes"):
        source(tmp_path).read(claim=False)
    # Bytes and private elements may be long.
    long = struct.pack("<I", len(text)) + text
    spoiled(
        tmp_path / "sites/bern/a",
        b"\x11\x00\x10\x10UT\0\0" + long + b"\x00\x60\x00\x30OW\0\0" + long,
    )
    assert len(source(tmp_path).read(claim=False).train.examples) == 1


WRONG = {
    "an item that is none": sequence(b"\x20\x00\x10\x00\0\0\0\0"),
    "an item longer than its sequence": sequence(b"\xfe\xff\x00\xe0\x0a\0\0\0"),
    "an element longer than its item": sequence(
        b"\xfe\xff\x00\xe0\x08\0\0\0" + b"\x20\x00\x10\x00SH\x02\0" + b"ab"
    ),
    "fragments longer than their item": sequence(
        b"\xfe\xff\x00\xe0\x0c\0\0\0" + b"\x20\x00\x10\x00OB\0\0" + UNDEFINED
    )
    + SEQUENCE_END,
    "a command": b"",
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_lies_outside_of_its_container_is_damaged(tmp_path: Path, kind: str) -> None:
    if kind == "a command":
        spoiled(tmp_path / "sites/bern/a", b"\0\0\0\0\0\0\0\0", before=b"\x08\x00\x16\x00UI")
    else:
        spoiled(tmp_path / "sites/bern/a", WRONG[kind])
    with pytest.raises(DataError, match="file 1 of 1: is a damaged DICOM file"):
        source(tmp_path).read(claim=False)


def test_file_meta_are_short(tmp_path: Path) -> None:
    dicom(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    place = data.index(b"\x08\x00\x16\x00UI")
    long = data[:place] + b"\x02\x00\x16\x00AE\x04\0abcd" * 10_000 + data[place:]
    for read in (lambda: dataset(long, pixels=True), lambda: is_directory(long)):
        with pytest.raises(Flaw, match="is a damaged DICOM file"):
            read()
    dataset(data, pixels=True)


def test_the_bounds_themselves_pass() -> None:
    check_elements(sequence(EMPTY_ITEM * MAX_ITEMS), 0, EXPLICIT, _vr_of)
    with pytest.raises(Flaw, match="more than 60000 items"):
        check_elements(sequence(EMPTY_ITEM * (MAX_ITEMS + 1)), 0, EXPLICIT, _vr_of)


@pytest.mark.parametrize("kind", [kind for kind in WRONG if WRONG[kind]])
def test_the_count_itself_refuses_what_lies_outside(kind: str) -> None:
    with pytest.raises(Flaw, match="is a damaged DICOM file"):
        check_elements(WRONG[kind] + b"\x20\x00\x10\x00SH\x02\0ab", 0, EXPLICIT, _vr_of)


def test_a_private_sequence_without_a_representation_is_known_by_its_items() -> None:
    private = b"\x11\x00\x10\x10" + UNDEFINED + EMPTY_ITEM * 3 + SEQUENCE_END
    assert counted(private, IMPLICIT) == (3, 1)


def test_elements_behind_fragments_are_counted() -> None:
    fragments = b"\xe0\x7f\x10\x00OB\0\0" + UNDEFINED + EMPTY_ITEM * 2 + SEQUENCE_END
    assert counted(fragments + b"\xfc\xff\xfc\xffOB\0\0\0\0\0\0", EXPLICIT) == (0, 2)


def test_a_data_set_may_be_explicit_against_its_syntax() -> None:
    assert counted(sequence(EMPTY_ITEM * 3), IMPLICIT) == (3, 1)
