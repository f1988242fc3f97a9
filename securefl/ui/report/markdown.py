"""The tables of a study, from the Markdown that `securefl bench` wrote."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from securefl.errors import RunFolderError
from securefl.ui.report.sharing import shareable

_PIPE = re.compile(r"(?<!\\)\|")  # a pipe in a cell is written with a backslash


class Block(NamedTuple):
    """A part of the text.

    Attributes:
        kind: "heading", "table", "items" or "text".
        lines: of text, one a heading, item or paragraph; empty for a table.
        head: of a table.
        rows: of a table.
    """

    kind: Literal["heading", "table", "items", "text"]
    lines: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def blocks_in(path: Path) -> list[Block]:
    """Returns the parts of a Markdown file of tables; empty where there is no such file.

    Raises:
        RunFolderError: it cannot be read.
    """
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RunFolderError(f"{path} is damaged: it is not UTF-8 text") from None
    return list(_blocks(shareable(text)))


def _blocks(text: str) -> Iterator[Block]:
    for kind, group in groupby(text.splitlines(), key=_kind):
        lines = list(group)
        if kind == "heading":
            # The first one is the study's title, which the page has at its top.
            yield from (
                Block("heading", [line.lstrip("# ")]) for line in lines if line.startswith("##")
            )
        elif kind == "table":
            yield _table(lines)
        elif kind == "items":
            yield Block("items", [line.removeprefix("- ") for line in lines])
        elif kind == "text":
            yield Block("text", lines)


def _kind(line: str) -> str:
    if line.startswith("|"):
        return "table"
    if line.startswith("#"):
        return "heading"
    if line.startswith("- "):
        return "items"
    return "text" if line.strip() else ""


def _table(lines: Sequence[str]) -> Block:
    head, _, *rows = [_cells(line) for line in lines] if len(lines) > 1 else [_cells(lines[0]), []]
    width = len(head)
    return Block("table", (), head, [[*row, *[""] * width][:width] for row in rows])


def _cells(line: str) -> list[str]:
    parts = _PIPE.split(line)[1:]
    cells = [part.strip().replace("\\|", "|") for part in parts]
    return cells[:-1] if cells and cells[-1] == "" else cells
