"""Checks of a rule's arguments, and the number of rows that it needs for an f."""

import math
from typing import NamedTuple


class Need(NamedTuple):
    """The fewest rows that a rule can work on, `slope` x f + `constant`."""

    slope: int
    constant: int

    def minimum_rows(self, rule: str, f: int) -> int:
        """Returns the fewest rows for an f; raises ValueError for an f that is none."""
        check_f(rule, f)
        return self.slope * f + self.constant

    def __str__(self) -> str:
        return f"n >= {self.slope}f + {self.constant}"


# More honest rows than corrupt ones: with fewer, nothing tells the two apart.
MAJORITY = Need(2, 1)


def check_f(rule: str, f: int) -> None:
    """Raises ValueError where f is negative, or no whole number."""
    check_whole(rule, "f", f)
    if f < 0:
        raise ValueError(f"{rule} needs f >= 0, got f={f}")


def check_whole(rule: str, name: str, value: int) -> None:
    """Raises ValueError where value is no whole number."""
    if not isinstance(value, int):
        raise ValueError(f"{rule} needs a whole number as {name}, got {value!r}")


def check_positive(rule: str, name: str, value: float) -> None:
    """Raises ValueError where value is not positive and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{rule} needs a {name} > 0, got {value:g}")
