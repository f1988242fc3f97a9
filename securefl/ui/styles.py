"""The styles of a display, apart from the displays, so that `--help` imports nothing heavy."""

import os
import sys
from enum import StrEnum


class Style(StrEnum):
    """A way to show progress and results."""

    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


def usual_style(style: Style | None) -> Style:
    """Returns the style; without one, rich on a terminal, and plain elsewhere or under NO_COLOR."""
    if style is not None:
        return style
    wants_colour = not os.environ.get("NO_COLOR")
    return Style.RICH if sys.stdout.isatty() and wants_colour else Style.PLAIN
