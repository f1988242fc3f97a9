"""Writes three hospitals' invented CT scans: other spacings, units, compressions and words at each.

    python examples/dicom/make_sites.py FOLDER

FOLDER gets sites/<hospital>/..., labels.csv, ct.toml, words.toml and scenario.toml. The page
docs/medical-data.md goes through them. No patient is behind them: ill patients have a bright disc.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

PATIENTS = 160
SLICES = 2
MILLIMETRES = 96.0  # of a side


class Hospital(NamedTuple):
    """How one hospital's scanner and its doctors differ from others.

    Attributes:
        name: of its folder.
        side: pixels of a side.
        slope: Hounsfield units of one stored number.
        gain: by which its scanner is miscalibrated.
        words: for a well and for an ill patient.
        packed: whether its files are compressed.
    """

    name: str
    side: int
    slope: float
    gain: float
    words: tuple[str, str]
    packed: bool


HOSPITALS = (
    Hospital("bern", 64, 1.0, 1.0, ("gesund", "krank"), packed=False),
    Hospital("geneva", 48, 0.5, 1.4, ("sain", "malade"), packed=True),
    Hospital("chur", 96, 1.0, 0.7, ("Z03.5", "J18.9"), packed=False),
)

SCHEMA = """\
by = "series"
label = { column = "finding", classes = { well = ["well"], ill = ["ill"] } }
site = "hospital"
sites = ["bern", "geneva", "chur"]
modality = "CT"
size = [32, 32]
spacing = [3.0, 3.0]
slices = "middle"
window = [-200, 400]
"""

WORDS = """\
[columns.finding.sites.bern]
terms = { gesund = "well", krank = "ill" }

[columns.finding.sites.geneva]
terms = { sain = "well", malade = "ill" }

[columns.finding.sites.chur]
codes = [{ system = "ICD-10", version = "2019", code = "Z03.5", value = "well" }]
patterns = [{ pattern = 'J1[2-8](\\.\\d)?', value = "ill" }]
"""

SCENARIO = """\
seed = 1
rounds = 12
model = { name = "logistic" }
# An image of 32 x 32 with deviation 1 has the norm 32. A smaller clip would give all records of a
# class the same pull, and nothing would keep the threshold between the classes in its place.
training = { kind = "dp_sgd", batch = 56, epochs = 2, lr = 0.003, clip = 32.0 }
privacy = { epsilon = 8.0, delta = 1e-3, records = [112, 112, 112] }
channel = { kind = "masked" }

[data]
name = "dicom"
path = "sites"
labels = "labels.csv"
schema = "ct.toml"
crosswalk = "words.toml"
harmonise = ["zscore"]
partition = "natural"
test_share = 0.3
"""


def write_sites(folder: Path) -> None:
    """Writes the files of all hospitals, their labels, a schema, a crosswalk and a scenario."""
    draw = np.random.default_rng(0)
    lines = ["series,hospital,finding"]
    for number, hospital in enumerate(HOSPITALS):
        for patient in range(PATIENTS):
            ill = patient % 2
            series = f"2.25.{1000 * (number + 1) + patient}"
            place = folder / "sites" / hospital.name / f"{patient:03}"
            place.mkdir(parents=True)
            write_series(place, series, f"{hospital.name}-{patient}", hospital, ill, draw)
            lines.append(f"{series},{hospital.name},{hospital.words[ill]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "ct.toml").write_text(SCHEMA, encoding="utf-8")
    (folder / "words.toml").write_text(WORDS, encoding="utf-8")
    (folder / "scenario.toml").write_text(SCENARIO, encoding="utf-8")


def write_series(
    place: Path, series: str, patient: str, hospital: Hospital, ill: int, draw: np.random.Generator
) -> None:
    """Writes the slices of one patient, in file names that say nothing about their order."""
    names = draw.permutation(SLICES)
    for slice_number in range(SLICES):
        image = drawn(hospital, ill, draw)
        stored = np.clip(image / hospital.slope + 1024, 0, 4095).astype(np.uint16)
        path = place / f"image{names[slice_number]}"
        write_file(path, stored, series, patient, hospital, 5.0 * slice_number)


def drawn(hospital: Hospital, ill: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Returns (side, side) Hounsfield units: a body, noise, and a disc where a patient is ill."""
    grid = np.linspace(-1, 1, hospital.side)
    distance = np.hypot(grid[:, None], grid[None, :])
    body = np.where(distance < 0.8, 60.0, -150.0)
    x, y = draw.uniform(-0.15, 0.15, 2)
    disc = np.hypot(grid[:, None] - x, grid[None, :] - y) < 0.3
    noise = draw.normal(0, 25, distance.shape)
    return hospital.gain * (body + 90.0 * ill * disc + noise)


def write_file(
    path: Path,
    stored: NDArray[np.uint16],
    series: str,
    patient: str,
    hospital: Hospital,
    height: float,
) -> None:
    """Writes one slice."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{int(height) + 1}"
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    header.SeriesInstanceUID = series
    header.StudyInstanceUID = f"{series}.0"
    header.PatientID = patient
    header.PatientName = "Invented^Person"
    header.Modality = "CT"
    header.BurnedInAnnotation = "NO"
    header.ImagePositionPatient = [0.0, 0.0, height]
    header.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    header.PixelSpacing = [MILLIMETRES / hospital.side] * 2
    header.Rows, header.Columns = stored.shape
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    header.RescaleSlope = hospital.slope
    header.RescaleIntercept = -1024 * hospital.slope
    header.PixelData = stored.tobytes()
    header["PixelData"].VR = "OW"
    if hospital.packed:
        header.compress(RLELossless)
    pydicom.dcmwrite(path, header, enforce_file_format=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    write_sites(arguments.folder)
    print(f"wrote {arguments.folder}: now read docs/medical-data.md")
