"""A document as Markdown: names that somebody chose stay text."""

import re
from collections.abc import Iterable, Iterator, Sequence

from securefl.ui.report.document.blocks import (
    Block,
    Cells,
    Code,
    Document,
    Facts,
    Figures,
    Items,
    Words,
)
from securefl.ui.report.document.signs import one_line

# All that begins emphasis, code, a link, a tag, an entity, a cell or a formula.
_MARKS = re.compile(r"([\\`*_<>\[\]|&~$])")
# All that begins a heading, a list, a quote or a rule at the start of a line.
_STARTS = re.compile(r"^(\s*)([#+=-]|\d+(?=[.)](?:\s|$)))")
_LINKS = re.compile(r"(?i)(?<=:)/|(?<=www)\.|@")  # addresses that some readers turn into links


def markdown_of(document: Document) -> str:
    """Returns a document as Markdown; the same document gives the same text."""
    verdict = f"Verdict: **{escaped(document.verdict)}**. {escaped(document.meaning)}"
    lines = [f"# {escaped(document.title)}", "", escaped(document.learned), ""]
    lines += [*_items(document.headlines), "", verdict]
    for section in document.sections:
        lines += ["", f"## {escaped(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Returns text that Markdown shows as it is, in one line."""
    line = _LINKS.sub(r"\\\g<0>", _MARKS.sub(r"\\\1", one_line(text)))
    start = _STARTS.match(line)
    # A number is text before its point, and a point can be escaped where a digit cannot.
    if start is not None and start[2].isdigit():
        return f"{line[: start.end()]}\\{line[start.end() :]}"
    return _STARTS.sub(r"\1\\\2", line)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Words(text):
            yield escaped(text)
        case Items(items):
            yield from _items(items)
        case Facts(facts):
            for name, sentences in facts:
                yield from _fact(name, sentences)
        case Cells(caption, table):
            yield from (escaped(caption), "", *_table(table.head, block.rows))
        case Code(text):
            yield from _code(text)
        case Figures(figures):
            for figure in figures:
                yield f"Figure: {escaped(figure.title)}. {escaped(figure.caption)}"


def _fact(name: str, sentences: Sequence[str]) -> Iterator[str]:
    """One sentence in the line of its name, several below it."""
    if len(sentences) == 1:
        yield f"- **{escaped(name)}**: {escaped(sentences[0])}"
        return
    yield f"- **{escaped(name)}**:"
    yield from (f"  {item}" for item in _items(sentences))


def _items(items: Iterable[str]) -> Iterator[str]:
    yield from (f"- {escaped(item)}" for item in items)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = [escaped(name) for name in head]
    yield f"| {' | '.join(names)} |"
    yield f"|{' --- |' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _code(text: str) -> Iterator[str]:
    """A fence that is longer than every run of backticks in the text."""
    line = one_line(text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}console", line, fence)
