"""The plain channel: one stage, every update in the clear, one row a client.

It protects nothing against the server or whoever reads the network; it is the yardstick for those that do.
"""

from collections.abc import Mapping, Sequence

import torch

from securefl.channels.messages import PlainUpdate, UpdateRequest
from securefl.channels.protocol import (
    UNWATCHED,
    ClientUpdate,
    Kind,
    Observation,
    Observer,
    Packet,
    Plan,
    Seen,
    Sides,
    View,
)
from securefl.channels.update import check_asked
from securefl.errors import ProtocolError, RoundAbandoned

_SHOWN = (Seen.GLOBAL_MODEL, Seen.CLEAR_UPDATE)


class PlainClient:
    """The client's side: asked once a round, answers with its update.

    Args:
        client: this client's id.
        session: 16 bytes that name the session.
    """

    def __init__(self, client: int, session: bytes) -> None:
        self._client, self._session = client, session
        self._asked: UpdateRequest | None = None
        self._last_round = -1

    def receive(self, request: bytes) -> None:
        """Note what is asked for; the answer is `submit`.

        Raises:
            ProtocolError: another session, or a round that is not newer than the last one.
        """
        asked = UpdateRequest.from_bytes(request)
        if asked.session != self._session:
            raise ProtocolError("the request belongs to another session")
        if asked.round <= self._last_round:
            raise ProtocolError(f"round {asked.round} was asked for before")
        self._asked, self._last_round = asked, asked.round

    def check_model(self, round: int, name: bytes) -> None:
        """Raise ProtocolError unless an update of this round, trained on this very model, was asked for."""
        check_asked(self._asked, name, round=round)

    def submit(self, update: ClientUpdate) -> bytes:
        """The update as bytes, once a round.

        Raises:
            ProtocolError: nothing was asked for, or the update was trained on another model.
        """
        asked = check_asked(self._asked, update.model_hash)
        self._asked = None
        return PlainUpdate(
            asked.session, asked.round, self._client, update.weight, update.delta
        ).to_bytes()


class PlainServer:
    """The server's side: keeps the rows as they come, shows them when the stage is closed.

    Args:
        session: 16 bytes that name the session.
        d: coordinates of an update.
        min_cohort: fewest updates that make a round.
        weights: the weight of each client, or None to take what the clients report.
    """

    def __init__(
        self, session: bytes, *, d: int, min_cohort: int, weights: Mapping[int, int] | None
    ) -> None:
        self._session, self._d, self._min_cohort, self._weights = session, d, min_cohort, weights
        self._round, self._cohort, self._model_hash = -1, frozenset[int](), b""
        self._open = False
        self._updates: dict[int, PlainUpdate] = {}
        self._observer = UNWATCHED

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        """Start a round; what was left of the last one is forgotten."""
        self._round, self._cohort, self._model_hash = round, frozenset(cohort), model_hash
        self._open, self._updates, self._observer = True, {}, observer

    def requests(self) -> dict[int, bytes]:
        """One request for each client of the cohort, ascending."""
        request = UpdateRequest(self._session, self._round, self._model_hash).to_bytes()
        return {client: request for client in sorted(self._cohort)}

    def absorb(self, client: int, message: Packet) -> bool:
        """Take one update; False (and nothing changed) if it is malformed, foreign, late or a second one."""
        if not self._open or client not in self._cohort or client in self._updates:
            return False
        try:
            update = PlainUpdate.from_bytes(message, d=self._d)
        except ProtocolError:
            return False
        if (update.session, update.round, update.sender) != (self._session, self._round, client):
            return False
        self._updates[client] = update
        for party in ("server", "network"):
            self._observer.observe(
                Observation(
                    party, Seen.CLEAR_UPDATE, (client,), (self._d,), len(message), update.delta
                )
            )
        return True

    def close_stage(self) -> View:
        """One row a client, ascending by id.

        Raises:
            RoundAbandoned: fewer than min_cohort updates came.
        """
        self._open = False
        updates, self._updates = self._updates, {}  # n vectors that the next round would not need
        if len(updates) < self._min_cohort:
            raise RoundAbandoned(
                f"{len(updates)} updates came, the minimum cohort is {self._min_cohort}"
            )
        clients = sorted(updates)
        weights = [
            updates[c].weight if self._weights is None else self._weights[c] for c in clients
        ]
        return View(
            rows=torch.stack([updates[c].delta for c in clients]),
            weights=torch.tensor(weights, dtype=torch.float64),
            members=tuple((c,) for c in clients),
        )


def plain_sides(plan: Plan) -> Sides:
    """Every update in the clear."""
    server = PlainServer(plan.session, d=plan.d, min_cohort=plan.min_cohort, weights=plan.weights)
    return Sides(server, {client: PlainClient(client, plan.session) for client in plan.clients})


PLAIN = Kind(
    plain_sides,
    terms=lambda plan: None,
    describe=lambda terms, cohort: f", {cohort} rows",
    threats={
        "server": "every update and its client",
        "network": "the same, unless a transport encrypts it",
        "other clients": "the global models",
    },
    sees={
        "server": _SHOWN,
        "network": _SHOWN,
        "client": (Seen.GLOBAL_MODEL, Seen.OWN_UPDATE),
    },
    stages=1,
    rows=lambda cohort: cohort,
    min_cohort=lambda **options: 1,
)
