"""Drafts of schemas: a draft reads its own table, and says what is not public."""

import datetime
import json
import re
from pathlib import Path

import hypothesis.strategies as st
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings

from securefl.data.own import table_file
from securefl.data.own.agreed import load_schema
from securefl.data.own.columns import Column
from securefl.data.own.describe import describe
from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource
from securefl.data.own.tally import tally
from securefl.errors import DataError
from tests.data.own.tables import NOTHING, parquet
from tests.values import present


def written(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "visits.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def drafted(path: Path) -> Schema:
    schema = path.with_suffix(".toml")
    schema.write_text(describe(path), encoding="utf-8")
    return load_schema(schema)


def column_of(folder: Path, *values: str) -> Column:
    """Returns the draft of a column with these values, next to a label."""
    rows = [f"{value},{number % 2},x" for number, value in enumerate(values)]
    (column,) = drafted(written(folder, "x,ill,note", *rows)).columns
    return column


def test_every_part_of_a_table_is_drafted(tmp_path: Path) -> None:
    header = "patient,hospital,age,sex,cp,split,ill"
    rows = [f"p{n},{'ab'[n % 2]},{20 + n},{n % 2},{'xyz'[n % 3]},train,{n % 2}" for n in range(40)]
    rows[3] = "p3,b,23,1,,test,1"
    schema = drafted(written(tmp_path, header, *rows))
    assert schema.site == "hospital"
    assert schema.sites == ("a", "b")
    assert schema.group == "patient"
    assert schema.split == "split"
    assert schema.splits == ("train", "test")
    assert present(schema.label).column == "ill"
    assert present(schema.label).classes == {"0": ("0",), "1": ("1",)}
    assert schema.columns == (
        Column(name="age", range=(20, 59)),
        Column(name="sex", binary=True),
        Column(name="cp", levels=("x", "y", "z"), missing="indicator"),
    )


def test_what_was_read_from_records_is_marked(tmp_path: Path) -> None:
    rows = [f"{20 + n},{'ab'[n % 2]},{'xyz'[n % 3]},{n % 2}" for n in range(40)]
    draft = describe(written(tmp_path, "age,site,cp,ill", *rows))
    assert 'made from the records of "visits.csv"' in draft
    assert "THEY ARE NOT PUBLIC" in draft
    for start in ("label", "sites", '  { name = "age"', '  { name = "cp"'):
        (line,) = [line for line in draft.splitlines() if line.startswith(start)]
        assert line.endswith("# from records")


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ([str(n / 2) for n in range(11)], {"range": (0, 5)}),
        ([f"{n}e3" for n in range(-11, 0)], {"range": (-11000, -1000)}),
        ([*map(str, range(11)), "?"], {"range": (0, 10), "missing": "indicator"}),
        # Ten numbers or fewer are levels, in the order of numbers.
        ([*map(str, range(10))], {"levels": tuple(map(str, range(10)))}),
        (["10", "9", "-1"], {"levels": ("-1", "9", "10")}),
        (["007", "7", "07"], {"levels": ("007", "07", "7")}),
        (["0", "1", "1.0"], {"binary": True}),
        (["FALSE", "TRUE", ""], {"binary": True, "missing": "indicator"}),
        ([f"t{n:02}" for n in range(50)], {"levels": tuple(f"t{n:02}" for n in range(50))}),
        # One text makes levels of all.
        (["1", "2", "x"], {"levels": ("1", "2", "x")}),
    ],
)
def test_the_kind_of_a_column_follows_from_its_values(
    tmp_path: Path, values: list[str], keys: dict[str, object]
) -> None:
    assert column_of(tmp_path, *values) == Column.model_validate({"name": "x", **keys})


@pytest.mark.parametrize(
    ("values", "comment"),
    [
        ([f"t{n}" for n in range(51)], '# "note" has no numbers, and no levels that could be'),
        (["-1e308", "1e308", *map(str, range(20))], '# "note" has no numbers, and no levels'),
        (["same"] * 3, '# "note" has the same value in all records.'),
        ([""] * 3, '# "note" has no numbers, and no levels that could be listed.'),
    ],
)
def test_a_column_without_features_is_a_comment(
    tmp_path: Path, values: list[str], comment: str
) -> None:
    rows = [f"{value},{number},{number % 2}" for number, value in enumerate(values)]
    assert comment in describe(written(tmp_path, "note,n,ill", *rows))


