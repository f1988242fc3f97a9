"""Tables as features, labels, sites and splits; and what becomes of bad values."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from securefl.data.own.records import Records, Split
from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource
from securefl.data.own.tally import Tally, tally
from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError
from tests.data.own.tables import HEADER, ROWS, declared, source, with_column
from tests.values import present

GOOD = "p1,north,30,1,1,0,train,"


def features(split: Split | None) -> list[list[float]]:
    rows: list[list[float]] = present(split).examples.features.tolist()
    return rows


def in_train(records: Records) -> list[list[float]]:
    return features(records.train)


def test_a_table_becomes_features_labels_sites_groups_and_splits(tmp_path: Path) -> None:
    records = source(tmp_path).read(claim=False)
    assert records.sites == ("south", "north")
    # age 30 of [20, 90] is 2 * 10 / 70 - 1.
    assert records.train.examples.features.tolist() == [[pytest.approx(-5 / 7), 1.0, 1.0, 0.0, 0.0]]
    assert features(records.test) == [[0.0, 0.0, 0.0, 1.0, 0.0]]
    assert features(records.validation) == [[1.0, 1.0, 0.0, 0.0, 1.0]]
    assert records.train.examples.labels.tolist() == [0]
    assert present(records.test).examples.labels.tolist() == [1]
    # Both 1 and 2 are in the second class.
    assert present(records.validation).examples.labels.tolist() == [1]
    assert present(records.train.sites).tolist() == [1]
    assert present(present(records.test).sites).tolist() == [0]
    assert records.train.groups == (b"p1",)
    assert present(records.test).groups == (b"p2",)


def test_types_are_those_of_every_data_set(tmp_path: Path) -> None:
    train = source(tmp_path).read(claim=True).train
    assert train.examples.features.dtype is torch.float32
    assert train.examples.labels.dtype is torch.int64
    assert present(train.sites).dtype is torch.int64


def test_columns_become_features_in_the_order_of_the_schema(tmp_path: Path) -> None:
    columns = list(reversed(declared().model_dump(exclude_none=True)["columns"]))
    records = source(tmp_path, schema=declared(columns=columns)).read(claim=False)
    assert features(records.validation) == [[0.0, 0.0, 1.0, 1.0, 1.0]]


def test_without_a_site_a_group_and_a_split_column_all_records_train(tmp_path: Path) -> None:
    schema = declared(site=None, sites=None, group=None, split=None)
    records = source(tmp_path, schema=schema).read(claim=False)
    assert records.sites == ()
    assert len(records.train.examples) == 3
    assert records.train.sites is None
    assert records.train.groups is None
    assert records.validation is None
    assert records.test is None


def test_a_split_column_may_know_two_words_only(tmp_path: Path) -> None:
    schema = declared(splits=["test", "train"])
    records = source(tmp_path, *ROWS[:2], schema=schema).read(claim=False)
    assert records.validation is None
    assert in_train(records)[0][0] == pytest.approx(-5 / 7)
    with pytest.raises(DataError, match="line 4: column 'part' is no declared split"):
        source(tmp_path, schema=schema).read(claim=False)


@pytest.mark.parametrize(("age", "scaled"), [("19.9", -1.0), ("-4e3", -1.0), ("1000", 1.0)])
def test_numbers_outside_their_range_are_clamped(tmp_path: Path, age: str, scaled: float) -> None:
    table = source(tmp_path, GOOD, f"p1,north,{age},1,1,0,train,")
    assert in_train(table.read(claim=False))[1][0] == scaled
    assert tally(table).clamped == {"age": 1}


@pytest.mark.parametrize("spelling", ["30", "30.0", " 30 ", "+30", "3e1", "30."])
def test_a_number_may_be_spelt_in_every_usual_way(tmp_path: Path, spelling: str) -> None:
    table = source(tmp_path, f"p1,north,{spelling},1.0,1.00, 0 ,train,")
    assert in_train(table.read(claim=False)) == in_train(source(tmp_path, GOOD).read(claim=False))


@pytest.mark.parametrize("word", ["", "NA", "NaN", "nan", "null", "?", " "])
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("age", "p1,north,{},1,1,0,train,"),
        ("sex", "p1,north,30,{},1,0,train,"),
        ("cp", "p1,north,30,1,{},0,train,"),
    ],
)
class TestMissing:
    """A missing value in each kind of column."""

    def test_a_record_may_be_dropped(self, tmp_path: Path, name: str, row: str, word: str) -> None:
        table = source(tmp_path, GOOD, row.format(word), schema=with_column(name, missing="drop"))
        records = table.read(claim=False)
        assert in_train(records) == in_train(source(tmp_path, GOOD).read(claim=False))

    def test_an_indicator_is_a_feature_right_after_the_column(
        self, tmp_path: Path, name: str, row: str, word: str
    ) -> None:
        schema = with_column(name, missing="indicator")
        table = source(tmp_path, GOOD, row.format(word), schema=schema)
        first, second = in_train(table.read(claim=False))
        place = {"age": 1, "sex": 2, "cp": 5}[name]
        assert len(first) == 6
        assert first[place] == 0.0
        assert second[place] == 1.0
        width = 3 if name == "cp" else 1
        assert second[place - width : place] == [0.0] * width

    def test_a_constant_is_scaled_like_a_value(
        self, tmp_path: Path, name: str, row: str, word: str
    ) -> None:
        value = {"age": 90, "sex": 0, "cp": 2}[name]
        schema = with_column(name, missing={"constant": value})
        missing = source(tmp_path, row.format(word), schema=schema).read(claim=False)
        written = source(tmp_path, row.format(value), schema=schema).read(claim=False)
        assert in_train(missing) == in_train(written)

    def test_undeclared_it_is_refused_with_its_line_or_dropped_under_a_claim(
        self, tmp_path: Path, name: str, row: str, word: str
    ) -> None:
        table = source(tmp_path, GOOD, row.format(word))
        with pytest.raises(
            DataError, match=rf"visits.csv, line 3: column '{name}' is missing, and"
        ):
            table.read(claim=False)
        assert in_train(table.read(claim=True)) == in_train(
            source(tmp_path, GOOD).read(claim=False)
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("p1,north,abc,1,1,0,train,", "column 'age' is not a number"),
        ("p1,north,1_0,1,1,0,train,", "column 'age' is not a number"),
        ("p1,north,inf,1,1,0,train,", "column 'age' is not a number"),
        ('p1,north,"3,5",1,1,0,train,', "column 'age' is not a number"),
        ("p1,north,30,male,1,0,train,", "column 'sex' is neither 0 nor 1"),
        ("p1,north,30,2,1,0,train,", "column 'sex' is neither 0 nor 1"),
        ("p1,west,30,1,1,0,train,", "column 'hospital' is no declared site"),
        (",north,30,1,1,0,train,", "column 'patient' is missing"),
        ("p1,north,30,1,1,3,train,", "column 'ill' is in no declared class"),
        ("p1,north,30,1,1,,train,", "column 'ill' is in no declared class"),
        ("p1,north,30,1,1,0,Train,", "column 'part' is no declared split"),
        ("p1,north,30,1", "the record has not 8 fields"),
        ("p1,north,30,1,1,0,train,a,b", "the record has not 8 fields"),
    ],
)
def test_a_bad_value_is_refused_with_its_line_or_drops_its_record_under_a_claim(
    tmp_path: Path, row: str, message: str
) -> None:
    table = source(tmp_path, *ROWS, row)
    with pytest.raises(DataError, match=re.escape(f"visits.csv, line 5: {message}")):
        table.read(claim=False)
    same(table.read(claim=True), source(tmp_path).read(claim=False))


def same(records: Records, expected: Records) -> None:
    for split in ("train", "validation", "test"):
        got, wanted = getattr(records, split), getattr(expected, split)
        assert torch.equal(got.examples.features, wanted.examples.features)
        assert torch.equal(got.examples.labels, wanted.examples.labels)
        assert torch.equal(got.sites, wanted.sites)
        assert got.groups == wanted.groups


def test_an_unknown_level_is_refused_or_becomes_zeros_under_a_claim(tmp_path: Path) -> None:
    table = source(tmp_path, GOOD, "p1,north,30,1,4,0,train,")
    with pytest.raises(DataError, match="line 3: column 'cp' has no declared level"):
        table.read(claim=False)
    assert in_train(table.read(claim=True))[1][2:] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("claim", [False, True])
def test_an_unknown_level_becomes_a_declared_other(tmp_path: Path, claim: bool) -> None:
    table = source(tmp_path, GOOD, "p1,north,30,1,4,0,train,", schema=with_column("cp", other=True))
    levels = [row[2:] for row in in_train(table.read(claim=claim))]
    assert levels == [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    assert tally(table).refused == {}


def test_under_a_claim_what_is_no_number_is_treated_as_missing(tmp_path: Path) -> None:
    schema = with_column("age", missing={"constant": 55})
    table = source(tmp_path, "p1,north,abc,1,1,0,train,", schema=schema)
    assert in_train(table.read(claim=True))[0][0] == 0.0
    with pytest.raises(DataError, match="is not a number"):
        table.read(claim=False)


def test_the_first_bad_line_of_several_is_named(tmp_path: Path) -> None:
    label, age = "p1,north,30,1,1,9,train,", "p1,north,x,1,1,0,train,"
    with pytest.raises(DataError, match="line 3: column 'ill'"):
        source(tmp_path, GOOD, label, age).read(claim=False)
    with pytest.raises(DataError, match="line 3: column 'age'"):
        source(tmp_path, GOOD, age, label).read(claim=False)


def test_no_value_of_a_patient_is_in_a_message(tmp_path: Path) -> None:
    table = source(tmp_path, GOOD, "p1,north,4711,1,4711,4711,4711,")
    with pytest.raises(DataError) as refusal:
        table.read(claim=False)
    assert "4711" not in str(refusal.value)


def test_line_numbers_count_blank_lines_and_the_lines_of_a_quoted_text(tmp_path: Path) -> None:
    table = source(tmp_path, 'p1,north,30,1,1,0,train,"two\nlines"', "", "p1,north,x,1,1,0,train,")
    with pytest.raises(DataError, match="line 5: column 'age'"):
        table.read(claim=False)


CELLS = st.sampled_from(["", "1", "30", "x", "?", "north", "train", "-1e9", "nan", "0"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CELLS, min_size=7, max_size=9))
def test_under_a_claim_no_record_is_refused_or_changes_another(
    tmp_path: Path, cells: list[str]
) -> None:
    row = ",".join(cells)
    schema = with_column("age", missing="indicator")
    without = source(tmp_path, *ROWS, *ROWS, schema=schema).read(claim=True)
    with_it = source(tmp_path, *ROWS, row, *ROWS, schema=schema).read(claim=True)
    for split in ("train", "validation", "test"):
        before, after = features(getattr(without, split)), features(getattr(with_it, split))
        if len(after) > len(before):
            # The new record is between the two copies.
            assert len(after) == len(before) + 1
            del after[len(before) // 2]
        assert after == before


def test_counts_of_bad_values_are_told_apart(tmp_path: Path) -> None:
    table = source(
        tmp_path,
        GOOD,
        "p1,north,,1,1,0,train,",
        "p1,north,abc,,5,0,train,",
        "p1,west,100,1,1,0,train,",
        "p1,west",
        schema=with_column("age", missing={"constant": 50}),
    )
    assert tally(table) == Tally(
        records=4,
        malformed=1,
        dropped=2,
        missing={"age": 1, "sex": 1},
        clamped={"age": 1},
        refused={"age": 1, "sex": 1, "cp": 1, "hospital": 1},
        beyond={},
    )


def site_files(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (folder / f"{name}.csv").write_text(f"age,ill\n{20 + 7 * number},0\n", encoding="utf-8")
    return folder / "*.csv"


def by_file(sites: list[str] | None = None) -> Schema:
    columns = [{"name": "age", "range": [20, 90]}]
    return declared(site=None, group=None, split=None, sites=sites, columns=columns)


def test_one_file_a_site_names_the_sites_in_order(tmp_path: Path) -> None:
    path = site_files(tmp_path, ["va", "cleveland"])
    table = TableSource(path, by_file())
    records = table.read(claim=False)
    assert records.sites == table.sites == ("cleveland", "va")
    assert present(records.train.sites).tolist() == [0, 1]
    # cleveland is the second file that was written.
    assert in_train(records) == [[pytest.approx(-0.8)], [-1.0]]


def test_counts_are_those_of_all_files(tmp_path: Path) -> None:
    path = site_files(tmp_path, ["va", "cleveland"])
    for name in ("va", "cleveland"):
        with (tmp_path / f"{name}.csv").open("a", encoding="utf-8") as file:
            file.write("100,0\n,1\nx,1\n5\n")
    assert tally(TableSource(path, by_file())) == Tally(
        records=8,
        malformed=2,
        dropped=4,
        missing={"age": 2},
        clamped={"age": 2},
        refused={"age": 4},
        beyond={},
    )


def test_declared_sites_order_their_files(tmp_path: Path) -> None:
    path = site_files(tmp_path, ["va", "cleveland"])
    records = TableSource(path, by_file(["va", "cleveland"])).read(claim=False)
    assert records.sites == ("va", "cleveland")
    assert in_train(records) == [[-1.0], [pytest.approx(-0.8)]]


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (["va"], r"cleveland.csv is of no declared site"),
        (["va", "cleveland", "rome"], r"\*.csv: there is no file of site 'rome'"),
    ],
)
def test_files_and_declared_sites_are_the_same(
    tmp_path: Path, sites: list[str], message: str
) -> None:
    path = site_files(tmp_path, ["va", "cleveland"])
    with pytest.raises(DataError, match=message):
        TableSource(path, by_file(sites)).read(claim=True)


def test_two_files_of_one_site_are_refused(tmp_path: Path) -> None:
    site_files(tmp_path, ["va"])
    (tmp_path / "va.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="two files have the name of one site"):
        _ = TableSource(tmp_path / "*", by_file()).sites


def test_a_pattern_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*\*.csv"):
        TableSource(tmp_path / "*.csv", by_file()).read(claim=True)


def test_a_site_column_and_one_file_a_site_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="has one file a site, so the schema needs no site"):
        TableSource(tmp_path / "*.csv", declared())


def test_sites_need_a_column_or_a_pattern(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"sites, but no site column.*such as .*\*\.csv"):
        TableSource(tmp_path / "a.csv", declared(site=None))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("age", "Age"), "has no column 'age'; did you mean 'Age'?"),
        (
            "a,b",
            "has no column 'age'; it has a, b",
        ),
        (HEADER.replace("note", "age"), "has 2 columns with the name 'age'"),
    ],
)
@pytest.mark.parametrize("claim", [False, True])
def test_a_header_without_exactly_one_column_of_each_name_is_refused(
    tmp_path: Path, header: str, message: str, claim: bool
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        source(tmp_path, header=header).read(claim=claim)


def test_a_column_that_the_schema_does_not_name_may_be_there_twice(tmp_path: Path) -> None:
    rows = [f"{row},more" for row in ROWS]
    same(
        source(tmp_path, *rows, header=f"{HEADER},note").read(claim=False),
        source(tmp_path).read(claim=False),
    )


def test_a_table_without_records_is_refused_unless_privacy_is_claimed(tmp_path: Path) -> None:
    table = source(tmp_path, "")
    with pytest.raises(DataError, match=r"visits\.csv holds no records"):
        table.read(claim=False)
    records = table.read(claim=True)
    assert records.train.examples.features.shape == (0, 5)
    assert present(records.train.sites).tolist() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: source(folder, *ROWS[:2]),
        lambda folder: source(folder, schema=with_column("age", range=[20, 91])),
        lambda folder: source(folder, schema=declared(sites=["north", "south"])),
    ],
    ids=["a record", "a range", "the order of sites"],
)
def test_the_digest_follows_records_and_schema_alone(
    tmp_path: Path, change: Callable[[Path], TableSource]
) -> None:
    key = bytes(32)
    digest = source(tmp_path).digest(key)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert source(elsewhere).digest(key) == digest
    assert source(tmp_path).digest(b"k" * 32) != digest
    assert change(tmp_path).digest(key) != digest


def test_the_digest_of_files_follows_their_names(tmp_path: Path) -> None:
    digests: set[Any] = set()
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        digests.add(TableSource(site_files(folder, [name]), by_file()).digest(bytes(32)))
    assert len(digests) == 2


def test_the_digest_of_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*missing\.csv: No such file"):
        TableSource(tmp_path / "missing.csv", declared()).digest(bytes(32))


# Real targets

STAYS = "patient,hospital,age,days,degrees"
TARGETS = [{"column": "days", "range": [0, 40]}, {"column": "degrees", "range": [34, 44]}]


def stays(folder: Path, *rows: str, **changes: Any) -> TableSource:
    """Returns a table with two real targets."""
    values: dict[str, Any] = {
        "label": None,
        "targets": TARGETS,
        "split": None,
        "columns": [{"name": "age", "range": [20, 90]}],
    }
    return source(folder, *rows, header=STAYS, schema=declared(**(values | changes)))


@pytest.mark.parametrize("claim", [False, True])
def test_real_targets_are_scaled_and_clamped_by_their_ranges(tmp_path: Path, claim: bool) -> None:
    table = stays(tmp_path, "p1,north,55,10,39", "p2,south,20,44.5,-3", "p1,north,90,4e1,44")
    assert table.task == Task(features=1, targets=((0.0, 40.0), (34.0, 44.0)))
    train = table.read(claim=claim).train
    assert train.examples.labels.tolist() == [[-0.5, 0.0], [1.0, -1.0], [1.0, 1.0]]
    assert train.examples.labels.dtype is torch.float32
    assert train.examples.features.tolist() == [[0.0], [-1.0], [1.0]]
    assert tally(table).clamped == {"days": 1, "degrees": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [("", "is missing"), ("nan", "is missing"), ("x", "is not a number"), ("inf", "is not a num")],
)
def test_a_record_without_a_target_is_refused_with_its_line_or_dropped(
    tmp_path: Path, value: str, message: str
) -> None:
    table = stays(tmp_path, "p1,north,55,10,39", f"p1,north,20,10,{value}", "p1,north,90,40,44")
    with pytest.raises(DataError, match=f"line 3: column 'degrees' {message}"):
        table.read(claim=False)
    examples = table.read(claim=True).train.examples
    assert examples.labels.tolist() == [[-0.5, 0.0], [1.0, 1.0]]
    assert examples.features.tolist() == [[0.0], [1.0]]
    counts = tally(table)
    assert (counts.dropped, counts.refused, counts.clamped) == (1, {"degrees": 1}, {})
    assert counts.missing == ({"degrees": 1} if message == "is missing" else {})


def test_one_target_of_an_empty_table_has_its_shape(tmp_path: Path) -> None:
    table = stays(tmp_path, "p1,west,55,10,39", targets=TARGETS[:1], loss="huber")
    assert table.task == Task(features=1, targets=((0.0, 40.0),), huber=True)
    labels = table.read(claim=True).train.examples.labels
    assert (labels.shape, labels.dtype) == ((0, 1), torch.float32)
    assert not stays(tmp_path, targets=TARGETS[:1], loss="mse").task.huber


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"targets": TARGETS},
            "give a label with classes, or several labels, or targets",
        ),
        (
            {"label": None},
            "give a label with classes, or several labels, or targets",
        ),
        ({"loss": "huber"}, "loss has no effect without targets; remove it"),
        ({"label": None, "targets": [TARGETS[0]] * 2}, "'days' has two parts in the schema"),
        (
            {"label": None, "targets": [{"column": "days", "range": [40, 0]}]},
            "a range goes from low to high, as in",
        ),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared(**changes)
