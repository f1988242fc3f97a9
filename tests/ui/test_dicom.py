"""DICOM records on the command line: a run, `data check`, its list of files, its previews."""

import base64
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.commands import Done, call, refused, scenario_file
from tests.data.dicom.files import dicom, labels

SCHEMA = """
by = "series"
label = { column = "label", classes = { well = ["0"], ill = ["1"] } }
sites = ["bern", "chur"]
modality = "CT"
size = [8, 8]
window = [0, 255]
"""
# public: with a secret key of its own, each user has another split.
SCENARIO = """
rounds = 2
training = { kind = "sgd" }
model = { name = "logistic" }
data = { name = "dicom", path = "sites", labels = "labels.csv", schema = "ct.toml", test_share = 0.3, public = true }
"""  # noqa: E501


def hospital(root: Path, **elements: Any) -> Path:
    """Writes twelve patients with an image at each of two sites, and a scenario."""
    lines = {}
    for index in range(24):
        site, patient = ("bern", "chur")[index % 2], index // 2
        image = np.full((8, 8), 10 * index, np.uint8)
        uid = f"1.{index}"
        path = root / f"sites/{site}/Muster^Anna/{index:02}.dcm"
        dicom(path, image, series=uid, study=uid, patient=f"Anna{patient}", **elements)
        # A series lies in one folder, and each here is one file.
        lines[uid] = patient % 2
    labels(root, lines)
    (root / "ct.toml").write_text(SCHEMA)
    return scenario_file(root, SCENARIO)


def check(root: Path, *arguments: str) -> Done:
    return call("data", "check", "s.toml", *arguments, cwd=root)


def test_a_run_trains_and_its_folder_holds_no_name(tmp_path: Path) -> None:
    hospital(tmp_path, PatientName="Muster^Anna")
    done = call("run", "s.toml", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    resolved = (tmp_path / "out/resolved.json").read_text()
    assert '"grouped": true' in resolved
    assert re.search('"digest": "[0-9a-f]{32}"', resolved)
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert not re.search(rb"Anna|Muster|1\.23\b", file.read_bytes()), file


def test_a_claim_rests_on_the_schema_alone(tmp_path: Path) -> None:
    hospital(tmp_path)
    (tmp_path / "sites/bern/broken").write_text("Anna")
    claim = SCENARIO.replace("training =", "# ") + "privacy = { epsilon = 8, records = [9, 9] }\n"
    scenario_file(tmp_path, claim)
    done = call("run", "s.toml", "--out", "out", cwd=tmp_path)
    refused(done, 2, 'declare slices = "middle", or a volume')
    assert not (tmp_path / "out").exists()
    (tmp_path / "ct.toml").write_text(SCHEMA + 'slices = "middle"\n')
    done = call("run", "s.toml", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_check_says_what_the_files_hold_known_answer(tmp_path: Path) -> None:
    hospital(tmp_path, PatientName="Muster^Anna")
    done = check(tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "18 training records at 2 sites: images 1 x 8 x 8, 2 classes"
    assert lines[3:] == [
        "12 groups, 0 of them with training records and records that judge",
        "24 DICOM files in 24 series",
        "2 folders with two series or more, told apart by their UIDs",
        "12 PatientIDs at two sites or more: one side of the split has them all here; between "
        "hospitals nobody would know",
        "text in the pixels: 0 files say YES, 0 say NO, 24 say nothing; a flag proves nothing",
        "UIDs in 24 files: MediaStorageSOPInstanceUID in 24, SOPInstanceUID in 24, "
        "SeriesInstanceUID in 24, StudyInstanceUID in 24",
        "identifiers in 24 files: PatientID in 24",
        "names in 24 files: PatientName in 24",
        "securefl writes none of these attributes into a run, removes none of them from the files, "
        "and does not look for text in the pixels: it is no de-identifier",
        "every site can take part",
    ]
    assert "Anna" not in done.stdout


def test_check_names_every_bad_file_by_its_number(tmp_path: Path) -> None:
    hospital(tmp_path)
    (tmp_path / "sites/bern/aa").write_text("Anna")
    (tmp_path / "sites/chur/zz").write_text("Anna")
    done = check(tmp_path)
    assert done.returncode == 1
    faults = [line for line in done.stdout.splitlines() if "is no DICOM file" in line]
    assert [fault.partition(": ")[0] for fault in faults] == [
        "site 'bern', file 13 of 13",
        "site 'chur', file 13 of 13",
    ]
    assert "Anna" not in done.stdout
    run = call("run", "s.toml", "--out", "out", cwd=tmp_path)
    refused(run, 1, "site 'bern', file 13 of 13: is no DICOM file")
    assert not (tmp_path / "out").exists()
    for number in range(30):
        (tmp_path / f"sites/bern/x{number}").write_text("Anna")
    assert "and 12 more" in check(tmp_path).stdout.splitlines()


def test_files_are_listed_with_their_numbers_and_odd_signs_escaped(tmp_path: Path) -> None:
    hospital(tmp_path)
    (tmp_path / "sites/bern/\x1b[31m").write_text("x")
    lines = check(tmp_path, "--files").stdout.splitlines()
    assert len(lines) == 25
    assert lines[0] == f"site 'bern', file 1 of 13: '{tmp_path}/sites/bern/\\x1b[31m'"
    assert lines[13].startswith("site 'chur', file 1 of 12: ")
    assert lines[13].endswith("sites/chur/Muster^Anna/01.dcm")
    refused(check(tmp_path, "--files", "--display", "json"), 2, "--files only lists")


def pictures(path: Path) -> list[Any]:
    """Returns the pictures in an SVG."""
    parts = re.findall(r'base64,([^"]+)"', path.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(part)))) for part in parts]


