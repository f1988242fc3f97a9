"""Asks whether an expensive value was computed before; `runs/cache.py` answers from disk."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Remember(Protocol):
    """Returns the value of `make()` for a key, computed at most once if it can."""

    def __call__(self, kind: str, key: Mapping[str, Any], make: Callable[[], Any], /) -> Any:
        """Returns the value.

        Args:
            kind: the sort of value, such as "noise".
            key: everything that the value depends on, as JSON can hold it.
            make: computes the value.
        """


def fresh(kind: str, key: Mapping[str, Any], make: Callable[[], Any], /) -> Any:
    """Returns the value of `make()`, computed each time."""
    return make()
