"""The faults that a server remembers: from round to round, and when a run is resumed."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

Pairs = tuple[tuple[int, int], ...]


@runtime_checkable
class Remembers(Protocol):
    """A server that keeps clients out of its sums once they were found lying."""

    @property
    def named(self) -> Mapping[int, str]:
        """Client -> why it takes no further part in the run."""

    def recall(self, named: Mapping[int, str], paired: Pairs) -> None:
        """Takes what the rounds before found out, when a run is resumed.

        Args:
            named: client -> why it takes no further part.
            paired: clients of which one lied, neither of which is chosen again.
        """
