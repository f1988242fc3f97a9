"""The coordinator's desk: envelopes to the sites, and their replies.

desk.enclose(2, Part(Kind.REQUEST, 0, request))  # for each site, and each part
desk.carry(take)                                 # one trip; take(2, part) for each answer
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.envelope import Direction, Envelope, Kind, Part, Sealed, opened
from securefl.runs.deployed.numbers import Numbers
from securefl.runs.deployed.receipts import ReceiptBook

Take = Callable[[int, Part], None]  # site, a part of its reply; kept by nobody who returns


class Link(Protocol):
    """Carries envelopes to the sites and back."""

    def carry(
        self, envelopes: dict[int, Sealed], seconds: float
    ) -> Generator[tuple[int, Packet], None, None]:
        """Sends all envelopes at once and yields replies as they come, until the time is over.

        The link may take envelopes out of the dict, and let them go once they are sent.
        Empty bytes say that a site's connection is gone, so that no reply can come. A reply is let
        go before the next one is asked for; a link need not hold two large ones.
        """


@dataclass
class Counts:
    """What the coordinator counts.

    Attributes:
        trips: times that envelopes went out and replies were waited for.
        dropped: replies that were old, forged, foreign or malformed.
    """

    trips: int = 0
    dropped: int = 0


class Desk:
    """Seals, numbers and carries the envelopes of a deployment.

    Args:
        charter: names the sites' keys, and the seconds that a trip may take.
        key: the coordinator's.
        link: carries the envelopes.
        limit: most bytes of an envelope.
        receipts: keeps each site's newest receipt, which goes back with every envelope.
        numbers: of envelopes, sessions and rounds; by default those of this process alone.
        approvals: of the charter, which each site sees before it acts.

    Attributes:
        keys: site -> its public key.
        counts: of trips and of dropped replies.
        numbers: see the arguments.
    """

    def __init__(
        self,
        charter: Charter,
        key: Ed25519PrivateKey,
        link: Link,
        *,
        limit: int,
        receipts: ReceiptBook,
        numbers: Numbers | None = None,
        approvals: bytes = b"",
    ) -> None:
        self._digest = charter.digest
        self.keys = charter.keys
        self._seconds = charter.deadline
        self._key = key
        self._link = link
        self._limit = limit
        self._receipts = receipts
        self.numbers = Numbers.in_memory() if numbers is None else numbers
        session = self.numbers.given.session
        self._greeting = Part(Kind.SESSION, session, approvals)
        self._greeted: set[int] = set()  # sites that are in this session
        self._enclosed: dict[int, list[Part]] = {}
        self.counts = Counts()

    def enclose(self, site: int, part: Part) -> None:
        """Puts a part into the site's next envelope, behind those that are in there."""
        self._enclosed.setdefault(site, []).append(part)

    def carry(self, take: Take) -> None:
        """Makes one trip with all that is enclosed, and hands over the replies as they come.

        It ends when every site has answered or is gone, or when the time is over. A reply that
        comes later changes nothing.
        """
        enclosed = self._enclosed
        self._enclosed = {}
        numbers: dict[int, int] = {}
        envelopes: dict[int, Sealed] = {}
        asked = (part for parts in enclosed.values() for part in parts)
        first = self.numbers.give(len(enclosed), asked)
        for number, site in enumerate(sorted(enclosed), start=first):
            numbers[site] = number
            # Held by nobody else, so that a link frees what it has sent.
            envelopes[site] = self._sealed(site, number, enclosed.pop(site))
        self.counts.trips += 1
        self._trip(envelopes, numbers, take)
        self._receipts.write()

    def _sealed(self, site: int, number: int, parts: Sequence[Part]) -> Sealed:
        whole = (*self._heading(site), *parts)
        return Envelope(self._digest, Direction.TO_SITE, site, number, whole).seal(self._key)

    def _heading(self, site: int) -> Iterator[Part]:
        """Yields what a site's envelope begins with."""
        receipt = self._receipts.newest(site)
        if receipt is not None:
            yield Part(Kind.RETURNED_RECEIPT, content=receipt)
        if site not in self._greeted:
            yield self._greeting

    def _trip(self, envelopes: dict[int, Sealed], numbers: dict[int, int], take: Take) -> None:
        with closing(self._link.carry(envelopes, self._seconds)) as replies:
            for site, data in replies:
                if not data:
                    numbers.pop(site, None)
                    self._greeted.discard(site)
                elif site in numbers and self._is_taken(site, data, numbers[site], take):
                    del numbers[site]
                del data  # as large as a model: let go before the next one comes
                if not numbers:
                    return
        # Perhaps they are restarted meanwhile, and know of no session.
        self._greeted -= numbers.keys()

    def finish(self) -> None:
        """Ends the run at every site; a site that is gone has ended already."""
        for site in self.keys:
            self.enclose(site, Part(Kind.FINISH))
        self.carry(lambda site, part: None)

    def _is_taken(self, site: int, data: Packet, number: int, take: Take) -> bool:
        """Hands a reply over; False, and counted, if it is not this site's to this envelope."""
        try:
            envelope = opened(
                data,
                self.keys[site],
                charter=self._digest,
                direction=Direction.TO_COORDINATOR,
                site=site,
                limit=self._limit,
            )
        except ProtocolError:
            self.counts.dropped += 1
            return False
        if envelope.number != number:
            self.counts.dropped += 1
            return False
        # A site that was restarted declines, and is told of the session once more.
        if any(part.kind is Kind.DECLINED for part in envelope.parts):
            self._greeted.discard(site)
        else:
            self._greeted.add(site)
        for part in envelope.parts:
            if part.kind is Kind.RECEIPT:
                self._keep(site, bytes(part.content))
            else:
                take(site, part)
        return True

    def _keep(self, site: int, receipt: bytes) -> None:
        try:
            self._receipts.take(site, receipt)
        except ProtocolError:
            self.counts.dropped += 1
