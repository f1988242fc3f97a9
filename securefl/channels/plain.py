"""The plain channel: one stage, every update in the clear, one row a client.

It protects nothing against the server, nor against a reader of the network. The other channels are
measured against it.
"""

from collections.abc import Mapping, Sequence

import torch

from securefl.channels.apart import Apart
from securefl.channels.kind import Kind
from securefl.channels.messages import PlainUpdate, UpdateRequest
from securefl.channels.protocol import (
    UNWATCHED,
    ClientUpdate,
    Observation,
    Observer,
    Packet,
    Plan,
    Seen,
    Sides,
    View,
)
from securefl.channels.rows import RowTable
from securefl.channels.update import check_asked, check_shares
from securefl.errors import ProtocolError, RoundAbandoned

_SHOWN = (Seen.GLOBAL_MODEL, Seen.CLEAR_UPDATE)


class PlainClient:
    """The client's side: one request a round, answered with the update.

    Args:
        client: this client's id.
        session: 16 bytes that name the session.
    """

    def __init__(self, client: int, session: bytes) -> None:
        self._client = client
        self._session = session
        self._request: UpdateRequest | None = None
        self._last_round = -1

    def receive(self, request: bytes) -> None:
        """Notes the request; `submit` answers it.

        Raises:
            ProtocolError: another session, or a round that is not newer than the last one.
        """
        message = UpdateRequest.from_bytes(request)
        if message.session != self._session:
            raise ProtocolError("the request belongs to another session")
        # An old request, replayed, would get a second answer.
        if message.round <= self._last_round:
            raise ProtocolError(f"round {message.round} was asked for before")
        self._request = message
        self._last_round = message.round

    def check_model(self, round: int, name: bytes) -> None:
        """Raises ProtocolError unless an update of this round and this model was asked for."""
        check_asked(self._request, name, round=round)

    def submit(self, update: ClientUpdate) -> bytes:
        """Returns the update as bytes, once a round.

        Raises:
            ProtocolError: nothing was asked for, or the update was trained on another model.
        """
        request = check_asked(self._request, update.model_hash)
        check_shares(update.spent, None)
        self._request = None
        return PlainUpdate(
            request.session, request.round, self._client, update.weight, update.delta
        ).to_bytes()


class PlainServer:
    """The server's side: collects the rows, and returns them when the stage is closed.

    Args:
        session: 16 bytes that name the session.
        d: coordinates of an update.
        min_cohort: fewest updates that make a round.
        weights: public weight of each client; None where clients report theirs.
    """

    def __init__(
        self, session: bytes, *, d: int, min_cohort: int, weights: Mapping[int, int] | None
    ) -> None:
        self._session = session
        self._d = d
        self._min_cohort = min_cohort
        self._weights = weights
        self._round = -1
        self._cohort = frozenset[int]()
        self._model_hash = b""
        self._is_open = False
        self._table = RowTable((), d=d)
        self._reported: dict[int, int] = {}  # client -> the weight in its update
        self._observer = UNWATCHED

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        """Starts a round, and forgets the last one."""
        self._round = round
        self._cohort = frozenset(cohort)
        self._model_hash = model_hash
        self._is_open = True
        self._table = RowTable(sorted(self._cohort), d=self._d)
        self._reported = {}
        self._observer = observer

    def train_on(self, model_hash: bytes) -> None:
        """Names the model to train on, before the requests are read."""
        self._model_hash = model_hash

    def requests(self) -> dict[int, bytes]:
        """Returns one request for each client of the cohort, ascending."""
        request = UpdateRequest(self._session, self._round, self._model_hash).to_bytes()
        return dict.fromkeys(sorted(self._cohort), request)

    def absorb(self, client: int, message: Packet) -> bool:
        """Takes one update.

        Returns:
            False, and nothing has changed, if it is malformed, foreign, late or a second one.
        """
        if not self._is_open or client not in self._cohort or client in self._table:
            return False
        try:
            update = PlainUpdate.unread(message, d=self._d)
        except ProtocolError:
            return False
        if (update.session, update.round, update.sender) != (self._session, self._round, client):
            return False
        row = self._table.put(client, update.coordinates)
        self._reported[client] = update.weight
        size = len(message)
        for party in ("server", "network"):
            self._observer.observe(
                Observation(party, Seen.CLEAR_UPDATE, (client,), (self._d,), size, row)
            )
        return True

    def close_stage(self) -> View:
        """Returns one row a client, ascending by id.

        Raises:
            RoundAbandoned: fewer than min_cohort updates came.
        """
        self._is_open = False
        # Not kept until the next round: these are n vectors.
        table = self._table
        self._table = RowTable((), d=self._d)
        if len(table) < self._min_cohort:
            raise RoundAbandoned(
                f"{len(table)} updates came, the minimum cohort is {self._min_cohort}"
            )
        clients = table.clients
        weights = self._reported if self._weights is None else self._weights
        return View(
            rows=table.rows(),
            weights=torch.tensor([weights[client] for client in clients], dtype=torch.float64),
            members=tuple((client,) for client in clients),
        )


def plain_sides(plan: Plan) -> Sides:
    """Returns both sides of a channel that hides nothing."""
    clients = {client: PlainClient(client, plan.session) for client in plan.clients}
    return Sides(_server(plan), clients)


def _server(plan: Plan) -> PlainServer:
    return PlainServer(plan.session, d=plan.d, min_cohort=plan.min_cohort, weights=plan.weights)


PLAIN_APART = Apart(
    server=lambda plan, key, agreed: _server(plan),
    client=lambda plan, member, agreed: PlainClient(member.client, plan.session),
)


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
    stages=lambda **options: 1,
    rows=lambda cohort, **options: cohort,
    min_cohort=lambda **options: 1,
)
