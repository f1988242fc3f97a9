"""Typed reading of an audit's JSON: a value of another type raises instead of reaching a page."""

from typing import Any


def text(value: Any) -> str:
    """Returns a string as it is. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def number(value: Any) -> float | None:
    """Returns a number, or None for a value that was not measured. Raises TypeError elsewhere."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)