def test_previews_need_every_flag_or_somebody_who_looked(tmp_path: Path) -> None:
    hospital(tmp_path)
    preview = ("--preview", "p.svg")
    refused(check(tmp_path, *preview), 1, "24 files without BurnedInAnnotation: nobody knows")
    assert not (tmp_path / "p.svg").exists()
    done = check(tmp_path, *preview, "--i-looked")
    assert done.stdout.splitlines()[-1] == "wrote p.svg with 16 records; it shows patients"
    drawn = pictures(tmp_path / "p.svg")
    assert len(drawn) == 16
    assert all(picture.shape == (8, 8) for picture in drawn)
    assert {int(picture[0, 0]) for picture in drawn} <= set(range(0, 240, 10))
    assert (tmp_path / "p.svg").stat().st_mode & 0o077 == 0
    refused(check(tmp_path, "--i-looked"), 2, "--i-looked has no effect without --preview")
    refused(check(tmp_path, "--preview", "p.png", "--i-looked"), 2, "a file that ends in .svg")


@pytest.mark.parametrize("word", ["YES", "MAYBE"])
def test_text_in_one_image_refuses_every_preview(tmp_path: Path, word: str) -> None:
    hospital(tmp_path, BurnedInAnnotation="NO")
    dicom(
        tmp_path / "sites/bern/Muster^Anna/00.dcm",
        np.zeros((8, 8), np.uint8),
        series="1.0",
        study="1.0",
        patient="Anna0",
        BurnedInAnnotation=word,
    )
    done = check(tmp_path, "--preview", "p.svg", "--i-looked")
    refused(done, 1, "1 file with BurnedInAnnotation = YES, or a word that is not known")
    assert not (tmp_path / "p.svg").exists()


def test_flags_that_say_no_are_enough(tmp_path: Path) -> None:
    hospital(tmp_path, BurnedInAnnotation="NO")
    assert check(tmp_path, "--preview", "p.svg").returncode == 0
    assert (tmp_path / "p.svg").exists()


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"labels": None}, 2, "data.labels: dicom needs it"),
        ({"schema": None}, 2, "data.schema: dicom needs it"),
        ({"path": None}, 2, "data.path: dicom needs it"),
        ({"sites": ["bern"]}, 2, "data.sites has no effect with dicom; remove it"),
        ({"labels": "none.csv"}, 1, "data.labels: cannot read"),
        ({"path": "none"}, 1, "there is no folder"),
    ],
    ids=str,
)
def test_keys_that_are_missing_or_wrong_are_refused(
    tmp_path: Path, changes: dict[str, Any], code: int, sentence: str
) -> None:
    hospital(tmp_path)
    table = {"path": "sites", "labels": "labels.csv", "schema": "ct.toml", **changes}
    values = [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
    data = f'data = {{ name = "dicom", test_share = 0.3, {", ".join(values)} }}\n'
    scenario_file(tmp_path, SCENARIO.partition("data =")[0] + data)
    refused(call("validate", "s.toml", cwd=tmp_path), code, sentence)


def test_labels_have_no_effect_on_other_records(tmp_path: Path) -> None:
    scenario_file(tmp_path, 'data = { name = "heart", labels = "labels.csv" }\n')
    refused(call("validate", "s.toml", cwd=tmp_path), 2, "data.labels")
    scenario_file(tmp_path, 'data = { name = "heart" }\n')
    refused(check(tmp_path, "--files"), 2, "--files and --preview are for data.name = 'dicom'")


def test_dicom_files_do_not_run_between_sites_yet(tmp_path: Path) -> None:
    hospital(tmp_path)
    arguments = ("--address", "localhost:9092", "--out", "fed")
    done = call("coordinate", "init", "s.toml", *arguments, cwd=tmp_path)
    refused(done, 2, "data.name = 'dicom' does not run between sites yet")
    assert not (tmp_path / "fed").exists()


def test_changed_labels_are_read_again(tmp_path: Path) -> None:
    hospital(tmp_path)
    before = check(tmp_path).stdout
    (tmp_path / "labels.csv").write_text(
        (tmp_path / "labels.csv").read_text().replace("1.0,0", "1.0,1")
    )
    os.utime(tmp_path / "labels.csv", (1, 1))
    assert check(tmp_path).stdout != before
