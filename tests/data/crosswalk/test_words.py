"""What a crosswalk may declare, and the sentences that refuse the rest."""

from typing import Any

import pytest

from securefl.data.crosswalk.lookup import How
from securefl.data.crosswalk.model import Crosswalk
from securefl.data.crosswalk.read import read_crosswalk
from securefl.errors import ScenarioError


def column(**words: Any) -> dict[str, Any]:
    return {"columns": {"diagnosis": words}}


def code(**changes: str) -> dict[str, str]:
    return {"system": "ICD-10", "version": "2019", "code": "I20", "value": "ill", **changes}


def chain(steps: int) -> dict[str, str]:
    """Returns steps from w0 to w1 and so on."""
    return {f"w{step}": f"w{step + 1}" for step in range(steps)}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "the crosswalk: a crosswalk needs columns, or labels"),
        (column(nonsense=1), "unknown key 'columns.diagnosis.nonsense'"),
        (
            column(codes=[code(system="ICD-9-CM")]),
            r"columns\.diagnosis\.codes\.0\.system: unknown code system; known ones are ICD-10,",
        ),
        (column(codes=[code(version="")]), r"codes\.0\.version"),
        (
            column(codes=[code(), code(system="LOINC", value="healthy")]),
            r"columns\.diagnosis: code 'I20' stands for 'ill' and for 'healthy'",
        ),
        (
            column(hierarchy={"a": "b", "b": "c", "c": "a"}),
            r"columns\.diagnosis: the hierarchy goes in a circle: 'a' -> 'b' -> 'c' -> 'a'",
        ),
        (
            column(synonyms={"a": "b", "b": "a"}),
            r"columns\.diagnosis: synonyms go in a circle: 'a' -> 'b' -> 'a'",
        ),
        (
            column(
                synonyms={"a": "b"}, terms={"b": "ill"}, sites={"bern": {"synonyms": {"x": "y"}}}
            ),
            r"columns\.diagnosis\.sites\.bern: the synonym 'x' leads to 'y', which has no entry",
        ),
        (
            # Only together do the synonyms of all and of one site make a circle.
            column(
                synonyms={"a": "b"},
                patterns=[{"pattern": "b", "value": "ill"}],
                sites={"bern": {"synonyms": {"b": "a"}}},
            ),
            r"columns\.diagnosis\.sites\.bern: synonyms go in a circle",
        ),
        (
            # The site's own synonym of a comes first, and it makes the circle.
            column(
                synonyms={"a": "p"},
                terms={"p": "ill"},
                sites={"bern": {"synonyms": {"a": "b", "b": "a"}}},
            ),
            r"columns\.diagnosis\.sites\.bern: synonyms go in a circle",
        ),
        (
            column(synonyms=chain(17), terms={"w17": "ill"}),
            r"columns\.diagnosis: synonyms go from 'w0' in more than 16 steps",
        ),
        (
            column(synonyms=chain(3000), terms={"w3000": "ill"}),
            r"columns\.diagnosis: synonyms go from 'w0' in more than 16 steps",
        ),
        (
            column(hierarchy=chain(17)),
            r"columns\.diagnosis: the hierarchy goes from 'w0' in more than 16 steps",
        ),
        (column(terms={"1": "ill", "1.0": "healthy"}), "'1' is there twice"),
        (column(terms={"a": "ill"}, missing=["a"]), "'a' is among terms and among missing"),
        (column(terms={"a": "ill"}, synonyms={"a": "b"}), "'a' has an entry of its own"),
        (column(terms={"a": "NA"}), "this means missing in every column"),
        (column(patterns=[{"pattern": "(a", "value": "ill"}]), r"patterns\.0\.pattern: a pattern"),
        ({"not_observed": {"bern": []}}, r"not_observed\.bern"),
        ({"unmapped": "keep", "not_observed": {"bern": ["x"]}}, "unmapped"),
        (column(term={}), r"'columns\.diagnosis\.term'; did you mean 'terms'"),
        (
            column(sites={"bern": {"term": {}}}),
            r"'columns\.diagnosis\.sites\.bern\.term'; did you mean 'terms'",
        ),
    ],
)
def test_a_bad_crosswalk_is_refused_with_the_place(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        read_crosswalk(given)


def test_the_narrowest_words_below_a_wider_one_are_found_at_every_height() -> None:
    hierarchy = {"stemi": "infarct", "nstemi": "infarct", "infarct": "heart", "angina": "heart"}
    words = Crosswalk.model_validate(column(hierarchy=hierarchy)).columns["diagnosis"]
    assert words.coarse == {
        "infarct": frozenset({"stemi", "nstemi"}),
        "heart": frozenset({"stemi", "nstemi", "angina"}),
    }


def test_sixteen_steps_lead_to_the_end() -> None:
    given = column(synonyms=chain(16), terms={"w16": "ill"}, hierarchy={"ill": "any"})
    (word,) = read_crosswalk(given).terms("diagnosis", None, ["w0"])
    assert word == ("ill", How.SYNONYM)


def test_a_word_of_a_synonym_may_be_a_code_a_pattern_or_missing() -> None:
    given = column(
        synonyms={"a": "b", "b": "I20", "c": "xx", "d": "none"},
        codes=[code()],
        patterns=[{"pattern": "x+", "value": "healthy"}],
        missing=["none"],
    )
    words = read_crosswalk(given).terms("diagnosis", None, ["a", "b", "c", "d"])
    assert [word.value for word in words] == ["ill", "ill", "healthy", None]
    assert [word.how for word in words] == [How.SYNONYM] * 3 + [How.MISSING]


def test_a_crosswalk_knows_the_sites_that_it_names() -> None:
    given = {**column(sites={"bern": {"terms": {"a": "b"}}}), "not_observed": {"chur": ["x"]}}
    assert read_crosswalk(given).sites == {"bern", "chur"}
