"""Small DICOM files, labels and schemas."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from securefl.data.dicom.schema import DicomSchema
from securefl.data.dicom.source import DicomSource

KEY = bytes(range(32))
AXIAL = [1.0, 0, 0, 0, 1, 0]
# Two classes; a line says "0" or "1".
PLAIN: dict[str, Any] = {
    "by": "series",
    "label": {"column": "label", "classes": [["0"], ["1"]]},
    "sites": ["bern"],
    "modality": "CT",
    "size": [2, 3],
    "window": [0, 255],
}


def dicom(
    path: Path,
    pixels: Any = 7,
    *,
    series: str = "1.2.3",
    patient: str = "P1",
    study: str = "1.2",
    position: Sequence[float] | None = (0, 0, 0),
    orientation: Sequence[float] = AXIAL,
    **elements: Any,
) -> Dataset:
    """Writes a CT slice, and returns what was written.

    Args:
        path: of the file; its folders are made.
        pixels: (rows, columns) of 8 or 16 bits; a number stands for an image of 2 x 3.
        series: its UID.
        patient: its identifier.
        study: its UID.
        position: of the first pixel; None writes none.
        orientation: direction cosines of rows and columns.
        elements: further elements; None removes one.
    """
    found = Dataset()
    found.SOPClassUID = CTImageStorage
    found.SOPInstanceUID = f"2.25.{zlib.crc32(f'{path.name} {series}'.encode())}"
    found.PatientID, found.StudyInstanceUID, found.SeriesInstanceUID = patient, study, series
    found.Modality = "CT"
    if position is not None:
        found.ImagePositionPatient = list(position)
        found.ImageOrientationPatient = list(orientation)
    found.PixelSpacing = [1, 1]
    image = np.full((2, 3), pixels, np.uint8) if np.isscalar(pixels) else np.asarray(pixels)
    store(found, image)
    for name, value in elements.items():
        if value is None:
            delattr(found, name)
        else:
            setattr(found, name, value)
    save(found, path)
    return found


def store(found: Dataset, image: NDArray[Any]) -> None:
    """Puts pixels into a data set; more than two axes are frames, and three samples last."""
    bits = 8 * image.dtype.itemsize
    found.Rows, found.Columns = image.shape[-2:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = bits, bits, bits - 1
    found.PixelRepresentation = int(image.dtype.kind == "i")
    data = image.tobytes()
    found.PixelData = data + b"\0" * (len(data) % 2)
    found["PixelData"].VR = "OB" if bits == 8 else "OW"


def save(found: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Writes a data set with its file meta."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not hasattr(found, "file_meta"):
        found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    pydicom.dcmwrite(path, found, enforce_file_format=True)


def labels(root: Path, lines: Mapping[str, object], header: str = "series,label") -> Path:
    """Writes a file of labels."""
    path = root / "labels.csv"
    rows = [f"{key},{value}" for key, value in lines.items()]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def schema(**changes: Any) -> DicomSchema:
    """Returns the plain schema with changes; None removes a key."""
    values = {**PLAIN, **changes}
    return DicomSchema.model_validate(
        {key: value for key, value in values.items() if value is not None}
    )


def source(root: Path, lines: Mapping[str, object] | None = None, **changes: Any) -> DicomSource:
    """Returns the source of `root/sites` with labels for the series 1.2.3, or other ones."""
    declared = schema(**changes)
    header = ",".join(declared.columns)
    path = labels(root, {"1.2.3": 1} if lines is None else lines, header)
    return DicomSource(root / "sites", path, declared, lambda: KEY)


def volume(root: Path, greys: Sequence[int], gap: float = 2.0, **elements: Any) -> None:
    """Writes a series of slices of one grey each, at rising positions."""
    for place, grey in enumerate(greys):
        dicom(root / f"{place}.dcm", grey, position=(0, 0, gap * place), **elements)


def first(root: Path, lines: Mapping[str, object] | None = None, **changes: Any) -> NDArray[Any]:
    """Returns the first record of a source without its channel."""
    records = source(root, lines, **changes).read(claim=False)
    image: NDArray[Any] = records.train.examples.features[0, 0].numpy()
    return image
