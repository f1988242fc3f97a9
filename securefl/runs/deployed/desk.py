"""The coordinator's desk: envelopes to the sites, and their replies.

desk.request(2, Part(Kind.REQUEST, 0, request))  # for each site of a stage
part = desk.collect(2)                           # the first call carries all of them at once
"""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import ClientFailure, ProtocolError
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.envelope import Direction, Envelope, Kind, Part, opened


class Link(Protocol):
    """Carries envelopes to the sites and back."""

    def carry(
        self, envelopes: Mapping[int, bytes], seconds: float
    ) -> Generator[tuple[int, bytes], None, None]:
        """Sends all envelopes at once and yields replies as they come, until the time is over.

        Empty bytes say that a site's connection is gone, so that no reply can come.
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
    """

    def __init__(self, charter: Charter, key: Ed25519PrivateKey, link: Link, *, limit: int) -> None:
        self._digest = charter.digest
        self.keys = charter.keys
        self._seconds = charter.deadline
        self._key = key
        self._link = link
        self._limit = limit
        self._number = 0
        self._numbers: dict[int, int] = {}  # site -> number of the envelope that it was sent last
        self._enclosed: dict[int, dict[Kind, Part]] = {}
        self._outgoing: dict[int, bytes] = {}
        self._replies: dict[int, Part] = {}
        self.counts = Counts()

    def enclose(self, site: int, part: Part) -> None:
        """Puts a part into the site's next envelope, in place of one of its kind."""
        self._enclosed.setdefault(site, {})[part.kind] = part

    def request(self, site: int, part: Part) -> None:
        """Seals the site's next envelope, which goes out with the next trip."""
        parts = (*self._enclosed.pop(site, {}).values(), part)
        self._number += 1
        envelope = Envelope(self._digest, Direction.TO_SITE, site, self._number, parts)
        self._outgoing[site] = envelope.sealed(self._key)
        self._numbers[site] = self._number
        self._replies.pop(site, None)

    def collect(self, site: int) -> Part:
        """Returns the site's reply. Raises ClientFailure: none came in time."""
        if self._outgoing:
            self._carry()
        if site not in self._replies:
            raise ClientFailure("its site did not answer")
        return self._replies.pop(site)

    def finish(self) -> None:
        """Ends the run at every site; a site that is gone has ended already."""
        for site in self.keys:
            self.request(site, Part(Kind.FINISH))
        self._carry()

    def _carry(self) -> None:
        """Makes one trip: all envelopes go out, and the replies are checked as they come."""
        envelopes = self._outgoing
        self._outgoing = {}
        self.counts.trips += 1
        waiting = set(envelopes)
        with closing(self._link.carry(envelopes, self._seconds)) as replies:
            for site, data in replies:
                if not data or (site in waiting and self._take(site, data)):
                    waiting.discard(site)
                if not waiting:
                    return

    def _take(self, site: int, data: bytes) -> bool:
        """Keeps a reply; False, and it is counted, if it is not this site's to this envelope."""
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
        if envelope.number != self._numbers[site] or not envelope.parts:
            self.counts.dropped += 1
            return False
        self._replies[site] = envelope.parts[0]
        return True
