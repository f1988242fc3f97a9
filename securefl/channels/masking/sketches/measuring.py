"""The acceptances and the shares of distances, as the server collects them in stages 5 and 6."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

from securefl.channels.masking.sketches.choosing import Compared, Suspects, compared
from securefl.channels.masking.sketches.context import digest_of_dealings
from securefl.channels.masking.sketches.dealings import Dealings
from securefl.channels.masking.sketches.distances import Pair
from securefl.channels.masking.sketches.replies import Acceptance, DistanceShares, clients_of
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError


@dataclass(frozen=True)
class Measurements:
    """The answers of holders about all dealings.

    Args:
        dealings: that every holder was shown.
        block: the invited clients, ascending.
        acceptances: holder -> its signed acceptance.
        _rejected: holder -> the dealers whose shares did not fit.
        _answers: holder -> pair of dealers -> share of their squared distance.
    """

    dealings: Dealings
    block: tuple[int, ...]
    acceptances: dict[int, bytes] = field(default_factory=dict)
    _rejected: dict[int, frozenset[int]] = field(default_factory=dict)
    _answers: dict[int, Mapping[Pair, int]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> bytes:
        """The digest of all dealings."""
        return digest_of_dealings(self.dealings.signed)

    def accept(self, acceptance: Acceptance, message: Packet) -> None:
        """Takes an acceptance of this session and round from its sender. Raises ProtocolError."""
        if acceptance.digest != self.digest:
            raise ProtocolError("another digest of all dealings than the server's")
        rejected = clients_of(acceptance.rejected, self.block)
        # Nobody rejects its own dealing.
        if not rejected <= set(self.dealings.dealers) - {acceptance.sender}:
            raise ProtocolError("a rejected client did not deal, or is the sender itself")
        self.acceptances[acceptance.sender] = bytes(message)
        self._rejected[acceptance.sender] = rejected

    def pairs_of(self, holder: int) -> list[Pair]:
        """Returns the pairs of dealers that a holder accepts both of, ascending."""
        accepted = sorted(set(self.dealings.dealers) - self._rejected[holder])
        return list(combinations(accepted, 2))

    def measure(self, shares: DistanceShares) -> None:
        """Takes a share for each pair of `pairs_of` its sender."""
        pairs = self.pairs_of(shares.sender)
        self._answers[shares.sender] = dict(zip(pairs, shares.elements, strict=True))

    def compared(self, suspects: Suspects) -> Compared:
        """Returns the squared distances. Raises RoundAbandoned: see `choosing.compared`."""
        rejections = {
            (dealer, holder) for holder, dealers in self._rejected.items() for dealer in dealers
        }
        return compared(
            self._answers,
            # A client that is away by now would be away in stage 9, too. A liar could hide behind
            # it: nobody else has the sketch of their pair mask.
            dealers=tuple(sorted(self._answers)),
            suspects=suspects,
            rejections=rejections,
            block=self.block,
            terms=self.dealings.terms,
        )
