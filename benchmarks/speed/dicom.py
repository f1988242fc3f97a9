"""Reading DICOM files: CPU seconds, and the growth of peak memory next to the records' bytes.

    OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.speed.dicom --files 1000

The files are uncompressed CT slices of 512 x 512 pixels with 16 bits, one series a patient, at two
sites, and become images of 224 x 224. They are made in a temporary folder. Each reading has a fresh
process, which reads two files before it counts, so that the libraries are loaded. Medians of three.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.speed.own_tables import memory_bytes
from securefl.data.dicom.schema import DicomSchema
from securefl.data.dicom.source import DicomSource

REPEATS = 3
WARM_UP_FILES = 2
PIXELS = 512
SIDE = 224
SITES = ("north", "south")
MEGABYTE = 1_000_000
SCHEMA = DicomSchema.model_validate(
    {
        "by": "patient",
        "label": {"column": "ill", "classes": [[0], [1]]},
        "sites": SITES,
        "modality": "CT",
        "size": [SIDE, SIDE],
        "window": [-160, 240],
    }
)


class Reading(NamedTuple):
    """One reading: CPU seconds, growth of the peak in bytes, and bytes of the records."""

    seconds: float
    growth: int
    records: int


def write(folder: Path, files: int) -> None:
    """Writes the files and their labels."""
    rng = np.random.default_rng(0)
    lines = ["patient,ill"]
    for index in range(files):
        found = Dataset()
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.SOPClassUID = CTImageStorage
        found.SOPInstanceUID = f"1.2.3.{index}"
        found.StudyInstanceUID, found.SeriesInstanceUID = f"1.2.4.{index}", f"1.2.5.{index}"
        found.PatientID, found.Modality = f"P{index}", "CT"
        found.ImagePositionPatient, found.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        found.PixelSpacing = [0.7, 0.7]
        found.RescaleSlope, found.RescaleIntercept = 1, -1024
        found.Rows = found.Columns = PIXELS
        found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
        found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
        found.PixelRepresentation, found.PixelPaddingValue = 0, 0
        found.PixelData = rng.integers(0, 4096, (PIXELS, PIXELS), dtype=np.uint16).tobytes()
        path = folder / SITES[index % len(SITES)] / f"{index}.dcm"
        path.parent.mkdir(exist_ok=True)
        found.save_as(path, enforce_file_format=True)
        lines.append(f"P{index},{index % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))


def read(folder: Path) -> Reading:
    """Reads the records in this process."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), WARM_UP_FILES)
        _source(Path(name)).read(claim=False)
    source = _source(folder)
    before = memory_bytes("VmRSS")
    start = time.process_time()
    features = source.read(claim=False).train.examples.features
    seconds = time.process_time() - start
    return Reading(seconds, memory_bytes("VmHWM") - before, features.numel())


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), options.files)
        command = [sys.executable, "-m", "benchmarks.speed.dicom", "--read", name]
        readings = []
        for _ in range(REPEATS):
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            readings.append(Reading(*json.loads(done.stdout)))
    seconds = statistics.median(reading.seconds for reading in readings)
    growth = statistics.median(reading.growth for reading in readings)
    print(
        f"{options.files} files: {seconds:.2f} CPU seconds; the peak grows by "
        f"{growth / MEGABYTE:.0f} MB, of which {readings[0].records / MEGABYTE:.0f} MB are records"
    )


def _source(folder: Path) -> DicomSource:
    return DicomSource(folder, folder / "labels.csv", SCHEMA, key=lambda: bytes(32))


if __name__ == "__main__":
    main()
