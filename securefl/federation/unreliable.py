"""Clients that fail on purpose, to try how a federation reacts."""

from collections.abc import Callable, Mapping

from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.errors import ClientFailure
from securefl.federation.values import Participant, Reply


def in_time(round: int) -> str:
    """Returns that nothing is discarded, in any round."""
    return ""


class UnreliableClient:
    """A participant that falls silent in some rounds, or sends its update too late.

    Args:
        inner: the client that does the work.
        drop: round -> first stage (from 1) in which it is silent.
        late: rounds in which it trains and pays, but its update does not arrive in time.
        discarded: round -> why its update is discarded there, for which it trains and pays as well;
            empty where it is not.
    """

    def __init__(
        self,
        inner: Participant,
        *,
        drop: Mapping[int, int],
        late: frozenset[int],
        discarded: Callable[[int], str] = in_time,
    ) -> None:
        self._inner = inner
        self._drop = drop
        self._late = late
        self._discarded = discarded
        self._round = 0
        self._stage = 0

    @property
    def ledger_head(self) -> str | None:
        """The inner client's."""
        return self._inner.ledger_head

    def load(self, message: bytes) -> None:
        """Takes the model and notes the round."""
        self._inner.load(message)
        self._round = ModelMessage.round_of(message)
        self._stage = 0

    def receive(self, request: bytes) -> Reply:
        """Answers, unless the client is silent from this stage on.

        Raises:
            ClientFailure: it is silent.
        """
        self._stage += 1
        first_silent = self._drop.get(self._round)
        if first_silent is not None and self._stage >= first_silent:
            raise ClientFailure(f"dropped at stage {self._stage} (simulated)")
        return self._inner.receive(request)

    def begin(self) -> None:
        """Begins as ever."""
        self._inner.begin()

    def train(self) -> ClientUpdate:
        """Trains as ever."""
        return self._inner.train()

    def submit(self, update: ClientUpdate) -> Packet:
        """Returns the message, unless it is late.

        Raises:
            ClientFailure: it is late, or discarded.
        """
        # The inner client has submitted first: a late client has paid and spent its masks.
        message = self._inner.submit(update)
        if self._round in self._late:
            raise ClientFailure("its update came too late (simulated)")
        if reason := self._discarded(self._round):
            raise ClientFailure(reason)
        return message

    def confirm(self, round: int) -> None:
        """Passes the confirmation on."""
        self._inner.confirm(round)
