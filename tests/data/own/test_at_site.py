"""One site's file: every difference from the schema in one sentence with its place."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from securefl.data.own.agreed import AgreedSchema, read_schema
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.at_site import check_site_records, read_site_records
from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource
from securefl.errors import NotReady
from tests.data.own.files import plain, saved
from tests.data.own.tables import parquet

TABLE = """
label = { column = "ill", classes = [[0], [1, 2]] }
sites = ["bern", "chur", "wil"]
columns = [
  { name = "age", range = [20, 90] },
  { name = "sex", binary = true },
  { name = "pain", levels = ["mild", "strong"] },
]
"""
HEADER = "age,sex,pain,ill"
GOOD = ("30,1,mild,0", "55,0,strong,2", "20,1,mild,1", "90,0,mild,0")
ROWS = "features = 2\nnum_classes = 3\nsites = ['bern', 'chur']\n"
STAYS = "features = 2\nranges = [[0, 40], [34, 43]]\nsplits = ['train', 'test']\n"


def table(text: str = TABLE) -> Schema:
    return read_schema(Schema, tomllib.loads(text))


def arrays(text: str) -> ArraySchema:
    return read_schema(ArraySchema, tomllib.loads(text))


def csv(folder: Path, *rows: str, header: str = HEADER, name: str = "visits.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(folder: Path, **changes: Any) -> Path:
    values = {
        "train_images": None,
        "train_features": np.arange(12.0).reshape(6, 2),
        "train_labels": np.arange(6) % 3,
    }
    return saved(folder, plain({**values, **changes}))


@pytest.mark.parametrize("claim", [False, True])
def test_a_sites_file_has_its_records_among_those_of_all_sites(claim: bool, tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    for number, site in enumerate(("bern", "chur", "wil")):
        csv(tmp_path, *GOOD[number:], name=f"sites/{site}.csv")
    whole = TableSource(tmp_path / "sites/*.csv", table()).read(claim=claim)
    path = tmp_path / "sites/chur.csv"
    check_site_records(path, table(), site=0)
    ours = read_site_records(path, table(), site=1, claim=claim)
    assert (ours.task, ours.sites) == (whole.task, whole.sites)
    assert whole.train.sites is not None
    assert ours.train.sites is not None
    assert ours.train.sites.tolist() == [1, 1, 1]
    here = whole.train.sites == 1
    assert ours.train.examples.features.equal(whole.train.examples.features[here])
    assert ours.train.examples.labels.equal(whole.train.examples.labels[here])


def test_a_sites_arrays_are_read_by_their_schema(tmp_path: Path) -> None:
    path = rows(tmp_path)
    check_site_records(path, arrays(ROWS), site=0)
    records = read_site_records(path, arrays(ROWS), site=1, claim=False)
    assert (records.sites, records.test, records.validation) == (("bern", "chur"), None, None)
    assert records.train.examples.features.equal(torch.arange(12.0).reshape(6, 2))
    assert records.train.sites is not None
    assert records.train.sites.tolist() == [1] * 6


# What is refused with and without a claim: no record decides it.
FORMS = [
    ("Age,sex,pain,ill", GOOD, r"visits\.csv has no column 'age'; did you mean 'Age'\?"),
    ("age,age,sex,pain,ill", GOOD, r"visits\.csv has 2 columns with the name 'age'"),
    ("", (), r"visits\.csv is empty"),
]


@pytest.mark.parametrize(("header", "lines", "sentence"), FORMS)
@pytest.mark.parametrize("claim", [False, True])
def test_a_file_of_another_form_is_not_ready(
    claim: bool, header: str, lines: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    path = csv(tmp_path, *lines, header=header)
    if not header:
        path.write_text("", encoding="utf-8")
    with pytest.raises(NotReady, match=sentence) as refused:
        read_site_records(path, table(), site=0, claim=claim)
    assert refused.value.exit_code == 2
    with pytest.raises(NotReady, match=sentence):
        check_site_records(path, table(), site=0)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("forty,1,mild,0", r"visits\.csv, line 3: column 'age' is not a number"),
        ("40,yes,mild,0", r"visits\.csv, line 3: column 'sex' is neither 0 nor 1"),
        ("40,1,none,0", r"visits\.csv, line 3: column 'pain' has no declared level"),
        ("40,1,mild,3", r"visits\.csv, line 3: column 'ill' is in no declared class"),
        ("40,1,mild", r"visits\.csv, line 3: the record has not 4 fields"),
        (",1,mild,0", r"visits\.csv, line 3: column 'age' is missing, and the schema does not"),
    ],
)
def test_a_bad_record_is_refused_with_line_and_column_unless_dp_is_claimed(
    line: str, sentence: str, tmp_path: Path
) -> None:
    path = csv(tmp_path, GOOD[0], line, GOOD[1])
    for read in (
        lambda: read_site_records(path, table(), site=0, claim=False),
        lambda: check_site_records(path, table(), site=0),
    ):
        with pytest.raises(NotReady, match=sentence) as refused:
            read()
        assert "forty" not in str(refused.value)  # the value is a patient's
    assert len(read_site_records(path, table(), site=0, claim=True).train.examples) in (2, 3)


@pytest.mark.parametrize("age", ["19", "90.5", "-1e9"])
def test_a_number_outside_its_range_is_clamped_and_the_check_names_it(
    age: str, tmp_path: Path
) -> None:
    path = csv(tmp_path, *GOOD, f"{age},1,mild,0", f"{age},1,mild,0")
    for claim in (False, True):
        records = read_site_records(path, table(), site=0, claim=claim)
        assert abs(float(records.train.examples.features[-1, 0])) == 1.0
    with pytest.raises(NotReady, match=r"line 6: column 'age' is outside its declared range"):
        check_site_records(path, table(), site=0)


def test_the_first_bad_value_is_named_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    path = csv(tmp_path, "10,1,mild,0", "30,1,mild,9")
    with pytest.raises(NotReady, match=r"line 2: column 'age' is outside"):
        check_site_records(path, table(), site=0)
    path = csv(tmp_path, "30,1,mild,9", "10,1,mild,0")
    with pytest.raises(NotReady, match=r"line 2: column 'ill' is in no declared class"):
        check_site_records(path, table(), site=0)


def test_a_target_outside_its_range_is_named(tmp_path: Path) -> None:
    text = TABLE.replace(
        'label = { column = "ill", classes = [[0], [1, 2]] }',
        'targets = [{ column = "ill", range = [0, 2] }]',
    )
    check_site_records(csv(tmp_path, *GOOD), table(text), site=0)
    with pytest.raises(NotReady, match=r"line 6: column 'ill' is outside its declared range"):
        check_site_records(csv(tmp_path, *GOOD, "30,1,mild,2.5"), table(text), site=0)


def test_columns_of_parquet_have_a_type(tmp_path: Path) -> None:
    columns = {"age": [[1], [2]], "sex": [0, 1], "pain": ["mild", "mild"], "ill": [0, 1]}
    path = parquet(
        tmp_path, columns, table(TABLE.replace('sites = ["bern", "chur", "wil"]', ""))
    ).path
    for claim in (False, True):
        with pytest.raises(NotReady, match=r"column 'age' holds list<.*>, not numbers"):
            read_site_records(path, table(), site=0, claim=claim)


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        (ROWS, {"train_labels": np.arange(6)}, r"train_labels\[3\] is 3, not a whole number"),
        (ROWS, {"train_labels": np.arange(5)}, r"train_labels has shape \(5,\)"),
        (ROWS, {"train_features": np.zeros((6, 3))}, r"has records \(3,\), and the schema"),
        (ROWS, {"train_features": np.full((6, 2), np.nan)}, r"train_features\[0\] holds a value"),
        (ROWS, {"train_sites": np.array(["bern"] * 6)}, "has train_sites, and all records"),
        (ROWS, {"train_feature": np.zeros(6)}, "train_feature is no key of this layout"),
    ],
)
def test_arrays_that_differ_are_named_with_their_index(
    text: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = rows(tmp_path, **changes)
    with pytest.raises(NotReady, match=rf"xray\.npz.*{sentence}"):
        check_site_records(path, arrays(text), site=0)
    with pytest.raises(NotReady, match=sentence):
        read_site_records(path, arrays(text), site=0, claim=False)


@pytest.mark.parametrize("place", [("train", 4, 0, 41.0), ("test", 1, 1, 33.9)])
def test_real_targets_of_arrays_outside_their_range_are_named(
    place: tuple[str, int, int, float], tmp_path: Path
) -> None:
    split, record, target, value = place
    labels = {name: np.array([[0.0, 34.0], [40.0, 43.0]] * 3) for name in ("train", "test")}
    features = np.zeros((6, 2))
    given = {
        "train_images": None,
        "train_features": features,
        "test_features": features,
        "train_labels": labels["train"],
        "test_labels": labels["test"],
    }
    check_site_records(saved(tmp_path, plain(given)), arrays(STAYS), site=0)
    labels[split][record, target] = value
    path = saved(tmp_path, plain(given))
    sentence = rf"{split}_labels\[{record}\] is outside the range of target {target}"
    with pytest.raises(NotReady, match=sentence):
        check_site_records(path, arrays(STAYS), site=0)
    read_site_records(path, arrays(STAYS), site=0, claim=False)


@pytest.mark.parametrize("schema", [table(), arrays(ROWS)], ids=["table", "arrays"])
@pytest.mark.parametrize("claim", [False, True])
def test_a_missing_or_damaged_file_is_not_ready(
    claim: bool, schema: AgreedSchema, tmp_path: Path
) -> None:
    suffix = "csv" if isinstance(schema, Schema) else "npz"
    path = tmp_path / f"records.{suffix}"
    with pytest.raises(NotReady, match=rf"there is no file .*records\.{suffix}"):
        read_site_records(path, schema, site=0, claim=claim)
    path.mkdir()
    with pytest.raises(NotReady, match="is no file of records"):
        check_site_records(path, schema, site=0)
    path.rmdir()
    path.write_bytes(b"\xff\x00")
    with pytest.raises(NotReady, match=r"is not UTF-8 text|is damaged"):
        read_site_records(path, schema, site=0, claim=claim)
