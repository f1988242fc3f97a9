"""Signs that no page can hold: shown as broken ones, and nothing else is changed."""

import pytest

from securefl.ui.report.document.signs import allowed, one_line


@pytest.mark.parametrize("text", ["plain", "ä\U0001f600\u202e", "a\nb\tc\rd", "\ufdd0", "<&>"])
def test_signs_that_xml_allows_stay(text: str) -> None:
    assert allowed(text) == text


@pytest.mark.parametrize("sign", ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\ufffe"])
def test_signs_that_xml_forbids_are_shown_as_broken(sign: str) -> None:
    assert allowed(f"a{sign}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_line_breaks_of_every_kind_become_a_space() -> None:
    assert one_line("a\r\nb\x0bc\x85d\u2028e\x1cf") == "a b c d e f"
