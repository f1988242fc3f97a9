"""What the rounds of a run have found out about liars, which its server keeps."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.sketches.choosing import Suspects
from securefl.channels.masking.sketches.distances import Pair


class Findings:
    """The clients that were named, and the pairs of which one lied; they only grow."""

    def __init__(self) -> None:
        self._named: dict[int, str] = {}
        self._paired: tuple[Pair, ...] = ()

    @property
    def named(self) -> Mapping[int, str]:
        """Client -> why it takes no further part in the run."""
        return MappingProxyType(self._named)

    @property
    def paired(self) -> tuple[Pair, ...]:
        """Pairs that abandoned rounds found, each once."""
        return self._paired

    def add(self, named: Mapping[int, str], paired: Iterable[Pair] = ()) -> None:
        """Takes what one or more rounds found; a pair that is known already counts once.

        Args:
            named: client -> why it takes no further part.
            paired: pairs of an abandoned round. Those of a round with a result concern that round
                only.
        """
        self._named |= named
        self._paired = tuple(dict.fromkeys((*self._paired, *paired)))

    def suspects(self, terms: Agreement) -> Suspects:
        """Returns whom the next round keeps out of its sum, and how many others may lie."""
        return Suspects.of(self._named, self._paired, terms)
