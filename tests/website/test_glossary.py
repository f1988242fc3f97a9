"""docs/glossary.md: terms that the documentation uses, in order, each with a page to read on."""

import re

import pytest

from tests.paths import ROOT

PAGE = ROOT / "docs/glossary.md"
SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
ENTRIES = [tuple(section.strip().split("\n\n", 1)) for section in SECTIONS]
TERMS = [term for term, _ in ENTRIES]
PAGES = [path for path in (ROOT / "docs").rglob("*.md") if path != PAGE]
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in PAGES).lower()


def test_the_terms_are_in_alphabetical_order() -> None:
    assert sorted(TERMS, key=str.casefold) == TERMS
    assert len(TERMS) > 50


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_used_in_the_documentation(term: str) -> None:
    assert re.search(rf"\b{re.escape(term.lower())}(s|es|d|ed|ping|ped)?\b", DOCS)


@pytest.mark.parametrize(("term", "text"), ENTRIES, ids=TERMS)
def test_a_term_is_explained_in_three_sentences_at_most_and_leads_to_a_page(
    term: str, text: str
) -> None:
    explained, see, links = text.replace("\n", " ").rpartition(" See [")
    assert see
    assert re.fullmatch(
        r"[\w.-]+\]\([\w./-]+\.md(#[\w-]+)?\)( and \[[\w.-]+\]\([\w.-]+\))?\.", links
    )
    assert 1 <= len(re.findall(r"[.:](?= |$)", explained)) <= 3
    assert not explained.lower().startswith(term.lower())
