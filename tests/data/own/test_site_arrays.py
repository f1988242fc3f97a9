"""One .npz file a site: the records of one file that names its sites."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from securefl.data.own.agreed import read_schema
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.arrays import Arrays
from securefl.data.own.site_arrays import SiteArrays
from securefl.errors import DataError
from tests.data.own.files import ArrayDict, plain, saved

TEXT = """
images = [2, 3]
values = "bytes"
num_classes = 3
groups = true
sites = ["chur", "bern"]
splits = ["train", "validation", "test"]
"""
GROUPS = np.array([b"p1", b"p2", b"p1", b"p3", b"p3", b"p2"])


def schema(text: str = TEXT) -> ArraySchema:
    return read_schema(ArraySchema, tomllib.loads(text))


def write(folder: Path, name: str, *, start: int, records: int) -> Path:
    """Writes the file of a site whose pixels begin at a number."""
    (folder / "sites").mkdir(exist_ok=True)
    values: ArrayDict = {}
    for index, split in enumerate(("train", "val", "test")):
        images = np.full((records, 2, 3), start + index, dtype=np.uint8)
        values |= {
            f"{split}_images": images,
            f"{split}_labels": np.arange(records) % 3,
            f"{split}_groups": np.array([f"{name}-{split}-{i // 2}" for i in range(records)]),
        }
    return saved(folder / "sites", values, f"{name}.npz")


@pytest.fixture
def source(tmp_path: Path) -> SiteArrays:
    write(tmp_path, "bern", start=10, records=4)
    write(tmp_path, "chur", start=20, records=6)
    return SiteArrays(tmp_path / "sites/*.npz", schema())


def test_records_come_in_the_order_of_the_declared_sites(source: SiteArrays) -> None:
    source.check_form()
    records = source.read(claim=False)
    assert (records.sites, records.task) == (("chur", "bern"), schema().task)
    assert (source.has_test, source.grouped, source.sites) == (True, True, records.sites)
    for index, split in enumerate((records.train, records.validation, records.test)):
        assert split is not None
        assert split.sites is not None
        assert split.sites.tolist() == [0] * 6 + [1] * 4
        assert split.examples.features[:, 0, 0, 0].tolist() == [20 + index] * 6 + [10 + index] * 4
        assert split.examples.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
        word = ("train", "val", "test")[index]
        assert split.groups is not None
        assert split.groups[0] == f"chur-{word}-0".encode()
        assert split.groups[-1] == f"bern-{word}-1".encode()


def test_sites_that_are_not_declared_are_the_files_in_order(source: SiteArrays) -> None:
    bare = schema(TEXT.replace('sites = ["chur", "bern"]\n', ""))
    assert SiteArrays(source.path, bare).read(claim=False).sites == ("bern", "chur")


def test_one_file_a_site_has_the_records_of_one_file_with_a_column(tmp_path: Path) -> None:
    text = TEXT.replace("groups = true\n", "").replace('"train", "validation", "test"', '"train"')
    (tmp_path / "sites").mkdir()
    arrays = plain()
    for place, name in enumerate(("chur", "bern")):
        part = {key: values[place * 3 : place * 3 + 3] for key, values in arrays.items()}
        saved(tmp_path / "sites", part, f"{name}.npz")
    column = np.array(["chur"] * 3 + ["bern"] * 3)
    whole = saved(tmp_path, {**arrays, "train_sites": column})
    ours = SiteArrays(tmp_path / "sites/*.npz", schema(text)).read(claim=False)
    usual = Arrays(whole, num_classes=3, sites=("chur", "bern")).read(claim=False)
    assert ours.train.examples.features.equal(usual.train.examples.features)
    assert ours.train.sites is not None
    assert usual.train.sites is not None
    assert ours.train.sites.equal(usual.train.sites)
    assert (ours.train.groups, ours.test, ours.validation) == (None, None, None)


def test_the_digest_is_of_schema_sites_and_arrays(source: SiteArrays, tmp_path: Path) -> None:
    key = bytes(32)
    before = source.digest(key)
    assert source.digest(key) == before
    other = TEXT.replace("num_classes = 3", "num_classes = 4")
    assert SiteArrays(source.path, schema(other)).digest(key) != before
    write(tmp_path, "bern", start=11, records=4)
    assert SiteArrays(source.path, schema()).digest(key) != before
    one, other_site = (tmp_path / f"sites/{name}.npz" for name in ("bern", "chur"))
    write(tmp_path, "bern", start=10, records=4)
    assert SiteArrays(source.path, schema()).digest(key) == before
    one.rename(tmp_path / "x"), other_site.rename(one), (tmp_path / "x").rename(other_site)
    assert SiteArrays(source.path, schema()).digest(key) != before


def test_the_digest_has_the_names_of_sites_that_only_files_have(
    source: SiteArrays, tmp_path: Path
) -> None:
    bare = schema(TEXT.replace('sites = ["chur", "bern"]\n', ""))
    before = SiteArrays(source.path, bare).digest(bytes(32))
    (tmp_path / "sites/bern.npz").rename(tmp_path / "sites/basel.npz")
    assert SiteArrays(source.path, bare).digest(bytes(32)) != before


def test_a_file_that_names_sites_is_not_one_sites(source: SiteArrays, tmp_path: Path) -> None:
    arrays = plain(train_sites=np.array(["bern"] * 6))
    saved(tmp_path / "sites", arrays, "bern.npz")
    with pytest.raises(DataError, match=r"bern\.npz has train_sites, and all records"):
        SiteArrays(source.path, schema()).check_form()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "bern.npz").unlink(), "there is no file of site 'bern'"),
        (lambda folder: (folder / "wil.npz").touch(), r"wil\.npz is of no declared site"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], r"no file .*\*\.npz"),
    ],
)
def test_every_site_has_a_file(
    source: SiteArrays, tmp_path: Path, change: object, sentence: str
) -> None:
    assert callable(change)
    change(tmp_path / "sites")
    with pytest.raises(DataError, match=sentence):
        source.files()
