"""Results that the members of one process share, found by the bytes that they were computed from.

A table that one member verified verifies for every other member that is shown the same bytes, under
the same terms. In a simulation all members live in one process, which verifies each table once
instead of once a member. In a deployment each member has a process of its own, and verifies
everything itself.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Keeps the latest results of a computation.

    Guarantees:
        - A result is returned only for a key that equals, byte for byte, the key that it was
          computed for.
        - A computation that raised left nothing.

    Args:
        most: results that are kept, at least 1.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Returns the result for a key, which holds everything that the result depends on."""
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        result = compute()
        self._results[key] = result
        if len(self._results) > self._most:
            self._results.popitem(last=False)
        return result
