"""How whoever computes something expensive asks whether it was computed before; `runs/cache.py` answers from disk."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Remember(Protocol):
    """Finds the value that make() gives for key, or computes it."""

    def __call__(self, kind: str, key: Mapping[str, Any], make: Callable[[], Any], /) -> Any:
        """The value."""


def fresh(kind: str, key: Mapping[str, Any], make: Callable[[], Any], /) -> Any:
    """The value, computed each time."""
    return make()
