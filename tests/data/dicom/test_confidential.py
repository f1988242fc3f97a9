"""Attributes that the confidentiality profile removes are named, and no value of them."""

from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from securefl.data.dicom.confidential import KEYWORDS, Found, confidential, in_words
from securefl.data.dicom.files import Flaw, content
from tests.data.dicom.files import dicom, save
from tests.data.dicom.test_pixels import shipped


def test_every_listed_attribute_is_one_of_dicom() -> None:
    names = [name for names in KEYWORDS.values() for name in names]
    assert len(set(names)) == len(names)
    assert not [name for name in names if tag_for_keyword(name) is None]


def test_attributes_are_named_by_kind_known_answer(tmp_path: Path) -> None:
    found = dicom(
        tmp_path / "a",
        PatientName="Muster^Anna",
        PatientBirthDate="19500101",
        StudyTime="120000",
        DeviceSerialNumber="77",
        InstitutionName="Inselspital",
        ImageComments="Anna",
        PatientAge="070Y",
        SliceThickness=3,
        FrameOfReferenceUID="1.2.9",
    )
    block = found.private_block(0x11, "vendor", create=True)
    block.add_new(1, "SQ", Sequence([Dataset()]))
    block[1].value[0].PatientName = "within"
    item = Dataset()
    item.AccessionNumber, item.ReferencedSOPClassUID = "5", found.SOPClassUID
    found.ReferencedStudySequence = Sequence([item])
    found.add_new(0x60003000, "OW", b"\0\0")
    save(found, tmp_path / "a")
    names = confidential(content(tmp_path / "a"))
    assert names == {
        ("names", "PatientName"),
        ("dates", "PatientBirthDate"),
        ("dates", "StudyTime"),
        ("devices", "DeviceSerialNumber"),
        ("institutions", "InstitutionName"),
        ("free text", "ImageComments"),
        ("patient", "PatientAge"),
        ("identifiers", "PatientID"),
        ("identifiers", "AccessionNumber"),
        ("UIDs", "SOPInstanceUID"),
        ("UIDs", "MediaStorageSOPInstanceUID"),
        ("UIDs", "StudyInstanceUID"),
        ("UIDs", "SeriesInstanceUID"),
        ("UIDs", "FrameOfReferenceUID"),
        ("private", "(0011,...)"),
        ("overlays", "(6000,3000)"),
    }


def test_file_meta_and_preamble_can_tell_who_wrote_a_file(tmp_path: Path) -> None:
    found = dicom(tmp_path / "a")
    plain = confidential(content(tmp_path / "a"))
    found.file_meta.SourceApplicationEntityTitle = "INSELSPITAL"
    found.file_meta.PrivateInformationCreatorUID = "1.2.3.4"
    found.file_meta.PrivateInformation = b"Anna"
    found.preamble = b"Muster^Anna".ljust(128, b"\0")
    save(found, tmp_path / "a")
    assert confidential(content(tmp_path / "a")) - plain == {
        ("devices", "SourceApplicationEntityTitle"),
        ("UIDs", "PrivateInformationCreatorUID"),
        ("private", "PrivateInformation"),
        ("preamble", "not zero"),
    }


def test_a_real_file_shows_its_kinds() -> None:
    names = confidential(content(shipped("CT_small.dcm")))
    kinds = {kind for kind, _ in names}
    assert kinds >= {"names", "dates", "UIDs", "private", "institutions", "devices", "patient"}
    found = pydicom.dcmread(shipped("CT_small.dcm"))
    persons = {element.keyword for element in found if element.VR == "PN"}
    assert persons == {name for kind, name in names if kind == "names"}


def test_numbers_of_files_are_in_words() -> None:
    found = Found({("names", "PatientName"): 3, ("dates", "StudyDate"): 1, ("dates", "ADate"): 2})
    assert [*in_words(found, 4)] == [
        "dates in 4 files: ADate in 2, StudyDate in 1",
        "names in 4 files: PatientName in 3",
    ]


def test_what_is_no_dicom_file_shows_nothing() -> None:
    with pytest.raises(Flaw, match="is no DICOM file"):
        confidential(b"Anna Muster")
