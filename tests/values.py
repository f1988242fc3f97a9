"""Values that a test knows to be there."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """Fails where there is no value, so that a comparison is never made with None."""
    assert value is not None
    return value
