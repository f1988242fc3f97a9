"""Markdown of a document: another program renders it, and names stay text."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from securefl.ui.report.document.blocks import (
    Cells,
    Code,
    Document,
    Facts,
    Figures,
    Items,
    Section,
    Words,
)
from securefl.ui.report.document.make import document_of
from securefl.ui.report.document.markdown import escaped, markdown_of
from securefl.ui.report.document.signs import one_line
from securefl.ui.report.figure import Figure
from securefl.ui.report.table import Table
from tests.ui.report.document.subjects import CHANCE, HOSTILE, LABELS_SHOWN, findings_of

READER = MarkdownIt("commonmark", {"html": True}).enable("table")


def rendered(text: str) -> str:
    html: str = READER.render(text)
    return html


def text_of(markdown: str) -> str:
    """The text that a reader of Markdown sees, by the tokens of another program."""
    (inline,) = [token for token in READER.parse(markdown) if token.type == "inline"]
    children = inline.children or []
    assert {child.type for child in children} <= {"text"}, children
    return "".join(child.content for child in children)


def document(*blocks: Words | Items | Facts | Cells | Code | Figures) -> Document:
    return Document("a", HOSTILE, "b:", [HOSTILE], "holds", "c.", [Section(HOSTILE, blocks)])


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "# no heading",
        "1. no list",
        "23) no list",
        "- no item",
        "+ no item",
        "=== no rule",
        "> no quote",
        "0.557",
        "a\\*b",
        "~~~ no fence",
        "![no](picture)",
        "x  y",
    ],
)
def test_escaped_text_is_read_as_it_was(text: str) -> None:
    assert text_of(escaped(text)) == text


@given(st.text(min_size=1))
def test_any_text_is_read_as_it_was_up_to_space_at_its_ends(text: str) -> None:
    line = one_line(text).strip()
    if line:
        assert text_of(escaped(line)) == line


def test_a_number_keeps_its_point() -> None:
    assert escaped("0.557") == "0.557"
    assert escaped("1. x") == "1\\. x"


def test_every_kind_of_block_is_rendered_and_no_name_becomes_a_tag() -> None:
    figure = Figure("f", HOSTILE, HOSTILE, HOSTILE, "<svg></svg>", Table(("a",), [(1,)]))
    cells = Cells(HOSTILE, Table((HOSTILE, "b"), [(HOSTILE, 0.123456), (None, 3)]))
    facts = Facts([(HOSTILE, (HOSTILE,)), ("two", (HOSTILE, "second"))])
    items = Items([HOSTILE, HOSTILE])
    blocks = (items, Words(HOSTILE), facts, cells, Code(HOSTILE), Figures([figure]))
    page = markdown_of(document(*blocks))
    html = rendered(page)
    allowed = {"h1", "h2", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(re.findall(r"</?([a-z0-9]+)", html)) == allowed | {"pre", "code"}
    assert html.count("<script") == 0
    assert html.count("&lt;script&gt;") == 15
    # One row of the head, two of the body, each with both cells.
    assert html.count("<th>") == 2
    assert html.count("<td>") == 4
    assert "<td>0.123</td>" in html
    assert "<svg" not in page
    # The name and the two sentences of a fact are an item with a list of its own.
    assert html.count("<ul>") == 4


def test_a_command_with_backticks_stays_in_its_fence() -> None:
    page = markdown_of(document(Code("a ```` b\n``` c")))
    tokens = [token for token in READER.parse(page) if token.type == "fence"]
    assert [token.content for token in tokens] == ["a ```` b ``` c\n"]


def test_the_same_findings_give_the_same_bytes_and_every_figure_is_in_them(tmp_path: Path) -> None:
    findings = findings_of(tmp_path, CHANCE, exposures=(LABELS_SHOWN,))
    page = markdown_of(document_of(findings, [findings]))
    assert page == markdown_of(document_of(findings, [findings]))
    assert "| loss threshold | TPR at 1 % FPR | 0.020 | 0.005 | 0.050 |  | 0.010 | 0.062 |" in page
    assert "| loss threshold | AUC | 0.510 |  |  | 0.020 | 0.500 |  |" in page
    assert "| loss threshold | epsilon proven | 0.000 |  |  |  | 0.000 | 2.500 |" in page
    assert "| source | share that is right | 0.500 | 0.050 | 0.100 | yes | of ten |" in page
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Scope",
        "## The adversary and what it observed",
        "## What each attack measured",
        "## Verdicts",
        "## What was not tested",
        "## How to repeat it",
    ]
