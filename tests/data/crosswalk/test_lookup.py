"""The order in which words are looked up, and what becomes of those without an entry."""

import tomllib
from pathlib import Path

import pytest

from securefl.data.crosswalk.lookup import How
from securefl.data.crosswalk.model import Crosswalk
from securefl.data.crosswalk.read import read_crosswalk
from securefl.errors import ScenarioError

MAP = r"""
[columns.diagnosis]
terms = { sick = "ill", fit = "healthy" }
synonyms = { sickish = "sick" }
codes = [
  { system = "ICD-10", version = "2019", code = "I20.0", value = "ill" },
  { system = "SNOMED CT", version = "2024-03-01", code = "22298006", value = "ill" },
]
patterns = [
  { pattern = 'I2[0-5].*', value = "healthy" },
  { pattern = 'x+', value = "ill" },
  { pattern = 'xx', value = "healthy" },
]
missing = ["no idea"]
hierarchy = { ill = "any", healthy = "any" }

[columns.diagnosis.sites.bern]
terms = { krank = "ill", sick = "healthy" }
synonyms = { "kr." = "krank" }
patterns = [{ pattern = 'I2.*', value = "ill" }]

[columns.diagnosis.sites.chur]
missing = ["k. A."]
"""


@pytest.fixture(scope="module")
def crosswalk() -> Crosswalk:
    return read_crosswalk(tomllib.loads(MAP))


def looked_up(crosswalk: Crosswalk, site: str | None, word: str) -> tuple[str | None, How]:
    (mapped,) = crosswalk.terms("diagnosis", site, [word])
    return mapped.value, mapped.how


@pytest.mark.parametrize(
    ("site", "word", "value", "how"),
    [
        (None, "sick", "ill", How.TERM),
        (None, " sick ", "ill", How.TERM),
        (None, "Sick", None, How.UNMAPPED),
        (None, "sickish", "ill", How.SYNONYM),
        (None, "ill", "ill", How.VALUE),
        (None, "any", "any", How.VALUE),
        # A code comes before a pattern that matches it, too.
        (None, "I20.0", "ill", How.CODE),
        (None, "22298006", "ill", How.CODE),
        (None, "I20.1", "healthy", How.PATTERN),
        (None, "x", "ill", How.PATTERN),
        (None, "xx", None, How.AMBIGUOUS),
        (None, "no idea", None, How.MISSING),
        (None, "NA", None, How.MISSING),
        (None, "krank", None, How.UNMAPPED),
        (None, "x" * 201, None, How.UNMAPPED),
        ("bern", "krank", "ill", How.TERM),
        ("bern", "kr.", "ill", How.SYNONYM),
        # The site's own entry comes first, and the synonym of all sites follows it.
        ("bern", "sick", "healthy", How.TERM),
        ("bern", "sickish", "healthy", How.SYNONYM),
        ("bern", "I20.1", "ill", How.PATTERN),
        ("bern", "I20.0", "ill", How.CODE),
        # A common word does not stand for itself where a site has terms of its own.
        ("bern", "ill", None, How.UNMAPPED),
        ("chur", "ill", "ill", How.VALUE),
        ("chur", "k. A.", None, How.MISSING),
        ("elsewhere", "sick", "ill", How.TERM),
    ],
)
def test_a_word_becomes_the_first_entry_in_the_order_of_the_levels(
    crosswalk: Crosswalk, site: str | None, word: str, value: str | None, how: How
) -> None:
    assert looked_up(crosswalk, site, word) == (value, how)


def test_words_that_nothing_maps_are_not_known(crosswalk: Crosswalk) -> None:
    words = crosswalk.terms("diagnosis", None, ["sick", "no idea", "huh", "xx"])
    assert [word.is_known for word in words] == [True, True, False, False]


def test_a_column_without_an_entry_keeps_its_words(crosswalk: Crosswalk) -> None:
    words = crosswalk.terms("cp", "bern", ["1.0", "NULL"])
    assert [word.value for word in words] == ["1", None]


def test_a_file_with_a_mistake_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text("columns = 3", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"map\.toml: columns: "):
        read_crosswalk(path)
    with pytest.raises(ScenarioError, match=r"other\.toml"):
        read_crosswalk(tmp_path / "other.toml")
