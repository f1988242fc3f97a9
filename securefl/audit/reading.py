"""Typed reading of an audit's JSON: a value of another type raises instead of reaching a page."""

import math
from typing import Any


def text(value: Any) -> str:
    """Returns a string as it is.

    Raises:
        TypeError: it is something else.
        ValueError: it cannot be written, such as one half of a pair of surrogates.
    """
    if not isinstance(value, str):
        raise TypeError("not a string")
    value.encode()
    return value


def number(value: Any) -> float | None:
    """Returns a finite number, or None for a value that was not measured.

    Raises:
        TypeError: it is something else.
        ValueError: it is NaN, infinite, or too large for a float.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise ValueError("not a finite number")
    return float(value)


def share(value: Any) -> float | None:
    """Returns a number from 0 to 1, or None. Raises TypeError or ValueError for others."""
    part = number(value)
    if part is not None and not 0 <= part <= 1:
        raise ValueError("not a share")
    return part


def whole(value: Any) -> int:
    """Returns an integer >= 0 of the size of a count. Raises TypeError or ValueError for others."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not an integer")
    if not 0 <= value < 2**63:
        raise ValueError("not a count")
    return value


def truth(value: Any) -> bool:
    """Returns a truth value as it is. Raises TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError("not a truth value")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Returns a list of strings. Raises TypeError or ValueError for anything else."""
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(text(one) for one in value)
