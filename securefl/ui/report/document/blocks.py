"""Blocks of a document, which its page and its Markdown are both made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from securefl.ui.report.figure import Figure
from securefl.ui.report.table import Table, Value


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    kind: ClassVar[str] = "words"
    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar[str] = "items"
    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names, each with a sentence or two."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Cells:
    """A table with the sentence that says what it shows.

    Attributes:
        caption: above the table.
        table: its numbers with all digits.
    """

    kind: ClassVar[str] = "cells"
    caption: str
    table: Table

    @property
    def rows(self) -> list[list[str]]:
        """The table's cells as text."""
        return [[shown(value) for value in row] for row in self.table.rows]


@dataclass(frozen=True)
class Code:
    """A command."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Figures:
    """Drawings of what was measured."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]


Block = Words | Items | Facts | Cells | Code | Figures


class Section(NamedTuple):
    """A section of a document."""

    title: str
    blocks: Sequence[Block]


class Document(NamedTuple):
    """The document of one audit.

    Attributes:
        name: of its files, without an ending.
        title: names the adversary and its target.
        learned: above the headlines.
        headlines: everything that was learned beyond guessing; they come first.
        verdict: on the claim, one word or two.
        meaning: of the verdict, in one sentence.
        sections: in the order of reading.
    """

    name: str
    title: str
    learned: str
    headlines: Sequence[str]
    verdict: str
    meaning: str
    sections: Sequence[Section]


def shown(value: Value) -> str:
    """Returns a cell as text: numbers in three digits behind the point, nothing for None."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
