"""Clients that fail on purpose, so that what happens then can be tried."""

from collections.abc import Mapping

from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Packet, View
from securefl.errors import ClientFailure
from securefl.federation.values import Participant


class UnreliableClient:
    """A participant that stops answering at some stage of some rounds, or sends its update too late.

    Args:
        inner: the client that does the work.
        drop: round -> stage (from 1) from which on it is silent.
        late: rounds in which it trains and pays, but its update does not arrive in time.
    """

    def __init__(
        self, inner: Participant, *, drop: Mapping[int, int], late: frozenset[int]
    ) -> None:
        self._inner, self._drop, self._late = inner, drop, late
        self._round = self._stage = 0

    @property
    def ledger_head(self) -> str | None:
        """The inner client's."""
        return self._inner.ledger_head

    def load(self, message: bytes) -> None:
        """Take the model and note the round."""
        self._inner.load(message)
        self._round, self._stage = ModelMessage.round_of(message), 0

    def receive(self, request: bytes) -> bytes | View | None:
        """Answer, unless this is where it drops out."""
        self._stage += 1
        if self._stage >= self._drop.get(self._round, self._stage + 1):
            raise ClientFailure(f"dropped at stage {self._stage} (simulated)")
        return self._inner.receive(request)

    def train(self) -> ClientUpdate:
        """Train as ever."""
        return self._inner.train()

    def submit(self, update: ClientUpdate) -> Packet:
        """Submit, unless it is late."""
        message = self._inner.submit(update)
        if self._round in self._late:
            raise ClientFailure("its update came too late (simulated)")
        return message

    def confirm(self, round: int) -> None:
        """Pass it on."""
        self._inner.confirm(round)
