"""Text for a page that is handed on: without paths of a machine, hosts and tracebacks."""

import re
import unicodedata
from pathlib import PurePath

TRACEBACK_MARKS = ("Traceback (most recent call last)", '  File "')
CUT = "…"  # in place of the folders before a file's name, or of a host

# A path in quotation marks may hold spaces; elsewhere it ends at one.
_QUOTED_PATH = re.compile(r"""(?P<mark>["'])(?P<path>(?:[/~\\]|[A-Za-z]:[/\\])[^"'\n]*)(?P=mark)""")
_BARE_PATH = re.compile(
    r"""(?<![\w/.:~…-])(?P<path>(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s"'<>()]+[/\\])+[^/\\\s"'<>(),;:]*)"""
)
# Code that a scenario names: its path ends at a colon and may hold spaces.
CODE_PATH = re.compile(r"(?<=python:)[^:\"'\n]*[/\\]")
_HOST = re.compile(r"""\b(?P<scheme>[a-z][a-z0-9+.-]{1,9}://)[^/\s"'<>]+""")
_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\d.])")
_ERROR = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?::|,|$)", re.MULTILINE)
# They change the direction of the text behind them, also behind the name that holds them.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = ("R", "AL")


def shareable(text: str) -> str:
    """Returns text with only the last part of each absolute path, and without hosts."""
    text = CODE_PATH.sub(f"{CUT}/", text)
    text = _HOST.sub(rf"\g<scheme>{CUT}", text)
    text = _ADDRESS.sub(CUT, text)
    text = _QUOTED_PATH.sub(_without_folders, text)
    return _BARE_PATH.sub(_without_folders, text)


def _without_folders(match: re.Match[str]) -> str:
    mark = match.groupdict().get("mark", "")
    name = PurePath(match["path"].replace("\\", "/")).name
    return f"{mark}{CUT}/{name}{mark}"


def reason_in_short(reason: str) -> str:
    """Returns why a cell ended, in one line; of a traceback only the kind of the error.

    The words of an error that nobody foresaw may quote a training record.
    """
    if any(mark in reason for mark in TRACEBACK_MARKS):
        kinds = [match["kind"] for match in _ERROR.finditer(reason) if match["kind"] != "Traceback"]
        kind = f" ({kinds[-1]})" if kinds else ""
        return f"an error inside the program{kind}; status.json of the cell says where"
    return shareable(" ".join(reason.split()))


def named(label: str) -> str:
    """Returns a label to be put into a sentence, in quotation marks and a direction of its own."""
    label = _DIRECTIONS.sub("", shareable(label))
    if any(unicodedata.bidirectional(sign) in _RIGHT_TO_LEFT for sign in label):
        label = f"\u2068{label}\u2069"
    return f"“{label}”"
