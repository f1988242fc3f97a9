"""The ways to show things, apart from what shows them, so that `--help` stays light."""

from enum import StrEnum


class Style(StrEnum):
    """How to show things."""

    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"
