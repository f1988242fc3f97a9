"""A region of a hierarchical federation, as the top meets it."""

from collections.abc import Mapping

from securefl.channels.messages import ModelMessage
from securefl.channels.plain import PlainClient
from securefl.channels.protocol import ClientUpdate, Observer, Packet
from securefl.errors import ClientFailure, ProtocolError
from securefl.federation.engine import play_round
from securefl.federation.reader import ModelReader
from securefl.federation.values import Federation, Played, Reply, State


class Region:
    """A region in one round of the top: a participant that trains by playing rounds of its own.

    Args:
        federation: of the region.
        inner_rounds: rounds that it plays.
        weights: client -> its public weight.
        reader: of the top's models.
        channel: its side of the channel to the top.
        observer: of its rounds.

    Attributes:
        played: the rounds that it has played.
    """

    def __init__(
        self,
        federation: Federation,
        *,
        inner_rounds: int,
        weights: Mapping[int, int],
        reader: ModelReader,
        channel: PlainClient,
        observer: Observer,
    ) -> None:
        self._federation = federation
        self._inner_rounds = inner_rounds
        self._weights = weights
        self._reader = reader
        self._channel = channel
        self._observer = observer
        self._model: ModelMessage | None = None
        self.played: list[Played] = []

    @property
    def counted(self) -> frozenset[int]:
        """The clients whose updates are in the region's change of the model."""
        return frozenset(
            client
            for played in self.played
            for client in set(played.record.survivors) - set(played.record.screened)
        )

    @property
    def ledger_head(self) -> None:
        """None: its clients have the ledgers."""

    def load(self, message: bytes) -> None:
        """Takes the model of the top. Raises ProtocolError: see `ModelReader.read`."""
        self._model = self._reader.read(message)

    def receive(self, request: bytes) -> Reply:
        """Notes the request of the top; training comes next. Raises ProtocolError."""
        self._channel.receive(request)
        return None

    def begin(self) -> None:
        """Does nothing: its clients pay in the rounds that it plays."""

    def train(self) -> ClientUpdate:
        """Returns the region's change of the model.

        Raises:
            ClientFailure: each of its rounds was abandoned.
            ProtocolError: there is no model.
        """
        model = self._model
        if model is None:
            raise ProtocolError("no model was loaded for this round")
        # Numbers go on from round to round, so that no two trainings of a client share one.
        state = State(model.weights, round=model.round * self._inner_rounds)
        for _ in range(self._inner_rounds):
            played = play_round(self._federation, state, self._observer)
            self.played.append(played)
            state = played.state
        if not self.counted:
            raise ClientFailure(self.played[0].record.reason)
        weight = sum(self._weights[client] for client in self.counted)
        return ClientUpdate(state.weights - model.weights, weight, None, model.name)

    def submit(self, update: ClientUpdate) -> Packet:
        """Returns the message to the top."""
        return self._channel.submit(update)

    def confirm(self, round: int) -> None:
        """Does nothing: its own rounds have settled what its clients paid."""
