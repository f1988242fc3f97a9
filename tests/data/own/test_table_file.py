"""CSV and Parquet files: damage, encodings, types, and where one block ends."""

import datetime
import re
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

from securefl.data.own import table_file
from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource
from securefl.data.own.table_file import CsvTable, open_table
from securefl.data.own.tally import tally
from securefl.errors import DataError
from tests.data.own.tables import HEADER, ROWS, declared, parquet, source, with_column


def read(
    path: Path,
    numbers: Sequence[str] = (),
    levels: Sequence[str] = (),
    skipped: set[int] | None = None,
) -> dict[str, list[Any]]:
    """Returns columns as Python values, each block as the next part of a list."""
    columns: dict[str, list[Any]] = {name: [] for name in [*numbers, *levels]}
    end = 0
    for block in open_table(path).blocks(numbers=numbers, levels=levels, skipped=skipped):
        assert block.first == end
        end += block.rows
        for name, values in block.numbers.items():
            assert len(values) == block.rows
            columns[name] += values.tolist()
        for name, coded in block.levels.items():
            columns[name] += [None if code < 0 else coded.values[code] for code in coded.codes]
    return columns


def csv(folder: Path, content: bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\n1,x\n2,y",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b'"a","b"\n"1","x"\n2,"y"\n',
        b"\n\na,b\n\n1,x\n\n2,y\n\n",
    ],
    ids=["plain", "no last line end", "Windows", "byte order mark", "quotes", "blank lines"],
)
def test_a_csv_file_may_be_written_in_every_usual_way(tmp_path: Path, content: bytes) -> None:
    path = csv(tmp_path, content)
    assert list(open_table(path).columns) == ["a", "b"]
    assert read(path, ["a"], ["b"]) == {"a": [1.0, 2.0], "b": ["x", "y"]}


def test_a_text_in_quotes_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = csv(tmp_path, b'a,"b\nb"\n1,"x,\n""y"""\n2,z\n')
    assert list(open_table(path).columns) == ["a", "b\nb"]
    assert read(path, ["a"], ["b\nb"]) == {"a": [1.0, 2.0], "b\nb": ['x,\n"y"', "z"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv is empty: it has no line with the names of columns"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "a.csv is not UTF-8 text: save it in this"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16-le"), "a.csv is not UTF-8 text: save it in this"),
        ("a.csv", b"a,gr\xf6\xdfe\n1,2\n", "a.csv is not UTF-8 text: save it in this encoding"),
        ("a.csv", b"PAR1....", "a.csv is a Parquet file; let its name end in .parquet"),
        ("a.parquet", b"a,b\n1,2\n", "a.parquet is not a Parquet file; if it is text, let its"),
        ("a.parquet", b"", "a.parquet is not a Parquet file"),
        ("a.parquet", b"PAR1 and no more", "a.parquet is damaged: its table of contents cannot"),
        ("a.xlsx", b"PK", "a.xlsx: a table is a .csv or a .parquet file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        open_table(csv(tmp_path, content, name))


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*a\.csv"):
        open_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*b\.csv: Is a directory"):
        open_table(tmp_path / "b.csv")


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = source(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"tables need pyarrow: .*pip install 'securefl\[table\]'"):
        table.read(claim=True)
    with pytest.raises(DataError, match="tables need pyarrow"):
        table.check_form()


def test_the_form_of_each_file_is_checked_and_no_record_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(tmp_path).check_form()
    monkeypatch.setattr(CsvTable, "blocks", None)
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.csv"):
        TableSource(tmp_path / "nowhere.csv", declared()).check_form()
    (tmp_path / "sites").mkdir()
    # Records that no run would take are in the first file.
    for name, content in (("a", b"age,ill\n?,?,?\n\xff"), ("b", b"aeg,ill\n")):
        (tmp_path / "sites" / f"{name}.csv").write_bytes(content)
    schema = Schema.model_validate(
        {
            "label": {"column": "ill", "classes": [["0"], ["1"]]},
            "columns": [{"name": "age", "range": [0, 90]}],
        }
    )
    with pytest.raises(DataError, match=r"b\.csv has no column 'age'; did you mean 'aeg'\?"):
        TableSource(tmp_path / "sites" / "*.csv", schema).check_form()


def test_records_of_another_encoding_are_refused_or_have_no_such_value(tmp_path: Path) -> None:
    rows = [f"{HEADER}\n", "p1,north,30,1,\xe4,0,train,\n"]
    path = csv(tmp_path, "".join(rows).encode("latin-1"))
    table = TableSource(path, declared())
    with pytest.raises(DataError, match="line 2: column 'cp' is not UTF-8 text: save the file"):
        table.read(claim=False)
    assert table.read(claim=True).train.examples.features[0, 2:].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["patient", "age"])
