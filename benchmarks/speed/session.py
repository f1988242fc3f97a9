"""A masked session in one process, whose stages are timed one by one.

Its members share no reader: each verifies everything itself, as in a deployment.
"""

import secrets
from collections.abc import Iterable

import numpy as np
import torch

from securefl.channels.masking.agreement import MAX_BLOCK, Agreement, blocks_for, threshold_for
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.noise import SumNoise, Sums, sized
from securefl.channels.masking.server import MaskedServer
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import seeded_keystream

_MODEL_HASH = bytes(32)


class Session:
    """A masked session, played stage by stage."""

    def __init__(
        self, clients: int, words: int, *, ring: int = 32, noise: NoiseShares | None = None
    ) -> None:
        most = min(clients, MAX_BLOCK)
        code = FixedPoint(ring, 8.0, "stochastic", most=most)
        share: SumNoise | None = None
        if noise is not None:
            least = threshold_for(clients // blocks_for(clients), corrupt=1)
            sums = Sums(words, most, honest=max(least, 3) - 1, number=blocks_for(clients))
            share, code = sized(noise, sums, ring=ring, rounding="stochastic")
        server = Identity.generate()
        self.identities = {client: Identity.generate() for client in range(clients)}
        self.terms = Agreement(
            session=secrets.token_bytes(16),
            roster={client: identity.public for client, identity in self.identities.items()},
            server=server.public,
            d=words,
            code=code,
            corrupt=1,
            cohort=clients,
            rounds=1,
            min_cohort=3,
            max_weight=1,
            weights=dict.fromkeys(range(clients), 1),
            beacon=secrets.token_bytes(32),
            noise=share,
        )
        self.server = MaskedServer(server, self.terms)
        self.clients = {client: self._client(client) for client in range(clients)}
        delta = np.random.default_rng(1).standard_normal(words, dtype=np.float32)
        # All clients send the same numbers, so that the true sum is known without keeping rows.
        spent = None if share is None else share.event
        self.update = ClientUpdate(torch.from_numpy(delta), 1, spent, _MODEL_HASH)
        self.server.begin(0, tuple(self.clients), _MODEL_HASH)

    def _client(self, client: int) -> MaskedClient:
        return MaskedClient(
            client,
            self.identities[client],
            self.terms,
            stream_for=lambda round: seeded_keystream(0, "rounding", client, round),
            monotonic=MemoryMonotonic(),
        )

    def answer(self, client: int, request: bytes) -> Packet:
        """Returns one client's reply."""
        reply = self.clients[client].receive(request)
        return self.clients[client].submit(self.update) if reply is None else reply

    def stage(self, *, silent: Iterable[int] = ()) -> None:
        """Plays one stage without closing it; the silent clients have dropped out."""
        gone = set(silent)
        for client, request in self.server.requests().items():
            if client in gone:
                continue
            if not self.server.absorb(client, self.answer(client, request)):
                raise RuntimeError("an honest message was dropped")
