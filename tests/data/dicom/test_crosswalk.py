"""A crosswalk over the labels of DICOM files: each site has words of its own."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from securefl.data.dicom.labels import DROPPED, Line, label_words, read_labels
from securefl.data.dicom.schema import DicomSchema
from securefl.data.dicom.source import DicomSource
from securefl.data.own.agreed import with_crosswalk
from securefl.data.own.site_words import label_site_words
from securefl.errors import DataError, ScenarioError
from tests.data.dicom.files import KEY, dicom, schema

SITES = {"site": "site", "sites": ["bern", "chur"]}
WORDS: dict[str, Any] = {
    "columns": {
        "label": {
            "terms": {"well": "0", "ill": "1"},
            "sites": {"bern": {"terms": {"krank": "1", "gesund": "0"}}, "chur": {}},
        }
    }
}


def with_words(unmapped: str = "refuse", **changes: Any) -> Any:
    return with_crosswalk(schema(**{**SITES, **changes}), {**WORDS, "unmapped": unmapped})


def opened(root: Path, declared: DicomSchema) -> DicomSource:
    return DicomSource(root / "sites", root / "labels.csv", declared, lambda: KEY)


def read(root: Path, text: str, declared: Any) -> tuple[dict[tuple[str, str], Any], list[str]]:
    path = root / "labels.csv"
    path.write_text(text, encoding="utf-8")
    sentences: list[str] = []
    return dict(read_labels(path, declared, sentences.append).lines), sentences


def test_each_site_speaks_with_its_own_words_first(tmp_path: Path) -> None:
    text = "series,label,site\n1,krank,bern\n2,ill,chur\n3,gesund,bern\n4,well,bern\n"
    found, sentences = read(tmp_path, text, with_words())
    assert not sentences
    assert found == {
        ("bern", "1"): Line(2, 1, 0),
        ("chur", "2"): Line(3, 1, 0),
        ("bern", "3"): Line(4, 0, 0),
        ("bern", "4"): Line(5, 0, 0),
    }


def test_a_word_of_another_site_is_refused_with_the_line_alone(tmp_path: Path) -> None:
    found, sentences = read(tmp_path, "series,label,site\n1,krank,chur\n", with_words())
    assert found == {("chur", "1"): Line(2, DROPPED, 0)}
    (sentence,) = sentences
    assert sentence.startswith("data.labels, line 2 has a label that the crosswalk does not know")
    assert "krank" not in sentence


def test_unknown_words_leave_their_series_out_where_the_crosswalk_says_so(tmp_path: Path) -> None:
    declared = with_words("drop")
    text = "series,label,site\n1,odd,bern\n2,krank,bern\n3,NA,bern\n"
    found, sentences = read(tmp_path, text, declared)
    assert [line.code for line in found.values()] == [DROPPED, 1, DROPPED]
    assert sentences == ["data.labels, line 4 has no label"]
    for number in (1, 2):
        dicom(tmp_path / f"sites/bern/{number}", series=str(number), patient=f"P{number}")
    (tmp_path / "sites/chur").mkdir()
    (tmp_path / "labels.csv").write_text("series,label,site\n1,odd,bern\n2,krank,bern\n")
    records = opened(tmp_path, declared).read(claim=False)
    assert records.train.examples.labels.tolist() == [1]


def test_a_label_that_the_crosswalk_declares_missing_leaves_its_series_out(tmp_path: Path) -> None:
    words = {"columns": {"label": {"missing": ["k. A."]}}}
    found, sentences = read(
        tmp_path, "series,label\n1,k. A.\n2,1\n", with_crosswalk(schema(), words)
    )
    assert not sentences
    assert [line.code for line in found.values()] == [DROPPED, 1]


def test_a_wider_word_is_a_coarse_label(tmp_path: Path) -> None:
    words = {"columns": {"label": {"hierarchy": {"1": "odd", "2": "odd"}}}}
    declared = with_crosswalk(
        schema(label={"column": "label", "classes": [["0"], ["1"], ["2"]]}), words
    )
    assert declared.task.groups == ((1, 2),)
    found, _ = read(tmp_path, "series,label\n1,odd\n2,2\n", declared)
    assert [line.code for line in found.values()] == [3, 2]


@pytest.mark.parametrize(
    ("words", "changes", "sentence"),
    [
        (
            {"columns": {"sex": {"terms": {"f": "0"}}}},
            SITES,
            "has words of 'label' and of no other",
        ),
        (WORDS, {}, "need site = the column"),
        (WORDS, {"site": "site", "sites": ["bern", "sion"]}, "names 'chur', which is no declared"),
        ({"columns": {"label": {"terms": {"x": "9"}}}}, {}, "leads to '9', which is no declared"),
        (
            {"columns": {"label": {}}, "not_observed": {"bern": ["label"]}},
            {},
            "has words of 'label' and of no other",
        ),
    ],
    ids=["column", "no site", "site", "value", "observed"],
)
def test_a_crosswalk_that_does_not_fit_is_refused(
    words: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        with_crosswalk(schema(**changes), words)
    with pytest.raises(ValidationError, match=sentence):
        schema(**changes, crosswalk=words)


def test_words_are_counted_by_site_for_the_site_alone(tmp_path: Path) -> None:
    text = "series,label,site\n1,krank,bern\n2,krank,bern\n3,odd,chur\n4,ill,thun\n\n"
    (tmp_path / "labels.csv").write_text(text)
    declared = with_words()
    counts = label_words(tmp_path / "labels.csv", declared)
    assert counts == {("bern", "krank"): 2, ("chur", "odd"): 1}
    words = label_site_words(opened(tmp_path, declared))
    assert [(word.site, word.word, word.records, word.mapped.value) for word in words] == [
        ("bern", "krank", 2, "1"),
        ("chur", "odd", 1, None),
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, 'declare slices = "middle", or a volume'),
        ({"slices": "middle", "by": "patient"}, 'declare series = "all"'),
    ],
    ids=["slices", "series"],
)
def test_under_a_claim_a_record_is_a_series_that_no_other_moves(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        opened(tmp_path, schema(**changes)).require_declared()
    allowed = {"slices": "middle", "by": "patient", "series": "all"}
    opened(tmp_path, schema(**allowed)).require_declared()
    opened(tmp_path, schema(size=[1, 2, 3])).require_declared()


def test_a_label_without_a_crosswalk_must_be_in_a_class(tmp_path: Path) -> None:
    dicom(tmp_path / "sites/bern/1", series="1")
    (tmp_path / "labels.csv").write_text("series,label\n1,2\n")
    with pytest.raises(DataError, match="line 2 has a label that is in no class"):
        opened(tmp_path, schema()).read(claim=False)