def test_levels_in_later_blocks_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "CSV_BLOCK_BYTES", (64, 2**20))
    values = [*["0"] * 100, *map(str, range(11))]
    assert column_of(tmp_path, *values).range == (0, 10)
    assert column_of(tmp_path, *["a"] * 100, "b").levels == ("a", "b")


def test_a_label_is_known_by_its_name_or_is_the_last_column_of_few_values(tmp_path: Path) -> None:
    rows = [f"{n % 2},{n % 3},{n % 2}" for n in range(6)]
    assert present(drafted(written(tmp_path, "a,Diagnosis,c", *rows)).label).column == "Diagnosis"
    assert present(drafted(written(tmp_path, "a,b,c", *rows)).label).column == "c"
    assert 'could also be "b", "a".' in describe(written(tmp_path, "a,b,c", *rows))


def test_a_table_without_a_label_says_where_to_put_one(tmp_path: Path) -> None:
    draft = describe(written(tmp_path, "a", *map(str, range(20))))
    assert "# No column has few enough values for a label: put yours here.\nlabel = " in draft


def test_names_and_levels_may_hold_any_character(tmp_path: Path) -> None:
    strange = 'a "b"\n\\ \x7f \U0001f600'
    cell = '"' + strange.replace('"', '""') + '"'
    path = written(tmp_path, f"{cell},ill", f"{cell},0", "x,1", f"{cell},1")
    (column,) = drafted(path).columns
    assert column.name == strange
    assert column.levels == (strange, "x")


def test_texts_that_are_not_utf8_are_no_levels(tmp_path: Path) -> None:
    path = tmp_path / "visits.csv"
    path.write_bytes(b"x,n,ill\n\xe4,1,0\nb,2,1\n")
    assert '# "x" has no numbers, and no levels' in describe(path)


def test_every_type_of_parquet_is_drafted(tmp_path: Path) -> None:
    columns = {
        "lists": [[1], [2], [3]],
        "day": [datetime.date(2020, 1, day) for day in (1, 2, 2)],
        "nulls": pyarrow.nulls(3),
        "sure": [True, False, None],
        "ill": [0, 1, 1],
    }
    path = parquet(tmp_path, columns, NOTHING).path
    schema = drafted(path)
    assert [column.name for column in schema.columns] == ["day", "sure"]
    assert schema.columns[0].levels == ("2020-01-01", "2020-01-02")
    assert len(TableSource(path, schema).read(claim=False).train.examples) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", r"visits\.csv holds no records"),
        ("a,a\n1,2\n", r"visits\.csv has 2 columns with the name 'a'"),
        ("a,b\n1,2\n3\n", r"visits\.csv, line 3: the record has not 2 fields"),
    ],
)
def test_a_table_that_cannot_be_described_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        describe(path)


def test_a_parquet_file_of_lists_has_no_records_to_describe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no records"):
        describe(parquet(tmp_path, {"a": [[1]]}, NOTHING).path)


CELL = st.sampled_from(["1", "0", "2.50", "-3", "007", "x", "north", "TRUE", "NA", "", "1e5", '"'])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL, st.sampled_from("01")), min_size=2, max_size=15))
def test_a_draft_reads_its_own_table_and_refuses_nothing(
    tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    lines = [",".join(json.dumps(cell).replace('\\"', '""') for cell in row) for row in rows]
    path = written(tmp_path, "a,b,diagnosis", *lines, '"1","2","0"', '"3","4","1"')
    schema = drafted(path)
    counts = tally(TableSource(path, schema))
    assert counts.records == len(rows) + 2
    assert counts.refused == {}
    assert counts.clamped == {}
    assert counts.dropped == 0


def test_the_head_has_no_line_that_toml_reads(tmp_path: Path) -> None:
    draft = describe(written(tmp_path, "a,ill", "1,0", "2,1"))
    head = draft[: draft.index("label")]
    assert all(re.match(r"#|$", line) for line in head.splitlines())