def test_other_encodings_in_any_column_drop_the_record_under_a_claim(
    tmp_path: Path, name: str
) -> None:
    place = HEADER.split(",").index(name)
    cells = ROWS[0].split(",")
    cells[place] = "\xe4"
    path = csv(tmp_path, f"{HEADER}\n{','.join(cells)}\n{ROWS[0]}\n".encode("latin-1"))
    records = TableSource(path, declared()).read(claim=True)
    assert records.train.groups == (b"p1",)


def test_other_encodings_in_columns_that_nobody_reads_do_not_matter(tmp_path: Path) -> None:
    path = csv(tmp_path, f"{HEADER}\np1,north,30,1,1,0,train,\xe4\n".encode("latin-1"))
    assert len(TableSource(path, declared()).read(claim=False).train.examples) == 1


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "CSV_BLOCK_BYTES", (24, 64, 4096))
    monkeypatch.setattr(table_file, "PARQUET_BLOCK_ROWS", 3)


def test_texts_between_numbers_change_no_number(tmp_path: Path) -> None:
    texts = ["1.5", "abc", "", "+2", '" -3 "', "1e1", ".5", "1_0", "NAN", "-inf", "1.5.2", "4"]
    path = csv(tmp_path, "\n".join(["a,b", *(f"{text},x" for text in texts)]).encode())
    inf, nan = float("inf"), float("nan")
    expected = [1.5, inf, nan, 2.0, -3.0, 10.0, 0.5, inf, nan, -inf, inf, 4.0]
    np.testing.assert_array_equal(read(path, ["a"])["a"], expected)


@pytest.mark.usefixtures("_small_blocks")
def test_a_record_longer_than_a_block_changes_no_other(tmp_path: Path) -> None:
    rows = [f"{number},x" for number in range(20)]
    rows[7] = f"7,{'y' * 50}"
    rows[12] = f"12,{'z' * 500}"
    path = csv(tmp_path, "\n".join(["a,b", *rows]).encode())
    columns = read(path, ["a"], ["b"])
    assert columns["a"] == list(range(20))
    assert [len(str(text)) for text in columns["b"]] == [1] * 7 + [50] + [1] * 4 + [500] + [1] * 7


@pytest.mark.usefixtures("_small_blocks")
def test_the_first_record_may_be_the_longest(tmp_path: Path) -> None:
    path = csv(tmp_path, b"a,b\n1," + b"y" * 500 + b"\n2,x\n")
    assert read(path, ["a"])["a"] == [1.0, 2.0]


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("names", ["a,b", f"a,{'b' * 500}"], ids=["short", "long"])
def test_a_line_of_names_without_records_is_an_empty_table(
    tmp_path: Path, names: str, end: str
) -> None:
    assert read(csv(tmp_path, f"{names}{end}".encode()), ["a"]) == {"a": []}


@pytest.mark.usefixtures("_small_blocks")
def test_a_record_that_no_block_can_hold_is_damage(tmp_path: Path) -> None:
    path = csv(tmp_path, b'a,b\n1,x\n2,"' + b"y" * 9000 + b"\n3,z\n")
    with pytest.raises(DataError, match=r"a\.csv is damaged: a quote is opened and never closed"):
        read(path, ["a"], ["b"], set())


@pytest.mark.usefixtures("_small_blocks")
def test_malformed_records_are_skipped_once_and_counted_or_refused_with_their_line(
    tmp_path: Path,
) -> None:
    rows = [f"{number},x" for number in range(20)]
    rows[5] = "5"
    rows[9] = "9,x,y"
    rows[12] = f"12,{'z' * 500}"  # everything is read again from the start
    path = csv(tmp_path, "\n".join(["a,b", "", *rows]).encode())
    skipped: set[int] = set()
    columns = read(path, ["a"], ["b"], skipped)
    assert columns["a"] == [number for number in range(20) if number not in (5, 9)]
    assert skipped == {5, 9}
    with pytest.raises(DataError, match=r"line 8: the record has not 2 fields, as the header has"):
        read(path, ["a"], ["b"])


