"""Folders of images: site/class/image, in one declared size."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from securefl.data.own import folder as folder_module
from securefl.data.own import images
from securefl.data.own.folder import Folder
from securefl.data.own.images import read_image
from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError
from tests.data.own.files import picture

DECLARED: dict[str, Any] = {"sites": ["bern", "chur"], "classes": ["ill", "well"]}


def scans(root: Path) -> Path:
    """Writes six images of two sites and two classes; the grey of each says its place."""
    for index, name in enumerate(
        [
            "chur/well/b.png",
            "chur/ill/a.png",
            "bern/well/2.jpg",
            "bern/well/10.PNG",
            "bern/ill/z.png",
        ]
    ):
        picture(root / name, grey=10 * index)
    (root / "bern/none").mkdir()
    return root


def opened(root: Path, **options: Any) -> Folder:
    return Folder(root, **{"size": 4, "channels": 1, **options})


def test_images_are_read_sorted_by_site_class_and_name(tmp_path: Path) -> None:
    source = opened(scans(tmp_path), classes=["ill", "well"])
    assert source.sites == ("bern", "chur")
    assert source.task == Task(features=16, classes=2, image=(1, 4, 4))
    records = source.read(claim=False)
    train = records.train
    assert train.examples.features.shape == (5, 1, 4, 4)
    assert train.examples.features[:, 0, 3, 1].tolist() == [40, 30, 20, 10, 0]
    assert train.examples.labels.tolist() == [0, 1, 1, 0, 1]
    assert train.sites is not None
    assert train.sites.tolist() == [0, 0, 0, 1, 1]
    assert (train.groups, records.validation, records.test) == (None, None, None)


def test_classes_are_the_folders_sorted_or_as_declared(tmp_path: Path) -> None:
    scans(tmp_path)
    assert opened(tmp_path).task.classes == 3
    assert opened(tmp_path).read(claim=False).train.examples.labels.tolist() == [0, 2, 2, 0, 2]
    turned = opened(tmp_path, sites=["chur", "nowhere", "bern"], classes=["well", "ill"])
    train = turned.read(claim=False).train
    assert train.examples.labels.tolist() == [1, 0, 0, 1, 0]
    assert train.sites is not None
    assert train.sites.tolist() == [2, 2, 2, 0, 0]


def test_splits_are_folders_above_the_sites(tmp_path: Path) -> None:
    for index, name in enumerate(["train/a/x/1.png", "val/a/y/1.png", "test/b/x/1.png"]):
        picture(tmp_path / name, grey=index)
    source = opened(tmp_path)
    assert (source.sites, source.classes) == (("a", "b"), ("x", "y"))
    records = source.read(claim=False)
    for index, split in enumerate([records.train, records.validation, records.test]):
        assert split is not None
        assert set(split.examples.features.flatten().tolist()) == {index}
    assert records.test is not None
    assert records.test.sites is not None
    assert records.test.sites.tolist() == [1]
    # A fourth folder makes the four sites.
    picture(tmp_path / "zug/x/1.png")
    assert opened(tmp_path).sites == ("test", "train", "val", "zug")


def test_an_image_takes_the_declared_size_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "i.png"
    picture(path, grey=7, size=(6, 2))
    assert read_image(path, size=4, channels=1).tolist() == [[[7] * 4] * 4]
    assert read_image(path, size=4, channels=3).shape == (3, 4, 4)
    image = Image.new("RGB", (2, 1))
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    image.resize((2, 2)).save(path)
    read = read_image(path, size=2, channels=3)
    assert read[:, 0, 0].tolist() == [255, 0, 0]
    assert read[:, 1, 1].tolist() == [0, 0, 255]
    # Luma of ITU-R 601: 0.299 red, 0.114 blue.
    assert read_image(path, size=2, channels=1)[0, 0].tolist() == [76, 29]


@pytest.mark.parametrize("mode", ["RGBA", "1", "P", "LA", "CMYK"])
def test_images_of_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("i.jpg" if mode == "CMYK" else "i.png")
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(path)
    assert read_image(path, size=4, channels=1).min() >= 254


def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path: Path) -> None:
    values = np.array([[0, 255], [256, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "i.png")
    assert read_image(tmp_path / "i.png", size=2, channels=1).tolist() == [[[0, 0], [1, 255]]]


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


GIF = io.BytesIO()
Image.new("L", (4, 4)).save(GIF, "GIF")
DAMAGED = {
    "empty": b"",
    "text": b"this is no image",
    "truncated": png((64, 64))[:2000],
    "header only": png()[:20],
    "bytes changed": png((64, 64))[:600] + bytes(900) + png((64, 64))[1500:],
    "another format": GIF.getvalue(),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_an_unreadable_file_is_named_and_dropped_by_itself_under_a_claim(
    tmp_path: Path, content: bytes
) -> None:
    scans(tmp_path)
    bad = tmp_path / "bern/well/5.png"
    bad.write_bytes(content)
    source = opened(tmp_path, **DECLARED)
    with pytest.raises(DataError, match=r"cannot read the image .*bern/well/5\.png: "):
        source.read(claim=False)
    dropped = source.read(claim=True).train
    bad.unlink()
    whole = source.read(claim=True).train
    assert dropped.examples.features.tolist() == whole.examples.features.tolist()
    assert dropped.examples.labels.tolist() == whole.examples.labels.tolist()
    assert dropped.sites is not None
    assert whole.sites is not None
    assert dropped.sites.tolist() == whole.sites.tolist()


def test_a_small_file_of_a_huge_image_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Above Pillow's own bound for a warning.
    Image.new("1", (10_000, 9_500)).save(tmp_path / "i.png")
    assert (tmp_path / "i.png").stat().st_size < 50_000
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(DataError, match=r"i\.png: 10000 x 9500 pixels, more than 67108864"):
        read_image(tmp_path / "i.png", size=4, channels=1)


def test_more_images_than_the_memory_holds_are_refused_before_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(tmp_path)
    monkeypatch.setattr("securefl.data.npz._memory_bytes", lambda: 5 * 16 - 1)
    monkeypatch.setattr(folder_module, "read_image", None)
    with pytest.raises(DataError, match="more than this machine's memory"):
        opened(tmp_path).read(claim=False)


def test_other_files_and_hidden_ones_are_ignored(tmp_path: Path) -> None:
    scans(tmp_path)
    key = bytes(32)
    before = opened(tmp_path).digest(key)
    for name in (".DS_Store", "README.md", "bern/ill/._z.png", "bern/ill/z.json", "bern/notes.txt"):
        (tmp_path / name).write_bytes(b"?")
    picture(tmp_path / ".cache/well/1.png")
    assert len(opened(tmp_path).read(claim=False).train.examples) == 5
    assert opened(tmp_path).digest(key) == before


def test_an_image_at_the_wrong_depth_a_link_and_a_folder_of_patients_are_refused(
    tmp_path: Path,
) -> None:
    scans(tmp_path)

    def refused(place: Path, message: str) -> None:
        with pytest.raises(DataError, match=message):
            opened(tmp_path, **DECLARED).read(claim=False)
        assert len(opened(tmp_path, **DECLARED).read(claim=True).train.examples) == 5
        if place.is_symlink() or place.is_file():
            place.unlink()

    image = tmp_path / "bern/ill/z.png"
    refused(picture(tmp_path / "x.png"), "x.png lies where the folder of a site belongs")
    refused(picture(tmp_path / "bern/x.png"), "x.png lies where the folder of a class belongs")
    link = tmp_path / "bern/ill/link.png"
    link.symlink_to(image)
    refused(link, "link.png is a link; put the file itself there")
    link = tmp_path / "bern/link"
    link.symlink_to(tmp_path / "chur/well", target_is_directory=True)
    refused(link, "link is a link; put the folder itself there")
    link = tmp_path / "davos"
    link.symlink_to(tmp_path / "chur", target_is_directory=True)
    refused(link, "davos is a link")
    picture(tmp_path / "bern/ill/patient-1/1.png")
    refused(tmp_path / "bern/ill/patient-1", "patient-1 is a folder; images lie directly in")


def test_under_a_claim_a_link_with_a_declared_name_is_not_followed(tmp_path: Path) -> None:
    scans(tmp_path / "real")
    scans(tmp_path / "linked")
    (tmp_path / "linked/chur").rename(tmp_path / "linked/zug")
    for name, target in (("chur", "chur"), ("bern/nothing", "chur/well")):
        link = tmp_path / "linked" / name
        link.symlink_to(tmp_path / "real" / target, target_is_directory=True)
    source = opened(tmp_path / "linked", sites=["bern", "chur"], classes=["nothing", "well"])
    train = source.read(claim=True).train
    assert train.examples.labels.tolist() == [1, 1]
    assert train.sites is not None
    assert train.sites.tolist() == [0, 0]


def test_under_a_claim_an_empty_folder_has_no_records(tmp_path: Path) -> None:
    records = opened(tmp_path, **DECLARED).read(claim=True)
    assert records.train.examples.features.shape == (0, 1, 4, 4)
    assert records.test is None


def test_a_site_or_class_that_is_not_declared_is_refused_or_dropped(tmp_path: Path) -> None:
    scans(tmp_path)
    picture(tmp_path / "davos/ill/1.png")
    source = opened(tmp_path, **DECLARED)
    with pytest.raises(DataError, match=r"davos/ill/1\.png is of the site 'davos', which is not d"):
        source.read(claim=False)
    assert len(source.read(claim=True).train.examples) == 5
    picture(tmp_path / "bern/odd/1.png")
    with pytest.raises(DataError, match=r"bern/odd/1\.png is of the class 'odd', which is not dec"):
        source.read(claim=False)
    assert source.read(claim=True).train.examples.labels.tolist() == [0, 1, 1, 0, 1]


def test_a_claim_needs_declared_names(tmp_path: Path) -> None:
    scans(tmp_path)
    for key in DECLARED:
        options = {name: value for name, value in DECLARED.items() if name != key}
        with pytest.raises(ScenarioError, match=r"declare data\.sites and data\.class_names"):
            opened(tmp_path, **options).read(claim=True)


def test_a_declared_task_needs_no_folder(tmp_path: Path) -> None:
    source = opened(tmp_path / "none", **DECLARED)
    assert source.task.classes == 2
    assert source.sites == ("bern", "chur")
    with pytest.raises(DataError, match=r"there is no folder .*none"):
        source.read(claim=True)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "bern/ill/1.png")
    with pytest.raises(DataError, match="images of 1 classes, at least 2 are needed; they lie in"):
        opened(tmp_path).read(claim=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot read the folder .*file: Not a directory"):
        opened(tmp_path / "file").read(claim=False)
    with pytest.raises(ScenarioError, match="channels of image files is 1 or 3, got 4"):
        opened(tmp_path, channels=4)


def test_the_digest_follows_places_and_contents(tmp_path: Path) -> None:
    key = bytes(range(32))
    first = opened(scans(tmp_path / "a")).digest(key)
    assert opened(scans(tmp_path / "b")).digest(key) == first
    assert opened(tmp_path / "b").digest(bytes(32)) != first
    (tmp_path / "b/chur/ill/a.png").rename(tmp_path / "b/chur/well/a.png")
    assert opened(tmp_path / "b").digest(key) != first
    picture(tmp_path / "a/chur/ill/a.png", grey=11)
    assert opened(tmp_path / "a").digest(key) != first


def test_pillow_is_not_imported_before_an_image_is_read() -> None:
    import subprocess
    import sys

    code = f"import sys, {images.__name__}, {folder_module.__name__}; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_under_a_claim_one_image_in_a_wrong_folder_changes_nothing_of_others(
    tmp_path: Path,
) -> None:
    scans(tmp_path / "train")
    before = opened(tmp_path, **DECLARED).read(claim=True)
    picture(tmp_path / "clinic" / "ill" / "a.png", grey=1)
    source = opened(tmp_path, **DECLARED)
    after = source.read(claim=True).train.examples
    assert after.features.tolist() == before.train.examples.features.tolist()
    with pytest.raises(DataError, match="clinic lies beside train, and is none of the splits"):
        source.read(claim=False)


def test_a_declared_site_may_be_called_train(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "ill" / "a.png", grey=1)
    declared = {"sites": ["train"], "classes": ["ill", "well"]}
    assert len(opened(tmp_path, **declared).read(claim=True).train.examples) == 1
