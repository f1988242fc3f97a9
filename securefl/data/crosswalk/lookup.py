"""The common word for a word of a site.

    lookup = lookup_of(column, "basel")
    lookup.mapped("krank")  # Mapped(value="ill", how=How.TERM)

Words are looked up in this order: terms, synonyms, codes, patterns. In each of them the site's own
entries come before those of all sites. A common word stands for itself, except at a site with terms
of its own: there the same word may mean something else.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from securefl.data.crosswalk.pattern import Matches, compile_pattern
from securefl.data.crosswalk.words import MAX_STEPS, ColumnWords, Words, refuse_circle


class How(StrEnum):
    """How a word was found, or why not."""

    TERM = "term"
    VALUE = "common word"
    SYNONYM = "synonym"
    CODE = "code"
    PATTERN = "pattern"
    MISSING = "missing"
    UNMAPPED = "unmapped"
    AMBIGUOUS = "ambiguous"


class Mapped(NamedTuple):
    """What became of a word.

    Attributes:
        value: the common word; None where it means missing, or is not known.
        how: it was found, or why not.
    """

    value: str | None
    how: How

    @property
    def is_known(self) -> bool:
        """Whether the crosswalk says what the word means, be it that there is no value."""
        return self.how not in (How.UNMAPPED, How.AMBIGUOUS)


_MISSING = Mapped(None, How.MISSING)
UNMAPPED = Mapped(None, How.UNMAPPED)


class Lookup:
    """The words of one column at one site.

    Args:
        scopes: the site's own words first, then those of all sites.
        common: common words; each stands for itself.
    """

    def __init__(self, scopes: tuple[Words, ...], common: frozenset[str]) -> None:
        self._scopes = scopes
        self._common = frozenset() if len(scopes) > 1 and scopes[0].terms else common
        self._patterns: list[list[tuple[Matches, str]]] = [
            [(compile_pattern(entry.pattern), entry.value) for entry in scope.patterns]
            for scope in scopes
        ]

    def mapped(self, word: str) -> Mapped:
        """Returns the common word for a word in its canonical spelling."""
        exact = self._exact(word)
        if exact is not None:
            return exact
        target = self._synonym(word)
        if target is None:
            return self._without_synonyms(word)
        # `check_synonyms` refuses longer chains, and circles, when the crosswalk is read.
        for _ in range(MAX_STEPS - 1):
            following = None if self._exact(target) is not None else self._synonym(target)
            if following is None:
                break
            target = following
        mapped = self._exact(target) or self._without_synonyms(target)
        return Mapped(mapped.value, How.SYNONYM) if mapped.value is not None else mapped

    def _synonym(self, word: str) -> str | None:
        for scope in self._scopes:
            if word in scope.synonyms:
                return scope.synonyms[word]
        return None

    def _without_synonyms(self, word: str) -> Mapped:
        for scope in self._scopes:
            for code in scope.codes:
                if code.code == word:
                    return Mapped(code.value, How.CODE)
        return self._matched(word)

    def synonyms(self) -> dict[str, str]:
        """Returns the word that each synonym leads to at this site."""
        merged: dict[str, str] = {}
        for scope in reversed(self._scopes):
            merged |= scope.synonyms
        return {word: to for word, to in merged.items() if self._exact(word) is None}

    def _exact(self, word: str) -> Mapped | None:
        for scope in self._scopes:
            if word in scope.terms:
                return Mapped(scope.terms[word], How.TERM)
            if word in scope.missing:
                return _MISSING
        return Mapped(word, How.VALUE) if word in self._common else None

    def _matched(self, word: str) -> Mapped:
        for patterns in self._patterns:
            values = {value for matches, value in patterns if matches(word)}
            if len(values) > 1:
                return Mapped(None, How.AMBIGUOUS)
            for value in values:
                return Mapped(value, How.PATTERN)
        return UNMAPPED


def lookup_of(column: ColumnWords, site: str | None, common: Iterable[str] | None = None) -> Lookup:
    """Returns the lookup of a column at a site.

    Args:
        column: its words.
        site: its name; None uses the words of all sites alone.
        common: the common words that a schema declares; None takes those that the column names.
    """
    words = column.common if common is None else frozenset(common) | column.coarse.keys()
    own = column.sites.get(site) if site is not None else None
    scopes: tuple[Words, ...] = (column,) if own is None else (own, column)
    return Lookup(scopes, words)


def check_synonyms(name: str, column: ColumnWords) -> None:
    """Refuses synonyms that lead in a circle, or to a word that nothing maps.

    Args:
        name: of the column, for a refusal.
        column: its words.

    Raises:
        ValueError: they do; the sentence names column, site and words.
    """
    for site in (None, *column.sites):
        place = f"columns.{name}" if site is None else f"columns.{name}.sites.{site}"
        lookup = lookup_of(column, site)
        refuse_circle(lookup.synonyms(), f"{place}: synonyms go")
        for word, target in _dangling(lookup, column if site is None else column.sites[site]):
            raise ValueError(
                f"{place}: the synonym {word!r} leads to {target!r}, which has no entry"
            )


def _dangling(lookup: Lookup, words: Words) -> Iterator[tuple[str, str]]:
    for word, target in words.synonyms.items():
        if not lookup.mapped(target).is_known:
            yield word, target
