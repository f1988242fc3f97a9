"""A coordinator's memory in a masked round: three vectors of the model's length for any cohort.

Sites compute inside the link of this test. Only what is live while the coordinator works counts.
"""

import tracemalloc
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl import vector
from securefl.channels.masking.reading import RoundReader
from securefl.channels.masking.rounds import MaskedRounds
from securefl.channels.masking.server import MaskedServer
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.protocol import UNWATCHED, ClientUpdate, Packet
from securefl.federation.values import Federation, State
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Direction, Envelope, Kind, Part, Sealed, opened
from securefl.runs.deployed.exchange import Exchange
from securefl.runs.deployed.receipts import ReceiptBook
from tests.channels.masking.parties import SESSION, agreement, identity, make_client

D = 200_000
LAYOUT = "one vector"
CHARTER = bytes(32)
SERVER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SITE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


class Crowd:
    """A link to sites that live in it; it notes the coordinator's peak of bytes.

    Args:
        sites: their number.
        slow: whether the first reply comes before other sites have taken their envelopes.
    """

    def __init__(self, sites: int, *, slow: bool = False) -> None:
        self._slow = slow
        self.terms = agreement(sites, d=D)
        self.clients = {site: self._client(site) for site in range(sites)}
        self.peak = 0
        self.kept_by_sites = 0  # bytes: of shares, say, which sites elsewhere would hold

    def _client(self, site: int) -> MaskedRounds:
        record, reader = MemoryMonotonic(), RoundReader()
        return MaskedRounds(
            lambda beside: make_client(site, self.terms, record, reader, beside),
            self.terms,
            reader,
        )

    def carry(
        self, envelopes: dict[int, Sealed], seconds: float
    ) -> Generator[tuple[int, Packet], None, None]:
        self.look()
        taken: dict[int, bytes] = {}
        for site in list(envelopes):
            if not self._slow:
                self._take(taken, site, envelopes)
        for site in self.clients:
            if site not in taken and site not in envelopes:
                continue
            if self._slow:
                self._take(taken, site, envelopes)
            frames = [self._apart(site, taken)]
            tracemalloc.reset_peak()
            yield site, frames.pop()
            self.look()
        tracemalloc.reset_peak()

    def look(self) -> None:
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[1] - self.kept_by_sites)

    def _take(self, taken: dict[int, bytes], site: int, envelopes: dict[int, Sealed]) -> None:
        """Hands an envelope to its site."""
        taken[site] = bytes(envelopes.pop(site))
        self.kept_by_sites += len(taken[site])

    def _apart(self, site: int, taken: dict[int, bytes]) -> bytes:
        """Returns a site's reply, and counts what the site keeps."""
        before = tracemalloc.get_traced_memory()[0]
        reply = self.reply(site, taken.pop(site))
        self.kept_by_sites += tracemalloc.get_traced_memory()[0] - before - len(reply)
        return reply

    def reply(self, site: int, data: bytes) -> bytes:
        public = SERVER.public_key().public_bytes_raw()
        to_site = Direction.TO_SITE
        envelope = opened(
            data, public, charter=CHARTER, direction=to_site, site=site, limit=len(data)
        )
        parts = tuple(
            self.answer(site, part) for part in envelope.parts if part.kind is Kind.REQUEST
        )
        there = Direction.TO_COORDINATOR
        return Envelope(CHARTER, there, site, envelope.number, parts).sealed(SITE)

    def answer(self, site: int, part: Part) -> Part:
        reply: Packet | None = self.clients[site].receive(bytes(part.content))
        if reply is None:
            name = vector.model_hash(LAYOUT, torch.zeros(D))
            reply = self.clients[site].submit(ClientUpdate(torch.ones(D), 1, None, name))
        return Part(Kind.ANSWER, part.round, reply)


def peaks_of(sites: int, *, slow: bool = False) -> tuple[float, float]:
    """Returns the peaks of uploads and of unmasking, in vectors of D words above the base."""
    crowd = Crowd(sites, slow=slow)
    public = SITE.public_key().public_bytes_raw()
    charter: Any = Crowd.__new__(Crowd)
    charter.digest, charter.deadline = CHARTER, 1.0
    charter.keys = dict.fromkeys(range(sites), public)
    receipts = ReceiptBook(Path("receipts.json"), {})  # these sites give none
    desk = Desk(cast(Charter, charter), SERVER, crowd, limit=10 * D, receipts=receipts)
    federation: Any = Crowd.__new__(Crowd)
    federation.session, federation.server_holds_model = SESSION, True
    federation.name_of = lambda state: vector.model_hash(LAYOUT, state.weights)
    federation.sent = lambda state: state.weights
    exchange = Exchange(0, tuple(range(sites)), MaskedServer(identity(-1), crowd.terms), UNWATCHED)
    tracemalloc.start()
    try:
        peaks = []
        for stage in range(1, 6):
            base = tracemalloc.get_traced_memory()[0]
            crowd.peak = crowd.kept_by_sites = 0
            if stage == 3:
                state = State(torch.zeros(D))
                exchange.send_model(cast(Federation, federation), state, desk)
            exchange.ask(desk)
            desk.carry(exchange.take)
            tracemalloc.reset_peak()
            exchange.close_stage()
            crowd.look()
            peaks.append((crowd.peak - base) / (4 * D))
    finally:
        tracemalloc.stop()
    assert exchange.view is not None
    assert torch.allclose(exchange.view.rows, torch.ones(D), atol=1e-5)
    return peaks[2], peaks[4]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("sites", [10, 20, 30])
def test_a_masked_round_holds_three_vectors_however_many_sites_there_are(
    sites: int, slow: bool
) -> None:
    uploads, unmasking = peaks_of(sites, slow=slow)
    tables = 500 * sites**2 / (4 * D)  # of keys and shares, a line for each pair of sites
    # The sum, the reply at hand and, until all sites have taken it, the model's message.
    assert uploads <= (3.1 if slow else 2.1) + tables
    # The sum as words, which is there before this stage, and as numbers of 8 bytes; then, instead
    # of the words, the mean, a tensor that is not counted here.
    assert unmasking <= 2.1 + tables
