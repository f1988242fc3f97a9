"""Volumes are added up slice by slice, within bounds."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from securefl.data.dicom.images import images_of
from securefl.data.dicom.progress import Steps
from securefl.data.dicom.source import ignore
from securefl.errors import DataError
from tests.data.dicom.files import dicom, first, save, source, store


def tiny_frames(path: Path, count: int) -> None:
    """Writes a file of many frames with one pixel each, whose grey is their place."""
    found = dicom(path)
    store(found, np.arange(count, dtype=np.uint8).reshape(count, 1, 1))
    found.NumberOfFrames = count
    groups = []
    for place in range(count):
        groups.append(Dataset())
        groups[-1].PlanePositionSequence = Sequence([Dataset()])
        groups[-1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, place]
    found.PerFrameFunctionalGroupsSequence = Sequence(groups)
    save(found, path)


def test_memory_is_that_of_the_record_and_not_of_the_slices(tmp_path: Path) -> None:
    tiny_frames(tmp_path / "sites/bern/a", 60)
    opened = source(tmp_path, size=[2, 256, 256])
    (labelled,) = opened.labelled(ignore, Steps(0))
    tracemalloc.start()
    (image,) = images_of(labelled.series, opened.schema)
    assert image.shape == (1, 2, 256, 256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The record has half a megabyte as floats; all slices at its sides would have 15.7.
    assert peak < 6e6


def test_a_volume_of_as_many_slices_has_them_in_order(tmp_path: Path) -> None:
    tiny_frames(tmp_path / "sites/bern/a", 8)
    image = first(tmp_path, size=[8, 2, 2])
    assert image[:, 1, 0].tolist() == list(range(8))


def test_too_many_slices_for_the_declared_sides_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_frames(tmp_path / "sites/bern/a", 5)
    opened = source(tmp_path, size=[2, 2, 3])
    monkeypatch.setattr("securefl.data.dicom.images.MAX_RESAMPLED_VALUES", 30)
    assert len(opened.read(claim=False).train.examples) == 1
    monkeypatch.setattr("securefl.data.dicom.images.MAX_RESAMPLED_VALUES", 29)
    with pytest.raises(DataError, match="holds 5 slices, too many for the declared sides"):
        opened.read(claim=False)
    assert len(opened.read(claim=True).train.examples) == 0
