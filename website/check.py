"""Follows every link of the built site: `python -m website.check FOLDER`.

The generator checks links between Markdown pages. This check reads the HTML that readers get: links
to files, pictures, anchors, and whatever a browser would fetch from a network.
"""

import posixpath
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# Attributes whose value a browser fetches by itself. A link's `href` waits for a reader's click.
_FETCHED = {
    ("link", "href"),
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}
_NETWORK_STYLE = re.compile(r"url\(\s*[\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//")
# Text that the generator leaves where it could not make something of the Markdown.
_UNRENDERED = re.compile(r"^(?:(?::::|!!!|\?\?\?) \S.*|\|.*\|)$", re.M)
_BLOCKS = {"p", "li", "td", "dd", "div", "section", "blockquote"}


class Reference(NamedTuple):
    """An address that a page names."""

    target: str
    fetched: bool


class Page(HTMLParser):
    """What a page links to, what it fetches, and the anchors that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[Reference] = []
        self.anchors: set[str] = {"", "top"}
        self.text: list[str] = []
        self._code = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects addresses and anchors."""
        self._code += tag in {"code", "pre", "script", "style"}
        if tag in _BLOCKS:
            self.text.append("\n")
        canonical = ("rel", "canonical") in attrs
        for name, value in attrs:
            if name in {"id", "name"} and value:
                self.anchors.add(value)
            elif name in {"href", "src", "data"} and value is not None and not canonical:
                self.references.append(Reference(value, (tag, name) in _FETCHED))

    def handle_endtag(self, tag: str) -> None:
        """Leaves code."""
        self._code -= tag in {"code", "pre", "script", "style"}

    def handle_data(self, data: str) -> None:
        """Collects the text outside code."""
        if not self._code:
            self.text.append(data)


def faults(site: Path) -> Iterator[str]:
    """Yields one sentence for each broken link, and for each address that a page would fetch."""
    pages = {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }
    # A server shows this page at any address, so its links start at the root.
    pages.pop("404.html", None)
    for name, page in pages.items():
        for reference in page.references:
            if problem := _problem(site, pages, name, reference):
                yield f"{name}: {reference.target} {problem}"
        for line in _UNRENDERED.findall("".join(page.text)):
            yield f"{name}: not rendered: {line}"
    for style in sorted(site.rglob("*.css")):
        if _NETWORK_STYLE.search(style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)} fetches from a network"


def _problem(site: Path, pages: dict[str, Page], name: str, reference: Reference) -> str:
    """What is wrong with an address; empty if nothing is."""
    parts = urlsplit(reference.target)
    if parts.scheme or parts.netloc:
        fetched = reference.fetched and parts.scheme != "data"
        return "is fetched from a network" if fetched else ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
    target = path if parts.path else name
    if target.startswith(".."):
        return "leaves the site"
    if (site / target).is_dir():
        target = posixpath.normpath(f"{target}/index.html")
    if not (site / target).exists():
        return "does not exist"
    anchored = target in pages and unquote(parts.fragment) not in pages[target].anchors
    return "names no anchor of that page" if anchored else ""


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print("\n".join(found) or "Every link of the site leads somewhere.")
    sys.exit(1 if found else 0)
