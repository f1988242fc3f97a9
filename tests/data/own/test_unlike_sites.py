"""UCI Heart Disease with the words and units of three hospitals changed gives the same records."""

import csv
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.data.heart import HOSPITALS
from securefl.data.own.agreed import read_schema
from securefl.data.own.at_site import check_site_records, read_site_records
from securefl.data.own.records import Records
from securefl.data.own.schema import Schema
from securefl.data.own.split import federated
from securefl.data.own.table import TableSource
from securefl.data.task import FederatedData
from securefl.errors import NotReady
from tests.data.own.test_heart_table import assert_same_data
from tests.data.sets import natural
from tests.paths import ROOT

EXAMPLE = ROOT / "examples/heart"

UNITS = {
    "chol": {
        "unit": "mg/dl",
        "decimals": 0,
        "units": {
            "hungarian": {"unit": "mmol/l", "factor": 38.67},
            "va": {"unit": "g/l", "factor": 100.0},
        },
    },
    "oldpeak": {
        "unit": "mm",
        "decimals": 1,
        "units": {"cleveland": {"unit": "cm", "factor": 10.0, "offset": -5.0}},
    },
}
CROSSWALK = tomllib.loads(r"""
[columns.num]
terms = { "0" = "0", "1" = "1", "2" = "2", "3" = "3", "4" = "4" }
[columns.num.sites.hungarian]
terms = { "egészséges" = "0" }
synonyms = { "eg." = "egészséges" }
patterns = [{ pattern = 'beteg( \d)?', value = "1" }]
[columns.num.sites.va]
codes = [
  { system = "ICD-10-CM", version = "2024", code = "Z03.89", value = "0" },
  { system = "ICD-10-CM", version = "2024", code = "I25.10", value = "1" },
]
[columns.cp.sites.cleveland]
terms = { "0" = "1", "1" = "2", "2" = "3", "3" = "4" }
[columns.sex.sites.va]
terms = { M = "1", F = "0" }
missing = ["unknown"]
""")


def schema(*, crosswalk: bool = True, **changes: Any) -> Schema:
    values = tomllib.loads((EXAMPLE / "hospitals.toml").read_text(encoding="utf-8"))
    given = values["data"]["schema"]
    if crosswalk:
        given["crosswalk"] = CROSSWALK
        given["columns"] = [
            {**column, **UNITS.get(column["name"], {})} for column in given["columns"]
        ]
    return read_schema(Schema, {**given, **changes})


def of_cleveland(row: dict[str, str], index: int) -> dict[str, str]:
    row["cp"] = str(int(float(row["cp"])) - 1)
    row["oldpeak"] = f"{(float(row['oldpeak']) + 5) / 10:.3f}" if row["oldpeak"] else "?"
    return row


def of_hungary(row: dict[str, str], index: int) -> dict[str, str]:
    words = ["egészséges", "eg."] if row["num"] == "0" else ["beteg", f"beteg {index % 10}"]
    row["num"] = words[index % 2]
    row["chol"] = f"{float(row['chol']) / 38.67:.2f}" if row["chol"] else ""
    return row


def of_va(row: dict[str, str], index: int) -> dict[str, str]:
    row["num"] = "Z03.89" if float(row["num"]) == 0 else "I25.10"
    row["chol"] = f"{float(row['chol']) / 100:.4f}" if row["chol"] else ""
    row["sex"] = {"1": "M", "0": "F", "": "unknown"}[row["sex"].removesuffix(".0")]
    return row


def as_it_is(row: dict[str, str], index: int) -> dict[str, str]:
    return row


CHANGES = {"cleveland": of_cleveland, "hungarian": of_hungary, "va": of_va}


def unlike_hospitals(folder: Path) -> None:
    """Writes one file a hospital, each in words and units of its own."""
    names = runpy.run_path(str(EXAMPLE / "make_visits.py"))
    folder.mkdir()
    rows = names["split_visits"](0)
    for hospital in HOSPITALS:
        own = [dict(row) for row in rows if row["hospital"] == hospital]
        change = CHANGES.get(hospital, as_it_is)
        names["write"](folder / f"{hospital}.csv", [change(row, i) for i, row in enumerate(own)])


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heart") / "sites"
    unlike_hospitals(folder)
    return folder


def dealt(records: Records, *, claim: bool) -> FederatedData:
    return federated(
        records,
        partition="natural",
        split_seed=0,
        test_share=None,
        test_on=None,
        fold=None,
        claim=claim,
    )


@pytest.mark.parametrize("claim", [False, True])
def test_hospitals_with_other_words_and_units_have_the_records_of_heart_bit_for_bit(
    sites: Path, claim: bool
) -> None:
    records = TableSource(sites / "*.csv", schema()).read(claim=claim)
    assert_same_data(dealt(records, claim=claim), natural(0))


def test_without_the_crosswalk_the_same_files_are_refused(sites: Path) -> None:
    source = TableSource(sites / "*.csv", schema(crosswalk=False))
    with pytest.raises(Exception, match=r"cleveland\.csv, line \d+: column 'cp' has no declared"):
        source.read(claim=False)


def test_one_file_with_a_column_of_sites_is_read_as_one_file_a_site(
    sites: Path, tmp_path: Path
) -> None:
    rows: list[dict[str, str]] = []
    for hospital in HOSPITALS:
        with (sites / f"{hospital}.csv").open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    # The records of all hospitals in turns, so that every block has several.
    rows.sort(key=lambda row: row["age"])
    runpy.run_path(str(EXAMPLE / "make_visits.py"))["write"](tmp_path / "all.csv", rows)
    one = TableSource(tmp_path / "all.csv", schema(site="hospital")).read(claim=False)
    for site, theirs in enumerate(natural(0).sites):
        mine = one.train.examples.features[present_sites(one) == site]
        assert sorted(mine.tolist()) == sorted(theirs.train.features.tolist())


def present_sites(records: Records) -> torch.Tensor:
    assert records.train.sites is not None
    return records.train.sites


def test_a_site_reads_its_own_file_by_the_agreed_words(sites: Path) -> None:
    for number, theirs in enumerate(natural(0).sites):
        path = sites / f"{theirs.name}.csv"
        own = read_site_records(path, schema(), site=number, claim=False)
        assert torch.equal(own.train.examples.features, theirs.train.features)
        assert torch.equal(own.train.examples.labels, theirs.train.labels)
    # In Hungary nobody writes cp 0, as Cleveland does.
    with pytest.raises(NotReady, match=r"column 'cp' has a word that the crosswalk does not map"):
        read_site_records(sites / "cleveland.csv", schema(), site=1, claim=False)
    check_site_records(sites / "switzerland.csv", schema(), site=2)
