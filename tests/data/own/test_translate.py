"""Words and units of sites in a table: missing words, other levels, labels, and bad records."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from securefl.data.own.agreed import agreed_digest, document, read_schema, with_crosswalk
from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource
from securefl.data.own.tally import tally
from securefl.errors import DataError, ScenarioError
from securefl.rng import seeded_keystream

GIVEN: dict[str, Any] = {
    "label": {"column": "ill", "classes": {"no": ["no"], "yes": ["yes", "very"], "odd": ["odd"]}},
    "site": "site",
    "sites": ["bern", "chur"],
    "columns": [
        {
            "name": "t",
            "range": [30, 45],
            "missing": "indicator",
            "unit": "C",
            "decimals": 1,
            "units": {"chur": {"unit": "F", "factor": 5 / 9, "offset": -160 / 9}},
        },
        {"name": "sex", "binary": True, "missing": {"constant": 1}},
        {"name": "cp", "levels": ["a", "b"], "other": True, "missing": "drop"},
    ],
}
CROSSWALK: dict[str, Any] = {
    "columns": {
        "ill": {
            "hierarchy": {"yes": "some", "very": "some", "odd": "any", "some": "any"},
            "sites": {"chur": {"terms": {"nein": "no", "ja": "yes", "etwas": "some"}}},
        },
        "sex": {"sites": {"chur": {"terms": {"m": "1", "f": "0"}, "missing": ["-"]}}},
        "cp": {"sites": {"chur": {"terms": {"1": "a", "2": "b", "3": "c"}, "missing": ["-"]}}},
    }
}
HEADER = "site,t,sex,cp,ill"
GOOD = (
    "bern,37.0,1,a,no",
    "chur,98.6,m,1,nein",
    "chur,98.6,f,2,ja",
    "bern,37.04,0,b,yes",
    "chur,,-,3,etwas",
    "chur,98.6,m,-,ja",
)


def schema(**changes: Any) -> Schema:
    crosswalk = {**CROSSWALK, **changes}
    return read_schema(Schema, {**GIVEN, "crosswalk": crosswalk})


def source(folder: Path, *lines: str, made: Schema | None = None) -> TableSource:
    path = folder / "visits.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return TableSource(path, made or schema())


def save(path: Path, columns: dict[str, list[Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize("claim", [False, True])
def test_each_record_is_read_in_the_words_and_units_of_its_site(
    tmp_path: Path, claim: bool
) -> None:
    train = source(tmp_path, *GOOD).read(claim=claim).train
    at_37 = 2 * (37 - 30) / 15 - 1
    expected = [
        # t, t missing, sex, a, b, other
        [at_37, 0, 1, 1, 0, 0],
        [at_37, 0, 1, 1, 0, 0],
        [at_37, 0, 0, 0, 1, 0],
        # Only converted numbers are rounded.
        [2 * (37.04 - 30) / 15 - 1, 0, 0, 0, 1, 0],
        # A missing word is a missing value: the constant of sex, and a record without cp goes.
        [0, 1, 1, 0, 0, 1],
    ]
    assert torch.equal(train.examples.features, torch.tensor(expected, dtype=torch.float32))
    # The words below "some" are all of one class, so that it is this class and no coarse label.
    assert train.examples.labels.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("claim", [False, True])
def test_a_label_that_the_crosswalk_declares_missing_leaves_its_record_out(
    tmp_path: Path, claim: bool
) -> None:
    given = document(schema())
    given["crosswalk"]["columns"]["ill"]["missing"] = ["k. A."]
    made = read_schema(Schema, given)
    records = source(tmp_path, *GOOD, "bern,37,1,a,k. A.", made=made)
    assert records.read(claim=claim).train.examples.labels.tolist() == [0, 0, 1, 1, 1]
    counts = tally(records)
    assert (counts.records, counts.refused) == (len(GOOD) + 1, {})


def test_a_site_whose_every_value_is_beyond_the_range_is_named(tmp_path: Path) -> None:
    given = {**GIVEN, "site": None, "columns": [GIVEN["columns"][0]]}
    made = read_schema(Schema, given)
    (tmp_path / "sites").mkdir()
    save(tmp_path / "sites/chur.parquet", {"t": [98.6, 99.0], "ill": ["no", "yes"]})
    save(tmp_path / "sites/bern.parquet", {"t": [3700.0, None, 3800.0], "ill": ["no"] * 3})
    assert tally(TableSource(tmp_path / "sites/*.parquet", made)).beyond == {"t": ["bern"]}


def test_a_wider_word_is_a_group_of_the_classes_below_it(tmp_path: Path) -> None:
    made = schema()
    assert made.task.groups == ((1, 2),)
    assert made.label_codes["some"] == 1
    assert made.label_codes["any"] == 3
    # Bern has no terms of its own, so that a common word stands for itself.
    train = source(tmp_path, *GOOD, "bern,37,1,a,any", made=made).read(claim=False).train
    assert train.examples.labels.tolist() == [0, 0, 1, 1, 1, 3]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("chur,98.6,m,1,no", "ill"),
        ("chur,98.6,m,1,yes", "ill"),
        ("chur,98.6,1,1,ja", "sex"),
        ("bern,37,1,z,no", "cp"),
        ("chur,98.6,m,4,ja", "cp"),
    ],
)
def test_a_word_without_an_entry_is_refused_dropped_or_left_out(
    tmp_path: Path, line: str, column: str
) -> None:
    lines = (*GOOD[:2], line, *GOOD[2:])
    sentence = rf"visits\.csv, line 4: column '{column}' has a word that the crosswalk does not"
    refusing = source(tmp_path, *lines)
    with pytest.raises(DataError, match=sentence):
        refusing.read(claim=False)
    expected = source(tmp_path, *GOOD).read(claim=False).train.examples
    for table, claim in ((refusing, True), (source(tmp_path, made=schema(unmapped="drop")), False)):
        source(tmp_path, *lines)
        train = table.read(claim=claim).train.examples
        assert torch.equal(train.features, expected.features)
        assert torch.equal(train.labels, expected.labels)


def test_unmapped_words_are_counted_as_refused_or_as_left_out(tmp_path: Path) -> None:
    lines = (*GOOD, "chur,98.6,m,1,no", "chur,98.6,m,4,no")
    counts = tally(source(tmp_path, *lines))
    assert counts.refused == {"ill": 2, "cp": 1}
    assert counts.dropped == 3  # one lacks cp
    counts = tally(source(tmp_path, *lines, made=schema(unmapped="drop")))
    assert (counts.refused, counts.dropped) == ({}, 3)


def test_a_text_that_is_not_utf_8_is_refused_for_that(tmp_path: Path) -> None:
    table = source(tmp_path, *GOOD)
    table.path.write_bytes(table.path.read_bytes() + b"chur,98.6,m,1,\xff\n")
    with pytest.raises(DataError, match="column 'ill' is not UTF-8 text"):
        table.read(claim=False)
    assert len(table.read(claim=True).train.examples) == 5


def test_several_labels_have_words_and_may_not_be_looked_for(tmp_path: Path) -> None:
    given = {
        **GIVEN,
        "label": None,
        "labels": [{"column": "a"}, {"column": "b", "positive": ["+"], "negative": ["-"]}],
        "columns": [{"name": "t", "range": [30, 45]}],
    }
    crosswalk = {"not_observed": {"chur": ["a"]}, "columns": {"b": {"terms": {"ja": "+"}}}}
    made = read_schema(Schema, {**given, "crosswalk": crosswalk})
    path = tmp_path / "visits.csv"
    good = "site,t,a,b\nbern,37,1,+\nbern,37,0,-\nchur,37,,ja\nchur,37,1,-\n"
    path.write_text(good, encoding="utf-8")
    train = TableSource(path, made).read(claim=False).train.examples
    # What a site has in the column of a label that it never looked for counts for nothing.
    assert train.labels.tolist() == [[1, 1], [0, 0], [-1, 1], [-1, 0]]
    path.write_text(good + "bern,37,,-\nchur,37,1,\n", encoding="utf-8")
    sentence = "line 6: column 'a' is neither with nor without the label"
    with pytest.raises(DataError, match=sentence):
        TableSource(path, made).read(claim=False)
    assert len(TableSource(path, made).read(claim=True).train.examples) == 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"columns": {"age": {"terms": {"a": "b"}}}}, "words of 'age', which is no column with"),
        ({"columns": {"t": {"terms": {"a": "b"}}}}, "words of 't', which is no column with words"),
        ({"columns": {"cp": {"hierarchy": {"a": "x"}}}}, "a hierarchy of 'cp'; only a label has"),
        ({"columns": {"ill": {"terms": {"x": "maybe"}}}}, "leads to 'maybe', which is no declared"),
        ({"columns": {"sex": {"terms": {"x": "2"}}}}, "leads to '2', which is no declared value"),
        ({"columns": {"ill": {"hierarchy": {"yes": "no"}}}}, "'no' is wider than other words of"),
        (
            {"columns": {"ill": {"hierarchy": {"yes": "x", "no": "x", "odd": "x"}}}},
            "'x' stands for every class, so that it says nothing",
        ),
        ({"columns": {"ill": {"sites": {"wil": {"terms": {"a": "no"}}}}}}, "name 'wil', which is"),
        ({"not_observed": {"bern": ["ill"]}}, "names 'ill', which is none of the schema's"),
    ],
)
def test_a_crosswalk_that_does_not_fit_the_schema_is_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        schema(**changes)


def test_a_site_that_looked_for_nothing_is_refused() -> None:
    given = {**GIVEN, "label": None, "labels": [{"column": "a"}, {"column": "b"}]}
    crosswalk = {"not_observed": {"bern": ["a", "b"]}}
    with pytest.raises(ScenarioError, match="site 'bern' looked for no label"):
        read_schema(Schema, {**given, "crosswalk": crosswalk})


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([{"column": "a"}], "several labels are two or more"),
        ([{"column": "a"}, {"column": "b", "positive": ["x"]}], "positive and of negative, or"),
        (
            [{"column": "a"}, {"column": "b", "positive": ["x"], "negative": ["x"]}],
            "'x' is there twice",
        ),
        ([{"column": "a"}, {"column": "a"}], "column 'a' has two parts in the schema"),
    ],
)
def test_several_labels_that_cannot_be_are_refused(labels: list[Any], sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        read_schema(Schema, {**GIVEN, "label": None, "labels": labels})


def test_a_schema_and_its_crosswalk_survive_a_journey_and_have_one_digest(tmp_path: Path) -> None:
    made = schema()
    assert read_schema(Schema, document(made)) == made
    bare = read_schema(Schema, GIVEN)
    together = with_crosswalk(bare, CROSSWALK)
    assert agreed_digest(together) == agreed_digest(made) != agreed_digest(bare)
    key = bytes(32)
    assert source(tmp_path, *GOOD).digest(key) != source(tmp_path, *GOOD, made=bare).digest(key)
    with pytest.raises(ScenarioError, match="the schema has a crosswalk of its own"):
        with_crosswalk(made, CROSSWALK)


def test_records_in_any_order_are_read_as_each_by_itself(tmp_path: Path) -> None:
    order = seeded_keystream(0, "order").permutation(len(GOOD) - 1)
    whole = source(tmp_path, *GOOD[:-1]).read(claim=True).train.examples
    turned = source(tmp_path, *(GOOD[i] for i in order)).read(claim=True).train.examples
    assert torch.equal(turned.features, whole.features[torch.from_numpy(order)])
    assert torch.equal(turned.labels, whole.labels[torch.from_numpy(order)])


def test_a_file_without_sites_is_read_in_the_words_of_all_sites(tmp_path: Path) -> None:
    given = {**GIVEN, "site": None, "sites": None, "columns": [GIVEN["columns"][2]]}
    crosswalk = {"columns": {"ill": {"terms": {"ja": "yes", "nein": "no"}}}}
    made = read_schema(Schema, {**given, "crosswalk": crosswalk})
    (tmp_path / "one.csv").write_text("cp,ill\na,ja\nb,nein\na,odd\n", encoding="utf-8")
    train = TableSource(tmp_path / "one.csv", made).read(claim=False).train
    assert train.examples.labels.tolist() == [1, 0, 2]


def test_numbers_of_parquet_without_a_missing_one_are_converted(tmp_path: Path) -> None:
    given = {**GIVEN, "site": None, "columns": [GIVEN["columns"][0]]}
    made = read_schema(Schema, given)
    columns: dict[str, list[Any]] = {"t": [98.6, 212.0, 99.0], "ill": ["no", "yes", "odd"]}
    (tmp_path / "sites").mkdir()
    save(tmp_path / "sites/chur.parquet", columns)
    save(tmp_path / "sites/bern.parquet", {"t": [37.0], "ill": ["no"]})
    train = TableSource(tmp_path / "sites/*.parquet", made).read(claim=False).train
    values = (train.examples.features[:, 0].double() + 1) * 7.5 + 30
    assert [round(value, 4) for value in values.tolist()] == [37.0, 37.0, 45.0, 37.2]
