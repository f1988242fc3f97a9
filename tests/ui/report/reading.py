"""Reads a page as a browser would: its tables, its text, its links."""

import base64
import csv
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """What a page holds.

    Attributes:
        tables: id -> rows of cells as text, the head first.
        text: all text outside of style and script.
        downloads: name of a file -> its content.
        tags: the names of all elements.
    """

    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    text: str = ""
    downloads: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _table: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        if tag not in ("meta", "link", "br", "img"):
            self._open.append(tag)
        if tag == "table":
            self._table = known.get("id") or f"table-{len(self.tables)}"
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
        elif tag == "a" and "download" in known:
            coded = str(known["href"]).partition("base64,")[2]
            self.downloads[str(known["download"])] = base64.b64decode(coded).decode()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self._open):
            return
        self.text += data
        if ("td" in self._open or "th" in self._open) and "sup" not in self._open:
            self.tables[self._table][-1][-1] += data.strip("\n")


def read(text: str) -> Page:
    """Returns what a page holds; every element has to be closed."""
    page = Page()
    page.feed(text)
    page.close()
    assert page._open == []
    return page


def rows_of(text: str) -> list[dict[str, str]]:
    """Returns the rows of CSV text."""
    return list(csv.DictReader(io.StringIO(text)))
