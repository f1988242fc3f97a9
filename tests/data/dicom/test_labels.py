"""Labels: one line a series, study or patient; a bad line is named by its number alone."""

from pathlib import Path
from typing import Any

import pytest

from securefl.data.dicom.files import Flaw
from securefl.data.dicom.labels import DROPPED, Line, check_header, read_labels, term_of
from securefl.errors import DataError
from tests.data.dicom.files import dicom, schema, source

SPLIT = {"site": "site", "sites": ["bern", "chur"], "split": "split", "splits": ["train", "test"]}


def lines(root: Path, text: bytes, **changes: Any) -> tuple[dict[tuple[str, str], Any], list[str]]:
    """Returns the lines of a file, and the sentences about bad ones."""
    path = root / "labels.csv"
    path.write_bytes(text)
    sentences: list[str] = []
    found = read_labels(path, schema(**changes), sentences.append)
    return dict(found.lines), sentences


def test_lines_are_read_with_their_numbers(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbflabel,x,series\r\n1.0,"a, b",1.2.3\r\n\r\n 0 ,,"1.2.4"\n'
    assert lines(tmp_path, text) == (
        {("", "1.2.3"): Line(2, 1, 0), ("", "1.2.4"): Line(4, 0, 0)},
        [],
    )


def test_a_line_may_be_of_one_site_and_of_one_split(tmp_path: Path) -> None:
    text = b"series,label,site,split\n1,0,bern,train\n1,1,chur,test\n"
    found, sentences = lines(tmp_path, text, **SPLIT)
    assert found == {("bern", "1"): Line(2, 0, 0), ("chur", "1"): Line(3, 1, 1)}
    assert not sentences


def test_a_term_has_one_spelling() -> None:
    terms = [term_of(schema(), "bern", text).value for text in (" 1.0", "1", "007", "ill ", "NA")]
    assert terms == ["1", "1", "007", "ill", None]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"1,2,bern,train", "line 2 has a label that is in no class"),
        (b"1,NA,bern,train", "line 2 has no label"),
        (b"1,1,thun,train", "line 2 is of no declared site"),
        (b"1,1,bern,val", "line 2 has another split than train, test"),
        (b" ,1,bern,train", "line 2 has no value of 'series'"),
        (b"1,1,bern", "line 2 has 3 fields, and the header has 4"),
        (b"1,1,bern,tr\xff", "line 2 is not UTF-8 text"),
        (b'1,1,bern,"train', "line 2 is no line of CSV"),
        (b"1,1,bern," + b"t" * 2**16, "line 2 has more than 65536 bytes"),
    ],
    ids=["label", "missing", "site", "split", "key", "fields", "bytes", "quote", "long"],
)
def test_a_bad_line_is_named_and_spoils_no_other(
    tmp_path: Path, line: bytes, sentence: str
) -> None:
    text = b"series,label,site,split\n" + line + b"\n2,1,bern,train\n"
    found, sentences = lines(tmp_path, text, **SPLIT)
    # A series whose line is bad has no sentence of its own.
    good = {place: read for place, read in found.items() if read and read.code != DROPPED}
    assert good == {("bern", "2"): Line(3, 1, 0)}
    (given,) = sentences
    assert sentence in given


def test_a_second_line_spoils_both(tmp_path: Path) -> None:
    found, sentences = lines(tmp_path, b"series,label\n1,0\n2,1\n1,0\n")
    assert found == {("", "1"): None, ("", "2"): Line(3, 1, 0)}
    assert sentences == ["data.labels, line 4 is the second line of one series"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "has no column 'series'; is its first line a header with series, label\\?"),
        (b"1.2.3,Anna\n", "is its first line a header with series, label\\?$"),
        (b"Serie;Befund\n1;2\n", "has no column 'series'; its header is a single column: write"),
        (b"series,Befund\n", "has no column 'label'; it has series, Befund$"),
        (b"series,label,label\n", "has 2 columns 'label'"),
        (b"\xff\n", "the header of .* is not UTF-8"),
    ],
    ids=["empty", "no header", "semicolons", "other name", "twice", "bytes"],
)
def test_a_header_must_have_each_column_once(tmp_path: Path, text: bytes, sentence: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=sentence):
        check_header(path, schema())


def test_labels_that_are_not_there_or_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"data.labels: cannot read .*No such file"):
        check_header(tmp_path / "none.csv", schema())
    monkeypatch.setattr("securefl.data.dicom.labels.MAX_LABEL_BYTES", 3)
    (tmp_path / "labels.csv").write_bytes(b"series")
    with pytest.raises(DataError, match="has more than 3 bytes"):
        check_header(tmp_path / "labels.csv", schema())


def test_labels_of_a_site_are_not_those_of_another(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("series,label,site\n1,0,bern\n", encoding="utf-8")
    found = read_labels(path, schema(site="site", sites=["bern", "chur"]), pytest.fail)
    assert found.of("bern", "1") == Line(2, 0, 0)
    with pytest.raises(Flaw, match="has no line"):
        found.of("chur", "1")


@pytest.mark.parametrize(("by", "key"), [("series", "1.2.3"), ("study", "1.2"), ("patient", "P1")])
def test_labels_join_by_series_study_or_patient(tmp_path: Path, by: str, key: str) -> None:
    dicom(tmp_path / "sites/bern/a")
    records = source(tmp_path, {key: 1}, by=by).read(claim=False)
    assert records.train.examples.labels.tolist() == [1]
    with pytest.raises(DataError, match=r"the series of this file has no line in data\.labels"):
        source(tmp_path, {"other": 1}, by=by).read(claim=False)


def test_one_label_stands_for_one_series_unless_all_are_wanted(tmp_path: Path) -> None:
    for series in ("1.2.3", "1.2.4"):
        dicom(tmp_path / "sites/bern" / series, series=series)
    dicom(tmp_path / "sites/bern/p2", series="1.2.5", study="1.3", patient="P2")
    opened = source(tmp_path, {"P1": 1, "P2": 0}, by="patient")
    with pytest.raises(DataError, match=r"is one of 2 with the label of one patient; .*\"all\""):
        opened.read(claim=False)
    assert opened.read(claim=True).train.examples.labels.tolist() == [0]
    every = source(tmp_path, {"P1": 1, "P2": 0}, by="patient", series="all")
    assert every.read(claim=False).train.examples.labels.tolist() == [1, 1, 0]


def test_series_without_a_line_are_left_out_where_the_schema_says_so(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/a")
    dicom(tmp_path / "sites/bern/scout", series="1.2.9", orientation=[0, 1, 0, 0, 0, 1])
    dicom(tmp_path / "sites/bern/report", series="1.2.8", Modality="SR")
    for claim in (False, True):
        records = source(tmp_path, others="skip").read(claim=claim)
        assert records.train.examples.labels.tolist() == [1]
    with pytest.raises(DataError, match=r"file 2 of 3: is of another modality than CT; others ="):
        source(tmp_path).read(claim=False)
