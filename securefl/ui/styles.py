"""The ways to show things, apart from what shows them, so that `--help` stays light."""

import os
import sys
from enum import StrEnum


class Style(StrEnum):
    """How to show things."""

    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


def usual_style(asked: Style | None) -> Style:
    """The style asked for; by default rich on a terminal and plain elsewhere, or where NO_COLOR is set."""
    if asked is not None:
        return asked
    return Style.RICH if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else Style.PLAIN
