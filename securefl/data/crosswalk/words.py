"""What a crosswalk declares for a column: TOML -> the words of each site and their common words.

    [columns.diagnosis]
    terms = { ill = "ill", healthy = "healthy" }
    codes = [{ system = "ICD-10", version = "2019", code = "I20.0", value = "ill" }]
    hierarchy = { angina = "ischaemic", infarct = "ischaemic" }

    [columns.diagnosis.sites.basel]
    terms = { krank = "ill", gesund = "healthy" }
    synonyms = { "kr." = "krank" }
    patterns = [{ pattern = "I2[0-5].*", value = "ill" }]
    missing = ["k. A."]

`securefl.data.crosswalk.lookup` finds the common word of a site's word. The tables of codes belong
to their publishers, and none is shipped: a crosswalk lists the codes that its sites use.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from securefl.data.crosswalk.pattern import compile_pattern
from securefl.data.own.columns import Section
from securefl.data.own.spelling import canonical, declared

# ICD-9 is not among them: its codes are decimals, and a table reads 250.0 and 250.00 as one number.
CODE_SYSTEMS = ("ICD-10", "ICD-10-CM", "ICD-10-GM", "ICD-11", "LOINC", "SNOMED CT")

# From word to word, along synonyms or up the hierarchy.
MAX_STEPS = 16


def _known_system(system: str) -> str:
    if system not in CODE_SYSTEMS:
        raise ValueError(f"unknown code system; known ones are {', '.join(CODE_SYSTEMS)}")
    return system


def _readable(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


def _no_word_twice(words: object) -> object:
    """Refuses two spellings of one word: the later one would win silently."""
    if isinstance(words, Mapping):
        for word, count in Counter(map(canonical, words)).items():
            if count > 1:
                raise ValueError(f"{word!r} is there twice")
    return words


Term = Annotated[str, BeforeValidator(declared)]
Terms = Annotated[dict[Term, Term], BeforeValidator(_no_word_twice)]
Text = Annotated[str, Field(min_length=1, max_length=200, strict=True)]


class Code(Section):
    """A code that a site writes in the place of a word.

    The record holds the code alone, so that system and version are for people. The version is that
    of the publisher's table, such as "2019" or "2024-03-01".
    """

    system: Annotated[str, AfterValidator(_known_system)]
    version: Text
    code: Term
    value: Term


class Pattern(Section):
    """A regular expression that matches whole words; see `compile_pattern`."""

    pattern: Annotated[Text, AfterValidator(_readable)]
    value: Term


class Words(Section):
    """The words of one site, or those that all sites use.

    terms name the common word for each word, letter by letter. synonyms name another word of the
    site, which is looked up in its place. missing are words that mean that there is no value.
    """

    terms: Terms = Field(default_factory=dict)
    synonyms: Terms = Field(default_factory=dict)
    codes: tuple[Code, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    missing: tuple[Term, ...] = ()

    @model_validator(mode="after")
    def _each_word_means_one_thing(self) -> "Words":
        for word in self.missing:
            if word in self.terms:
                raise ValueError(f"{word!r} is among terms and among missing; it can be one only")
        for word in self.synonyms:
            if word in self.terms or word in self.missing:
                raise ValueError(f"{word!r} has an entry of its own, so it is no synonym")
        meanings: dict[str, str] = {}
        for code in self.codes:
            if meanings.setdefault(code.code, code.value) != code.value:
                raise ValueError(
                    f"code {code.code!r} stands for {meanings[code.code]!r} and for"
                    f" {code.value!r}; a record does not say which system it is of"
                )
        return self

    @property
    def values(self) -> frozenset[str]:
        """The common words that these words lead to."""
        entries: list[Code | Pattern] = [*self.codes, *self.patterns]
        return frozenset([*self.terms.values(), *(entry.value for entry in entries)])


class ColumnWords(Words):
    """The words of one column: those of all sites, and those of single ones.

    hierarchy names the wider word for each common word. A record with the wider word has a coarse
    label: one of the classes below it, and nobody knows which.
    """

    hierarchy: Terms = Field(default_factory=dict)
    sites: dict[str, Words] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _hierarchy_ends(self) -> "ColumnWords":
        refuse_circle(self.hierarchy, "the hierarchy goes")
        return self

    @property
    def common(self) -> frozenset[str]:
        """Every common word that the column knows."""
        values = [*self.values, *self.hierarchy, *self.hierarchy.values()]
        return frozenset(values).union(*(words.values for words in self.sites.values()))

    @property
    def coarse(self) -> dict[str, frozenset[str]]:
        """Each wider word, and the narrowest words below it."""
        wider = dict.fromkeys(self.hierarchy.values())
        below: dict[str, set[str]] = {word: set() for word in wider}
        for narrowest in self.hierarchy.keys() - wider.keys():
            above = self.hierarchy.get(narrowest)
            while above is not None:
                below[above].add(narrowest)
                above = self.hierarchy.get(above)
        return {word: frozenset(words) for word, words in below.items()}


def refuse_circle(steps: Mapping[str, str], what: str) -> None:
    """Refuses steps from word to word that come back to where they began, or are too many.

    Raises:
        ValueError: they do; the sentence names the words.
    """
    for start in steps:
        way = [start]
        while way[-1] in steps and len(way) <= MAX_STEPS:
            way.append(steps[way[-1]])
            if way[-1] in way[:-1]:
                circle = way[way.index(way[-1]) :]
                raise ValueError(f"{what} in a circle: {' -> '.join(map(repr, circle))}")
        if way[-1] in steps:
            raise ValueError(f"{what} from {start!r} in more than {MAX_STEPS} steps")
