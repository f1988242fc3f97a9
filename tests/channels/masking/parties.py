"""A masked session for tests: identities, an agreement, both sides, and a round driven by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.masking.agreement import Agreement, blocks_for
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.reading import RoundReader
from securefl.channels.masking.server import MaskedServer
from securefl.channels.monotonic import MemoryMonotonic, Monotonic
from securefl.channels.protocol import ClientUpdate, Observation, Packet, View
from securefl.rng import seeded_keystream
from tests.recorder import Recorder

SESSION, HASH = bytes(range(16)), b"h" * 32


def identity(number: int) -> Identity:
    """Returns the same identity for the same number; a server's numbers are negative."""
    return Identity(Ed25519PrivateKey.from_private_bytes((number % 2**64).to_bytes(32, "big")))


def agreement(
    clients: int | Sequence[int] = 5, *, session: bytes = SESSION, **changes: Any
) -> Agreement:
    """Returns terms for clients 0 to n - 1, or for the named ones.

    Three coordinates, ring 32, clip 8, one corrupt, minimum 3.
    """
    ids = range(clients) if isinstance(clients, int) else clients
    code = FixedPoint(ring=32, clip=8.0, rounding="nearest", most=min(len(ids), 128))
    terms = Agreement(
        session=session,
        roster={client: identity(client).public for client in ids},
        server=identity(-1).public,
        d=3,
        code=code,
        corrupt=1,
        cohort=max(3, changes.get("min_cohort", 3)),
        rounds=100_000,
        min_cohort=3,
        max_weight=1,
        weights=dict.fromkeys(ids, 1),
    )
    return replace(terms, **changes)


def make_client(
    client: int,
    terms: Agreement,
    monotonic: Monotonic | None = None,
    reader: RoundReader | None = None,
    beside: int = -1,
) -> MaskedClient:
    """Returns a client that has answered nothing, or what `monotonic` holds.

    It has a reader of its own, as in a deployment, unless one is given.
    """
    return MaskedClient(
        client,
        identity(client),
        terms,
        stream_for=lambda round: seeded_keystream(0, "rounding", client, round),
        monotonic=monotonic or MemoryMonotonic(),
        reader=reader,
        beside=beside,
        share_stream_for=lambda round: seeded_keystream(0, "shares", client, round),
    )


class Session:
    """One server and its clients; the test plays stage after stage.

    The clients share a reader, as in a simulation: nothing that they refuse may depend on that.
    """

    def __init__(self, terms: Agreement, *, server_terms: Agreement | None = None) -> None:
        self.terms = terms
        self.server = MaskedServer(identity(-1), server_terms or terms)
        reader = RoundReader(blocks_for(terms.cohort))
        self.clients = {
            client: make_client(client, terms, reader=reader) for client in terms.roster
        }
        self.updates: dict[int, ClientUpdate] = {}
        self.round = -1
        self.recorder = Recorder()  # of the latest round

    def begin(self, round: int, cohort: Sequence[int] | None = None, *, seed: int = 0) -> Self:
        """Starts a round with fresh updates."""
        self.round = round
        self.updates = {
            client: update(client, self.terms, seed=seed + round) for client in self.clients
        }
        self.recorder = Recorder()
        invited = tuple(self.clients) if cohort is None else cohort
        self.server.begin(round, invited, HASH, self.recorder)
        return self

    @property
    def observed(self) -> list[Observation]:
        """The observations of server and network in the latest round."""
        return self.recorder.observations

    def answers(self, *, silent: Iterable[int] = ()) -> dict[int, Packet]:
        """Returns everyone's reply to this stage's request."""
        return {
            client: self.answer(client, request)
            for client, request in self.server.requests().items()
            if client not in silent
        }

    def answer(self, client: int, request: bytes) -> Packet:
        reply = self.clients[client].receive(request)
        return self.clients[client].submit(self.updates[client]) if reply is None else reply

    def stage(
        self, *, silent: Iterable[int] = (), change: Callable[[int, Packet], Packet] | None = None
    ) -> View | None:
        """Plays one whole stage; `change` rewrites messages on their way."""
        for client, message in self.answers(silent=silent).items():
            self.server.absorb(client, message if change is None else change(client, message))
        return self.server.close_stage()

    def until(self, stage: int, *, silent: Mapping[int, int] | None = None) -> Self:
        """Plays the stages 1 to `stage` - 1; silent is client -> the first unanswered stage."""
        for number in range(1, stage):
            self.stage(
                silent=[client for client, first in (silent or {}).items() if first <= number]
            )
        return self

    def play(
        self,
        round: int,
        *,
        silent: Mapping[int, int] | None = None,
        cohort: Sequence[int] | None = None,
    ) -> View:
        """Plays a whole round. Raises RoundAbandoned."""
        self.begin(round, cohort).until(5, silent=silent)
        view = self.stage(silent=[client for client, first in (silent or {}).items() if first <= 5])
        assert view is not None
        return view


def update(client: int, terms: Agreement, *, seed: int = 0) -> ClientUpdate:
    """Returns an update of uniform coordinates well within the clip."""
    uniform = seeded_keystream(seed, "update", client).uniform(terms.d)
    weight = 1 if terms.weights is None else terms.weights[client]
    return ClientUpdate(torch.tensor(uniform * 2 - 1, dtype=torch.float32), weight, None, HASH)