@pytest.mark.usefixtures("_small_blocks")
def test_a_line_end_in_quotes_may_be_where_a_block_ends(tmp_path: Path) -> None:
    rows = [f'{number},"{"x" * number}\n"' for number in range(12)]
    columns = read(csv(tmp_path, "\n".join(["a,b", *rows]).encode()), ["a"], ["b"])
    assert columns["a"] == list(range(12))
    assert columns["b"] == ["x" * number or None for number in range(12)]


@pytest.mark.usefixtures("_small_blocks")
def test_a_bad_value_beyond_the_first_block_of_parquet_has_its_number(tmp_path: Path) -> None:
    columns = {"x": ["1"] * 10 + ["?", "y"], "ill": [0] * 12}
    with pytest.raises(DataError, match=r"record 12: column 'x' is not a number"):
        parquet(tmp_path, columns, NUMBER).read(claim=False)


def test_a_record_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    table = source(tmp_path, ROWS[0], 'p1,north,x,1,1,0,train,"two\nlines"')
    with pytest.raises(DataError, match=r"visits\.csv, line 3: column 'age'"):
        table.read(claim=False)


@pytest.mark.usefixtures("_small_blocks")
def test_a_bad_value_beyond_the_first_block_is_refused_with_its_line(tmp_path: Path) -> None:
    table = source(tmp_path, *[ROWS[0]] * 30, ROWS[0].replace("30", "x"))
    with pytest.raises(DataError, match=r"visits\.csv, line 32: column 'age'"):
        table.read(claim=False)


@pytest.mark.usefixtures("_small_blocks")
def test_blocks_put_together_are_the_whole(tmp_path: Path) -> None:
    small = source(tmp_path, *ROWS * 9).read(claim=False)
    assert len(small.train.examples) == 9
    assert small.train.groups == (b"p1",) * 9


def test_a_place_that_python_cannot_count_to_is_a_record(tmp_path: Path) -> None:
    huge = "p1,north,30,1,1,0,train," + "x" * 200_000
    table = source(tmp_path, huge, ROWS[0].replace("30", "x"))
    with pytest.raises(DataError, match=r"visits\.csv, record 2: column 'age'"):
        table.read(claim=False)


NUMBER = declared(
    site=None,
    sites=None,
    group=None,
    split=None,
    columns=[{"name": "x", "range": [0, 10], "missing": "indicator"}],
)


