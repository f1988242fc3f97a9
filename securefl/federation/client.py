"""A client: it pays, trains, and talks to the server only through its channel."""

from contextlib import suppress

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ChannelClient, ClientUpdate, Packet, View
from securefl.errors import ClientFailure, ProtocolError, ReleasedBefore
from securefl.federation.reader import ModelReader
from securefl.learning.algorithms.protocol import SettledTrainer
from securefl.learning.protocol import EarlyTrainer, Trainer
from securefl.privacy.events import ReleaseId
from securefl.privacy.ledger import Ledger


class Client:
    """One site of the federation, which runs where its records are.

    Guarantees:
        - Nothing that depends on the records leaves before its cost is reserved in the ledger.
        - With fresh noise no release is made twice: a round that was reserved before is refused.
        - An update leaves only if its training cost what was reserved.
        - The client trains, and pays, only for the model and round that the server's request names.
        - Its answering does not depend on its records: an update that is not finite is sent, too.

    Args:
        client: this client's id.
        trainer: its local training.
        channel: its side of the channel.
        weight: its public weight.
        reader: reads and checks the global models; clients of one process may share it.
        run: names the run in release ids.
        ledger: its ledger; None where nothing claims DP.
        repeatable: noise comes from a seed, so that a repeated round is the same release.
    """

    def __init__(
        self,
        client: int,
        *,
        trainer: Trainer,
        channel: ChannelClient,
        weight: int,
        reader: ModelReader,
        run: str,
        ledger: Ledger | None,
        repeatable: bool,
    ) -> None:
        self.client = client
        self._trainer = trainer
        # Looked up once: to ask a protocol takes as long as a small training.
        self._early = trainer if isinstance(trainer, EarlyTrainer) else None
        self._channel = channel
        self._weight = weight
        self._reader = reader
        self._run = run
        self._ledger = ledger
        self._repeatable = repeatable
        # The first and the latest model message of the current round.
        self._models: list[ModelMessage] = []
        # The model whose training is paid for and not yet collected.
        self._begun: ModelMessage | None = None
        # Updates with a NaN or an infinity. The number depends on records, so it stays here.
        self.not_finite = 0

    @property
    def ledger_head(self) -> str | None:
        """The head of the ledger; None without one."""
        return None if self._ledger is None else self._ledger.head

    def load(self, message: bytes) -> None:
        """Takes the global model of a round.

        Model messages are not signed. The client keeps the first and the latest of a round, so that
        a forged one before or after the honest one cannot displace it. `train` takes the model that
        the channel's request names.

        Raises:
            ProtocolError: see `ModelReader.read`.
        """
        model = self._reader.read(message)
        if self._models and model.round > self._models[0].round:
            self._models.clear()
        self._models[1:] = [model]

    def receive(self, request: bytes) -> bytes | View | None:
        """Answers the channel; None means that training comes next."""
        self._begun = None  # an earlier request's, which nobody collected
        return self._channel.receive(request)

    @property
    def requested_round(self) -> int:
        """The round that an update is asked for. Raises ProtocolError: there is none."""
        return self._requested_model().round

    def begin(self) -> None:
        """Reserves the cost, and starts the training if the trainer can go on by itself.

        Raises:
            BudgetExceeded: the round does not fit the budget; nothing was trained or written.
            ReleasedBefore: the round was paid for before under fresh noise.
            ClientFailure: its ledger cannot be written.
            ProtocolError: no model was loaded, or not the requested one; nothing was paid.
        """
        model = self._paid_model()
        self._begun = model
        if self._early is not None:
            self._early.begin(model.weights, round=model.round)

    def train(self) -> ClientUpdate:
        """Returns the update that `begin` paid for, or pays now; checks that it cost as much.

        Raises:
            BudgetExceeded: as `begin`; so are ProtocolErrors.
            ClientFailure: as `begin`, or the training failed or cost something else.
        """
        model = self._paid_model() if self._begun is None else self._begun
        self._begun = None
        delta, spent = self._trainer.fit(model.weights, round=model.round)
        if spent != self._trainer.cost:
            raise ClientFailure(
                f"training cost {spent}, reserved was {self._trainer.cost}; the update stays here"
            )
        self.not_finite += not vector.is_finite(delta)
        return ClientUpdate(delta, self._weight, spent, model.name)

    def _paid_model(self) -> ModelMessage:
        """Returns the requested model, once its training is paid for."""
        model = self._requested_model()
        self._models = []
        self._pay(model.round)
        return model

    def _requested_model(self) -> ModelMessage:
        """Returns the model that the channel's request names. Raises ProtocolError without one."""
        if not self._models:
            raise ProtocolError("no model was loaded for this round")
        for model in self._models[:-1]:
            with suppress(ProtocolError):
                self._channel.check_model(model.round, model.name)
                return model
        latest = self._models[-1]
        self._channel.check_model(latest.round, latest.name)
        return latest

    def _pay(self, round: int) -> None:
        """Reserves the cost of this round's training, if it has one."""
        if self._ledger is None or self._trainer.cost is None:
            return
        release_id = self._release_id(round)
        if release_id in self._ledger and not self._repeatable:
            raise ReleasedBefore(
                f"round {round} was released before; under fresh noise it is not released again"
            )
        try:
            self._ledger.reserve(self._trainer.cost, release_id=release_id)
        except OSError as reason:
            raise ClientFailure(f"its ledger cannot be written: {reason.strerror}") from None

    def submit(self, update: ClientUpdate) -> Packet:
        """Returns the message in which the channel carries the update."""
        return self._channel.submit(update)

    def confirm(self, round: int) -> None:
        """Settles the round's reservation, and the state that its training left."""
        if isinstance(self._trainer, SettledTrainer):
            self._trainer.settle(round)
        release_id = self._release_id(round)
        if self._ledger is not None and release_id in self._ledger:
            # If the disk refuses, the round stays reserved, which costs the same.
            with suppress(OSError):
                self._ledger.settle(release_id)

    def _release_id(self, round: int) -> ReleaseId:
        return ReleaseId(self._run, self.client, round, attempt=0)
