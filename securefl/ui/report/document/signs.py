"""Signs that no page and no XML can hold, in names that somebody chose."""

import re

# All that XML 1.0 forbids: control characters, halves of a pair, and two that are no characters.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")


def allowed(text: str) -> str:
    """Returns text in which each sign that XML forbids is shown as the sign for a broken one."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Returns such text in one line."""
    return allowed(_BREAKS.sub(" ", text))
