"""The client's side of a session whose rounds overlap: each round has a client of its own.

The last stages of a round travel together with the first ones of the next. Two rounds are in flight
then, and share nothing but the identity, the terms and the record of what was answered.
"""

from collections.abc import Callable

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.reading import RoundReader
from securefl.channels.masking.requests import Invitation, ShareDelivery
from securefl.channels.protocol import ClientUpdate
from securefl.errors import ProtocolError


class MaskedRounds:
    """Hands each request to the client of its round.

    Guarantees, next to those of `MaskedClient` for each round:
        - At most two rounds are in flight. An invitation to a third ends the first.
        - Nothing more of a round is revealed once the model of the next is taken: updates leave in
          the order of rounds, and no model is trained on while the sum before it can still open.
        - Fraud erases the round that it was tried in. No other client answers for that round.
        - A restarted client takes no part in the rounds that it had begun, two at most.

    Args:
        client: round that stays in flight, or -1 -> a client for the next round.
        terms: of the session.
        reader: reads the server's requests; the clients share it.
    """

    def __init__(
        self, client: Callable[[int], MaskedClient], terms: Agreement, reader: RoundReader
    ) -> None:
        self._client = client
        self._terms = terms
        self._reader = reader
        self._clients: dict[int, MaskedClient] = {}  # by round, ascending, at most two
        # Made at once: terms that do not fit are refused before anything is asked.
        self._next = client(-1)

    def receive(self, request: bytes) -> bytes | None:
        """Returns the reply to one request; None means: train, then submit.

        Raises:
            ProtocolError: see `MaskedClient.receive`.
        """
        message = self._reader.opened(request, self._terms).message
        client = self._clients.get(message.round)
        if client is None and isinstance(message, Invitation):
            return self._begin(message.round, request)
        if client is None:
            raise ProtocolError(
                f"round {message.round} is not in progress; it was asked for before, or never begun"
            )
        reply = client.receive(request)
        if isinstance(message, ShareDelivery):
            self._clients = {r: c for r, c in self._clients.items() if r >= message.round}
        return reply

    def _begin(self, round: int, request: bytes) -> bytes | None:
        """Begins a round next to the latest one. A refusal changes nothing."""
        beside = max(self._clients, default=-1)
        client = self._next if beside == -1 else self._client(beside)
        reply = client.receive(request)
        remaining = {} if beside == -1 else {beside: self._clients[beside]}
        self._clients = {**remaining, round: client}
        return reply

    def check_model(self, round: int, name: bytes) -> None:
        """Raises ProtocolError unless an update of this round and this model was asked for."""
        self._waiting().check_model(round, name)

    def submit(self, update: ClientUpdate) -> memoryview:
        """Returns the update under its masks. Raises ProtocolError: see `MaskedClient.submit`."""
        return self._waiting().submit(update)

    def _waiting(self) -> MaskedClient:
        """Returns the client that was asked for an update; there is one at most."""
        for client in self._clients.values():
            if client.awaits_update:
                return client
        raise ProtocolError("no update was asked for")