@pytest.mark.parametrize(
    "values",
    [
        pyarrow.array([5, None, 10], pyarrow.int8()),
        pyarrow.array([5, None, 10], pyarrow.uint64()),
        pyarrow.array([5.0, None, 10.0], pyarrow.float32()),
        pyarrow.array([5.0, float("nan"), 10.0], pyarrow.float64()),
        pyarrow.array([Decimal("5.0"), None, Decimal("10.0")], pyarrow.decimal128(4, 1)),
        pyarrow.array(["5", "NA", " 10"]),
        pyarrow.array(["5", None, "10"], pyarrow.large_string()),
        pyarrow.array(["5", "NA", "10"]).dictionary_encode(),
        pyarrow.array([5, None, 2**62 + 1], pyarrow.int64()),
    ],
    ids=lambda values: str(values.type),
)
def test_every_type_of_number_in_parquet_is_a_number(tmp_path: Path, values: Any) -> None:
    table = parquet(tmp_path, {"x": values, "ill": [0, 1, 0]}, NUMBER)
    features = table.read(claim=False).train.examples.features
    assert features.tolist() == [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


LEVEL = declared(
    site=None,
    sites=None,
    group="patient",
    split=None,
    columns=[{"name": "x", "levels": [1, 2], "missing": "indicator"}],
)


@pytest.mark.parametrize(
    "values",
    [
        pyarrow.array([1, None, 2], pyarrow.int8()),
        pyarrow.array([1.0, None, 2.0]),
        pyarrow.array([1.0, float("nan"), 2.0]),
        pyarrow.array(["1", None, "2.0"]),
        pyarrow.array(["1", "NA", "2.0"], pyarrow.large_string()),
        pyarrow.array([b"1", b"", b"2"]),
        pyarrow.array(["1", None, "2"]).dictionary_encode(),
        pyarrow.array([Decimal("1.0"), None, Decimal("2.0")]),
    ],
    ids=lambda values: str(values.type),
)
def test_every_type_of_level_in_parquet_is_a_level(tmp_path: Path, values: Any) -> None:
    columns = {"x": values, "ill": [0, 1, 0], "patient": [7, 7, 8]}
    records = parquet(tmp_path, columns, LEVEL).read(claim=False)
    assert records.train.examples.features.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert records.train.groups == (b"7", b"7", b"8")


def test_truth_values_in_parquet_are_binary(tmp_path: Path) -> None:
    schema = with_column("sex", missing="drop")
    columns = {
        name: [cell] for name, cell in zip(HEADER.split(","), ROWS[0].split(","), strict=True)
    }
    for value, feature in ((True, 1.0), (False, 0.0)):
        table = parquet(tmp_path, {**columns, "sex": [value]}, schema)
        assert table.read(claim=False).train.examples.features[0, 1] == feature


def test_a_column_of_nulls_is_missing_throughout(tmp_path: Path) -> None:
    for schema, name in ((NUMBER, "x"), (LEVEL, "x")):
        columns = {name: pyarrow.nulls(2), "ill": [0, 1], "patient": [1, 2]}
        features = parquet(tmp_path, columns, schema).read(claim=False).train.examples.features
        assert features[:, -1].tolist() == [1.0, 1.0]


def test_parquet_has_records_instead_of_lines(tmp_path: Path) -> None:
    table = parquet(tmp_path, {"x": [1.0, float("inf")], "ill": [0, 1]}, NUMBER)
    with pytest.raises(DataError, match=r"visits\.parquet, record 2: column 'x' is not a number"):
        table.read(claim=False)


@pytest.mark.parametrize("schema", [NUMBER, LEVEL], ids=["number", "level"])
@pytest.mark.parametrize("claim", [False, True])
def test_lists_in_parquet_are_refused(tmp_path: Path, schema: Schema, claim: bool) -> None:
    columns = {"x": [[1], [2]], "ill": [0, 1], "patient": [1, 2]}
    with pytest.raises(DataError, match=r"column 'x' holds list<.*>, not (numbers|single values)"):
        parquet(tmp_path, columns, schema).read(claim=claim)


def test_dates_in_parquet_are_no_numbers(tmp_path: Path) -> None:
    columns = {"x": [datetime.date(2020, 1, 1)], "ill": [0]}
    with pytest.raises(DataError, match=r"column 'x' holds date32\[day\], not numbers"):
        parquet(tmp_path, columns, NUMBER).read(claim=True)


def test_a_damaged_page_of_parquet_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = parquet(tmp_path, {"x": rng.normal(size=5000), "ill": [0] * 5000}, NUMBER)
    content = bytearray(table.path.read_bytes())
    content[4:200] = bytes(196)
    table.path.write_bytes(content)
    with pytest.raises(DataError, match=r"visits\.parquet is damaged: its records cannot be read"):
        table.read(claim=True)


def test_csv_and_parquet_of_the_same_records_are_the_same(tmp_path: Path) -> None:
    columns = dict(
        zip(HEADER.split(","), zip(*(row.split(",") for row in ROWS), strict=True), strict=True)
    )
    from_csv = source(tmp_path).read(claim=False)
    from_parquet = parquet(tmp_path, columns, declared()).read(claim=False)
    assert from_csv.train.groups == from_parquet.train.groups
    assert from_csv.train.examples.features.equal(from_parquet.train.examples.features)


def test_a_site_may_have_either_format(tmp_path: Path) -> None:
    parquet(tmp_path / "s", {"x": [0.0], "ill": [0]}, NUMBER, "b.parquet")
    csv(tmp_path / "s", b"x,ill\n10,1\n", "a.csv")
    table = TableSource(tmp_path / "s" / "*", NUMBER)
    records = table.read(claim=False)
    assert records.sites == ("a", "b")
    assert records.train.examples.features.tolist() == [[1.0, 0.0], [-1.0, 0.0]]
    assert tally(table).records == 2
