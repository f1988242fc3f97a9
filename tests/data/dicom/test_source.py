"""The source of DICOM records: sites, patients as groups, splits, digests, claims."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from securefl.data.dicom.progress import watched
from securefl.data.dicom.source import group_of
from securefl.data.own.split import federated
from securefl.errors import DataError
from securefl.scenario.own_data import _stamp
from tests.data.dicom.files import KEY, dicom, labels, source, volume

SITES = ["bern", "chur"]
BY_PATIENT: dict[str, Any] = {"by": "patient", "series": "all", "sites": SITES}
SPLIT = {"split": "split", "splits": ["train", "test"]}


def patients(root: Path, count: int = 12) -> dict[str, object]:
    """Writes one image of each patient at each of two sites, and returns their labels."""
    for index in range(count):
        for site in SITES:
            uid = f"1.{SITES.index(site) + 1}.{index}"
            path = root / "sites" / site / f"{index:02}.dcm"
            dicom(path, index, series=uid, study=uid, patient=f"P{index}")
    return {f"P{index}": index % 2 for index in range(count)}


def test_patients_are_on_one_side_of_a_split_at_whatever_site(tmp_path: Path) -> None:
    opened = source(tmp_path, patients(tmp_path), **BY_PATIENT)
    data = federated(
        opened.read(claim=False),
        partition="natural",
        split_seed=1,
        test_share=0.3,
        test_on=None,
        fold=None,
        claim=False,
    )
    sides = []
    for site in data.sites:
        assert site.test is not None
        parts = (site.train, site.test)
        sides.append([set(part.features[:, 0, 0, 0].tolist()) for part in parts])
    assert [site.name for site in data.sites] == SITES
    assert sides[0] == sides[1]
    train, test = sides[0]
    assert train | test == set(range(12))
    assert train
    assert test
    assert not train & test


def test_groups_are_keyed_and_say_nothing_of_the_patient(tmp_path: Path) -> None:
    patients(tmp_path)
    groups = source(tmp_path, patients(tmp_path), **BY_PATIENT).read(claim=False).train.groups
    assert groups is not None
    assert set(groups) == {group_of(KEY, f"P{index}") for index in range(12)}
    assert group_of(bytes(32), "P1") != group_of(KEY, "P1")
    # HMAC-SHA256 by OpenSSL: printf 'securefl patient 1\0P1' | openssl dgst -sha256 -mac hmac ...
    assert group_of(KEY, "P1") == b"f77b751028eeb84d9e7b63f68e8c7c8b"


def test_the_digest_depends_on_content_labels_schema_and_key_and_not_on_paths(
    tmp_path: Path,
) -> None:
    lines = patients(tmp_path, 3)
    digest = source(tmp_path, lines, **BY_PATIENT).digest(KEY)
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "sites", moved / "sites")
    (moved / "sites/bern/00.dcm").rename(moved / "sites/bern/zz")
    assert source(moved, lines, **BY_PATIENT).digest(KEY) == digest
    others = [
        source(moved, lines, **BY_PATIENT).digest(bytes(32)),
        source(moved, {**lines, "P0": 1}, **BY_PATIENT).digest(KEY),
        source(moved, lines, **{**BY_PATIENT, "size": [1, 1]}).digest(KEY),
    ]
    # The same file at another site.
    shutil.move(moved / "sites/bern/zz", moved / "sites/chur/zz")
    others.append(source(moved, lines, **BY_PATIENT).digest(KEY))
    dicom(moved / "sites/bern/00.dcm", 99)
    others.append(source(moved, lines, **BY_PATIENT).digest(KEY))
    assert len({digest, *others}) == len(others) + 1


def test_the_labels_may_say_who_judges(tmp_path: Path) -> None:
    lines = patients(tmp_path, 4)
    split = {key: f"{label},{'test' if key == 'P0' else 'train'}" for key, label in lines.items()}
    opened = source(tmp_path, split, **BY_PATIENT, **SPLIT)
    assert opened.has_test
    records = opened.read(claim=False)
    assert records.test is not None
    assert (len(records.train.examples), len(records.test.examples)) == (6, 2)
    assert sorted(set(records.test.examples.features.flatten().tolist())) == [0]
    assert not source(tmp_path, lines, **BY_PATIENT).has_test


def test_a_patient_in_train_and_test_is_refused_without_a_name(tmp_path: Path) -> None:
    for uid in ("1.2.3", "1.2.4"):
        dicom(tmp_path / "sites/bern" / uid, series=uid)
    opened = source(tmp_path, {"1.2.3": "0,train", "1.2.4": "1,test"}, **SPLIT)
    options: dict[str, Any] = {"partition": "natural", "split_seed": 0, "test_share": None}
    options |= {"test_on": None, "fold": None}
    with pytest.raises(DataError, match="has training records and records that judge") as refusal:
        federated(opened.read(claim=False), claim=False, **options)
    assert "P1" not in str(refusal.value)
    assert group_of(KEY, "P1").decode() in str(refusal.value)


def test_a_record_more_changes_no_other_one_under_a_claim(tmp_path: Path) -> None:
    lines = patients(tmp_path, 3)
    before = source(tmp_path, lines, **BY_PATIENT).read(claim=True).train
    dicom(tmp_path / "sites/bern/aa", 77, series="1.0", study="1.9", patient="P9", BitsStored=99)
    dicom(tmp_path / "sites/bern/ab", 66, series="1.10", study="1.9", patient="P8")
    (tmp_path / "sites/bern/ac").write_text("no DICOM")
    (tmp_path / "sites/thun").mkdir()
    after = source(tmp_path, {**lines, "P9": 1, "P8": 0}, **BY_PATIENT).read(claim=True).train
    old = after.examples.features[:, 0, 0, 0] != 66
    assert after.examples.features[old].tolist() == before.examples.features.tolist()
    assert after.examples.labels[old].tolist() == before.examples.labels.tolist()
    assert len(after.examples) == len(before.examples) + 1


def test_no_record_is_fine_under_a_claim_only(tmp_path: Path) -> None:
    (tmp_path / "sites/bern").mkdir(parents=True)
    assert len(source(tmp_path).read(claim=True).train.examples) == 0
    with pytest.raises(DataError, match="holds no record with a label"):
        source(tmp_path).read(claim=False)


def test_folders_and_labels_are_looked_at_before_any_file(tmp_path: Path) -> None:
    (tmp_path / "sites/bern").mkdir(parents=True)
    (tmp_path / "sites/bern/broken").write_text("no DICOM")
    source(tmp_path).check_form()
    with pytest.raises(DataError, match="has no folder of site 'chur', which the schema declares"):
        source(tmp_path, sites=SITES).check_form()
    (tmp_path / "sites/chur").symlink_to(tmp_path / "sites/bern")
    with pytest.raises(DataError, match="the folder of site 'chur' is a link"):
        source(tmp_path, sites=SITES).check_form()
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="there is no folder"):
        source(tmp_path / "none").check_form()
    labels(tmp_path, {}, "series,diagnosis")
    opened = source(tmp_path, key="uid")
    labels(tmp_path, {}, "series,diagnosis")
    with pytest.raises(DataError, match="has no column 'uid'"):
        opened.check_form()


def test_what_lies_next_to_the_sites_is_refused_and_not_named(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/a")
    dicom(tmp_path / "sites/Muster^Anna/a")
    with pytest.raises(DataError, match="holds 1 files or folders that are of no declared site"):
        source(tmp_path).read(claim=False)
    assert len(source(tmp_path).read(claim=True).train.examples) == 1


def test_directories_and_hidden_names_are_passed_over(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/a")
    (tmp_path / "sites/bern/.DS_Store").write_text("x")
    index = b"\0" * 128 + b"DICM" + b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"
    (tmp_path / "sites/bern/DICOMDIR").write_bytes(index)
    assert len(source(tmp_path).read(claim=False).train.examples) == 1


def test_an_image_that_mentions_the_class_of_a_directory_is_none(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/a", ReferencedSOPClassUIDInFile="1.2.840.10008.1.3.10")
    assert len(source(tmp_path).read(claim=False).train.examples) == 1


def test_a_path_that_is_too_long_counts_as_a_bad_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom(tmp_path / "sites/bern/a")
    # Longer than the system opens: made folder by folder, as unpacking nested archives does.
    place = os.open(tmp_path / "sites/bern", os.O_RDONLY)
    for _ in range(19):
        os.mkdir("Muster^Anna" * 20, dir_fd=place)
        inner = os.open("Muster^Anna" * 20, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(os.open("slice.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    opened = source(tmp_path)
    with pytest.raises(DataError, match="file 1 of 2: cannot be read: File name too long") as seen:
        opened.read(claim=False)
    assert "Muster" not in str(seen.value)
    assert len(opened.read(claim=True).train.examples) == 1
    assert len(_stamp(tmp_path / "sites")) >= 15
    # Also where the folder seems open, as one may be that is closed a moment later.
    monkeypatch.setattr("securefl.data.dicom.files.os.access", lambda path, mode: True)
    assert len(source(tmp_path).files[0]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_closed_folder_counts_as_a_bad_file(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/a/b")
    (tmp_path / "sites/bern/a").chmod(0)
    with pytest.raises(DataError, match="file 1 of 1: cannot be read: Permission denied"):
        source(tmp_path).read(claim=False)
    (tmp_path / "sites/bern/a").chmod(0o700)


def test_a_folder_that_lies_too_deep_counts_as_a_bad_file(tmp_path: Path) -> None:
    deep = tmp_path / "sites/bern" / "/".join("d" * 33)
    dicom(deep / "a")
    with pytest.raises(DataError, match="file 1 of 1: is no regular file, or a folder"):
        source(tmp_path).read(claim=False)
    assert len(source(tmp_path).read(claim=True).train.examples) == 0
    (deep / "a").rename(deep.parent / "a")
    deep.rmdir()
    assert len(source(tmp_path).read(claim=False).train.examples) == 1


def test_a_pipe_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "sites/bern").mkdir(parents=True)
    os.mkfifo(tmp_path / "sites/bern/pipe")
    with pytest.raises(DataError, match="file 1 of 1: is no regular file"):
        source(tmp_path).read(claim=False)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom(tmp_path / "sites/bern/a")
    monkeypatch.setattr("securefl.data.dicom.files.MAX_FILE_BYTES", 100)
    with pytest.raises(DataError, match=r"file 1 of 1: has \d+ bytes, more than 100"):
        source(tmp_path).read(claim=False)


def test_reading_counts_two_steps_a_file(tmp_path: Path) -> None:
    volume(tmp_path / "sites/bern", [1, 2, 3])
    dicom(tmp_path / "sites/bern/z", 9, series="1.9", study="1.8", patient="P2")
    seen: list[tuple[int, int]] = []
    opened = source(tmp_path, {"1.2.3": 0, "1.9": 1})
    with watched(lambda done, total: seen.append((done, total))):
        opened.read(claim=False)
    assert seen == [(1, 8), (2, 8), (3, 8), (4, 8), (7, 8), (8, 8)]
    opened.read(claim=False)
    assert len(seen) == 6


def test_without_pydicom_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=r"pip install 'securefl\[dicom\]'"):
        source(tmp_path).check_form()


def test_a_file_that_is_cut_off_is_named_by_its_own_number(tmp_path: Path) -> None:
    volume(tmp_path / "sites/bern", (10, 20, 30))
    path = tmp_path / "sites/bern/1.dcm"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"^site 'bern', file 2 of 3: is cut off"):
        source(tmp_path, size=[3, 2, 3]).read(claim=False)
