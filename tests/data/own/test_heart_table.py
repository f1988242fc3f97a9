"""The example of a table: UCI Heart Disease comes out as the data set of the same records does."""

import runpy
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from securefl.data.own.agreed import load_schema
from securefl.data.own.split import federated
from securefl.data.own.table import TableSource
from securefl.data.own.tally import tally
from securefl.data.task import Examples, FederatedData
from tests.data.sets import natural
from tests.paths import ROOT
from tests.values import present

FOLDER = ROOT / "examples" / "heart"


def visits(folder: Path, split_seed: int) -> Path:
    path = folder / "visits.csv"
    runpy.run_path(str(FOLDER / "make_visits.py"))["make_visits"](path, split_seed=split_seed)
    return path


def from_table(path: Path, *, claim: bool) -> FederatedData:
    records = TableSource(path, load_schema(FOLDER / "visits.toml")).read(claim=claim)
    return federated(
        records,
        partition="natural",
        split_seed=9,
        test_share=None,
        test_on=None,
        fold=None,
        claim=claim,
    )


def assert_same(got: Examples, expected: Examples) -> None:
    assert torch.equal(got.labels, expected.labels)
    # As integers, so that 0.0 and -0.0 differ.
    assert torch.equal(got.features.view(torch.int32), expected.features.view(torch.int32))


def assert_same_data(got: FederatedData, expected: FederatedData) -> None:
    assert got.task == expected.task
    assert_same(got.test, expected.test)
    for mine, theirs in zip(got.sites, expected.sites, strict=True):
        assert mine.name == theirs.name
        assert_same(mine.train, theirs.train)
        assert_same(present(mine.test), present(theirs.test))


@pytest.mark.parametrize("split_seed", [0, 1, 2, 17])
@pytest.mark.parametrize("claim", [False, True])
def test_heart_through_a_table_is_heart_bit_for_bit(
    tmp_path: Path, split_seed: int, claim: bool
) -> None:
    path = visits(tmp_path, split_seed)
    assert_same_data(from_table(path, claim=claim), natural(split_seed))


def test_heart_through_parquet_is_heart_bit_for_bit(tmp_path: Path) -> None:
    table = pyarrow.csv.read_csv(visits(tmp_path, 3))
    path = tmp_path / "visits.parquet"
    pyarrow.parquet.write_table(table, path)
    assert_same_data(from_table(path, claim=True), natural(3))


def test_what_is_left_out_of_heart_is_counted(tmp_path: Path) -> None:
    schema = load_schema(FOLDER / "visits.toml")
    counts = tally(TableSource(visits(tmp_path, 0), schema))
    assert counts.records - counts.dropped == 740
    # Nothing in the file is bad, and one record has no pressure of 80 to 220; see test_heart.py.
    assert counts.refused == {}
    assert counts.clamped["trestbps"] == 1
