"""Series: sorted by geometry alone; what makes no volume is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.errors import DataError
from tests.data.dicom.files import dicom, first, source, volume

# Rows along (0.6, 0.8, 0), columns along (0, 0, 1): the normal is (0.8, -0.6, 0).
OBLIQUE = [0.6, 0.8, 0, 0, 0, 1]
DEPTH = {"size": [3, 2, 3]}


def greys(root: Path, **changes: Any) -> list[int]:
    """Returns the grey of each slice of a volume that is not resampled."""
    values: list[int] = first(root, **{**DEPTH, **changes})[:, 0, 0].tolist()
    return values


def test_slices_are_sorted_along_an_oblique_normal_and_by_nothing_else(tmp_path: Path) -> None:
    # Distances along the normal by hand: 0.8 x - 0.6 y = 0, 2 and 4. Each coordinate alone, the
    # names and the instance numbers give other orders.
    places = {"c.dcm": (0, 0, 0), "a": (2.5, 0, 9), "b.IMA": (2.0, -4.0, 3)}
    greys_of = {"c.dcm": 10, "a": 20, "b.IMA": 30}
    for number, (name, position) in enumerate(places.items()):
        # In-plane shifts along the column, of less than a pixel's width, do not count.
        x, y, z = position
        dicom(
            tmp_path / "sites/bern" / name,
            greys_of[name],
            position=(x, y, 0.01 * z),
            orientation=OBLIQUE,
            InstanceNumber=-number,
            PixelSpacing=[2, 2],
        )
    assert greys(tmp_path) == [10, 20, 30]


def test_the_order_follows_the_normal_s_direction(tmp_path: Path) -> None:
    volume(tmp_path / "sites/bern", [10, 20, 30], orientation=[0, 1, 0, 1, 0, 0])
    assert greys(tmp_path) == [30, 20, 10]


def test_distances_come_from_positions_and_not_from_the_slice_thickness(tmp_path: Path) -> None:
    # Slices at 0, 2 and 4 mm. At 1 mm: the centres lie at 1, 2 and 3 mm, half of them between two.
    volume(tmp_path / "sites/bern", [10, 20, 30], SliceThickness=7, SpacingBetweenSlices=5)
    assert greys(tmp_path, spacing=[1, 1, 1]) == [15, 20, 25]


def test_each_axis_has_its_own_spacing(tmp_path: Path) -> None:
    image = np.array([[0, 0, 0], [100, 100, 100]], np.uint8)
    for place in range(2):
        dicom(tmp_path / f"sites/bern/{place}", image, position=(0, 0, 2 * place))
    kept = first(tmp_path, size=[2, 2, 3], spacing=[2, 1, 1])
    assert kept.tolist() == [image.tolist()] * 2


def test_records_do_not_depend_on_names_of_files(tmp_path: Path) -> None:
    for name, order in (("one", [0, 1, 2]), ("two", [2, 0, 1])):
        for place in order:
            path = tmp_path / name / "sites/bern" / f"{order[place]}.dcm"
            dicom(path, 10 + place, position=(0, 0, place), SOPInstanceUID=f"1.9.{place}")
    one, two = source(tmp_path / "one"), source(tmp_path / "two")
    assert one.read(claim=False).train.examples.features.flatten().tolist() == (
        two.read(claim=False).train.examples.features.flatten().tolist()
    )
    assert one.digest(bytes(32)) == two.digest(bytes(32))


def test_the_middle_slice_is_the_lower_one_of_two(tmp_path: Path) -> None:
    volume(tmp_path / "sites/bern", [40, 30, 20, 10])
    records = source(tmp_path, slices="middle").read(claim=False)
    assert sorted(set(records.train.examples.features.flatten().tolist())) == [30]


def test_each_image_of_a_series_is_a_record_of_its_patient(tmp_path: Path) -> None:
    volume(tmp_path / "sites/bern", [10, 20, 30])
    train = source(tmp_path).read(claim=False).train
    assert sorted(train.examples.features[:, 0, 0, 0].tolist()) == [10, 20, 30]
    assert train.groups is not None
    assert len(set(train.groups)) == 1


def test_two_series_in_one_folder_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    for place in range(3):
        for series, grey in (("1.2.3", 10), ("1.2.4", 200)):
            path = tmp_path / "sites/bern" / f"{place}-{series}.dcm"
            dicom(path, grey + place, position=(0, 0, place), series=series)
    records = source(tmp_path, {"1.2.3": 0, "1.2.4": 1}, **DEPTH).read(claim=False)
    assert records.train.examples.features[:, 0, :, 0, 0].tolist() == [
        [10, 11, 12],
        [200, 201, 202],
    ]
    assert records.train.examples.labels.tolist() == [0, 1]


def a_missing_slice(site: Path) -> None:
    volume(site, [1, 2, 3, 4, 5])
    (site / "2.dcm").unlink()


def a_double_position(site: Path) -> None:
    volume(site, [1, 2, 3])
    dicom(site / "again.dcm", 9, position=(0, 0, 2))


def a_turned_slice(site: Path) -> None:
    volume(site, [1, 2, 3])
    dicom(site / "scout.dcm", 9, position=(0, 0, 6), orientation=[0, 1, 0, 0, 0, 1])


def a_larger_slice(site: Path) -> None:
    volume(site, [1, 2])
    dicom(site / "large.dcm", np.zeros((4, 4), np.uint8), position=(0, 0, 4))


def another_spacing(site: Path) -> None:
    volume(site, [1, 2])
    dicom(site / "wide.dcm", 1, position=(0, 0, 4), PixelSpacing=[2, 2])


def a_tilted_gantry(site: Path) -> None:
    for place in range(30):
        dicom(site / f"{place}.dcm", position=(0, 0.1 * place, place))


def a_lost_position(site: Path) -> None:
    volume(site, [1, 2])
    dicom(site / "lost.dcm", position=None)


def a_single_slice(site: Path) -> None:
    dicom(site / "a.dcm")


def a_copied_file(site: Path) -> None:
    volume(site, [1, 2])
    dicom(site / "copy.dcm", position=(0, 0, 4))
    for name in ("0.dcm", "copy.dcm"):
        dicom(site / name, position=(0, 0, 4 * (name != "0.dcm")), SOPInstanceUID="1.7")


def two_patients(site: Path) -> None:
    volume(site, [1, 2])
    dicom(site / "other.dcm", position=(0, 0, 4), patient="P2")


def two_folders(site: Path) -> None:
    volume(site / "a", [1, 2])
    dicom(site / "b/2.dcm", position=(0, 0, 4))


BAD = {
    a_missing_slice: "lacks slices: the gap after slice 2 of 4 is 2 times the smallest one",
    a_double_position: "holds two slices at one position",
    a_turned_slice: "holds slices of different orientations",
    a_larger_slice: "holds slices of different sizes",
    another_spacing: "holds slices of different pixel spacings",
    a_tilted_gantry: "holds slices that are shifted sideways",
    a_lost_position: "holds slices that do not say where they lie",
    a_single_slice: "holds one slice, which is no volume",
    a_copied_file: "holds two files with one SOPInstanceUID",
    two_patients: "holds files of two patients",
    two_folders: "lies in two folders",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_what_is_no_volume_is_refused_and_under_a_claim_left_out(
    tmp_path: Path, spoil: Any
) -> None:
    site = tmp_path / "sites/bern"
    spoil(site)
    volume(site / "good", [5, 5], series="1.5", study="1.6", patient="P9")
    opened = source(tmp_path, {"1.2.3": 1, "1.5": 0}, **DEPTH)
    with pytest.raises(DataError, match=BAD[spoil]) as refusal:
        opened.read(claim=False)
    assert str(refusal.value).startswith("site 'bern', file 1 of ")
    records = opened.read(claim=True)
    assert records.train.examples.labels.tolist() == [0]
    assert sorted(set(records.train.examples.features.flatten().tolist())) == [5]


def test_a_gap_of_less_than_one_and_a_half_is_no_missing_slice(tmp_path: Path) -> None:
    for place, position in enumerate([0, 2, 4.8, 6.8]):
        dicom(tmp_path / "sites/bern" / f"{place}.dcm", 10 * place, position=(0, 0, position))
    assert first(tmp_path, size=[4, 2, 3]).shape == (4, 2, 3)


@pytest.mark.parametrize(
    "gaps", [[3, 6], [3, 6, 6], [6, 3, 6], [3, 6, 3, 6], [3, 3, 6, 6]], ids=str
)
def test_a_missing_slice_is_seen_where_gaps_are_few_or_alternate(
    tmp_path: Path, gaps: list[int]
) -> None:
    for place, position in enumerate(np.cumsum([0, *gaps]).tolist()):
        dicom(tmp_path / "sites/bern" / f"{place}.dcm", 10, position=(0, 0, position))
    sentence = f"the gap after slice {gaps.index(6) + 1} of {len(gaps) + 1} is 2 times the smallest"
    with pytest.raises(DataError, match=sentence):
        first(tmp_path, size=[4, 2, 3])


def test_a_half_gap_is_no_second_slice_at_one_position(tmp_path: Path) -> None:
    # Rounded positions: a little less than half of the usual gap.
    for place, position in enumerate([0, 2.9, 8.9, 14.9]):
        dicom(tmp_path / "sites/bern" / f"{place}.dcm", 10, position=(0, 0, position))
    with pytest.raises(DataError, match="lacks slices: the gap after slice 2 of 4"):
        first(tmp_path, size=[4, 2, 3])


def test_a_series_at_two_sites_and_a_shared_instance_are_refused(tmp_path: Path) -> None:
    for site in ("bern", "chur"):
        dicom(tmp_path / "sites" / site / "a.dcm")
    opened = source(tmp_path, sites=["bern", "chur"])
    with pytest.raises(DataError, match=r"site 'chur'.* lies in the folders of two sites"):
        opened.read(claim=False)
    # No hospital sees the records of another: under a claim both count.
    assert len(opened.read(claim=True).train.examples) == 2
    dicom(tmp_path / "sites/bern/a.dcm", SOPInstanceUID="1.7")
    dicom(tmp_path / "sites/bern/b.dcm", SOPInstanceUID="1.7", series="1.8")
    dicom(tmp_path / "sites/chur/a.dcm", series="1.9")
    opened = source(tmp_path, {"1.2.3": 0, "1.8": 0, "1.9": 1}, sites=["bern", "chur"])
    with pytest.raises(DataError, match="file 2 of 2: this file and one of another series"):
        opened.read(claim=False)
