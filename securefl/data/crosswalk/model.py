"""A crosswalk: for every column that needs one, the words of the sites and their common words."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from securefl.data.crosswalk.lookup import How, Mapped, check_synonyms, lookup_of
from securefl.data.crosswalk.words import ColumnWords
from securefl.data.own.columns import Section
from securefl.data.own.spelling import MISSING_WORDS, canonical


class Crosswalk(Section):
    """The words of all columns that need one.

    unmapped says what becomes of a word that has no entry, or several that differ: it refuses the
    run, or drops the record. Where a run claims privacy, the record is always dropped.

    not_observed names, for a site, the label columns that it never looked for. It is declared: a
    site's labels are never judged unobserved by its records.
    """

    columns: dict[str, ColumnWords] = Field(default_factory=dict)
    unmapped: Literal["refuse", "drop"] = "refuse"
    not_observed: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _every_synonym_leads_somewhere(self) -> "Crosswalk":
        if not self.columns and not self.not_observed:
            raise ValueError("a crosswalk needs columns, or labels that are not observed")
        for name, words in self.columns.items():
            check_synonyms(name, words)
        return self

    @property
    def sites(self) -> frozenset[str]:
        """Every site that the crosswalk names."""
        named = [words.sites for words in self.columns.values()]
        return frozenset(self.not_observed).union(*named)

    def terms(self, column: str, site: str | None, values: Sequence[str]) -> tuple[Mapped, ...]:
        """Returns what becomes of the words of a column at a site, in their order.

        Args:
            column: its name; a column that the crosswalk does not name keeps its words.
            site: its name; None uses the words of all sites alone.
            values: the words, as the site spells them.
        """
        words = [canonical(value) for value in values]
        if column not in self.columns:
            return tuple(map(unchanged, words))
        lookup = lookup_of(self.columns[column], site)
        return tuple(
            unchanged(word) if word in MISSING_WORDS else lookup.mapped(word) for word in words
        )


def unchanged(word: str) -> Mapped:
    """Returns a word as it is; the words that mean missing in every column have no value."""
    return Mapped(None, How.MISSING) if word in MISSING_WORDS else Mapped(word, How.VALUE)
