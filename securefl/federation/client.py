"""A client: it pays, trains, and talks to the server only through its channel."""

from contextlib import suppress

import torch

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ChannelClient, ClientUpdate, Packet, View
from securefl.errors import ClientFailure, ProtocolError
from securefl.learning.protocol import Trainer
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
        layout: names and shapes of the model's parameters, for the hash that names a model. None
            where clients pass the model on, under a name that reveals nothing about its weights.
        d: coordinates of the model.
        session: 16 bytes that name the session.
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
        layout: str | None,
        d: int,
        session: bytes,
        run: str,
        ledger: Ledger | None,
        repeatable: bool,
    ) -> None:
        self.client = client
        self._trainer = trainer
        self._channel = channel
        self._weight = weight
        self._layout = layout
        self._d = d
        self._session = session
        self._run = run
        self._ledger = ledger
        self._repeatable = repeatable
        # The first and the latest model message of the current round.
        self._models: list[ModelMessage] = []
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
            ProtocolError: the message is malformed or belongs to another session. Where the sender
                holds the model: the weights are not finite, or have another name than the message
                says. Key holders never make a model that is not finite.
        """
        model = ModelMessage.from_bytes(message, d=self._d)
        if model.session != self._session:
            raise ProtocolError("the model belongs to another session")
        if self._layout is not None:
            self._check_weights(model, self._layout)
        if self._models and model.round > self._models[0].round:
            self._models.clear()
        self._models[1:] = [model]

    def receive(self, request: bytes) -> bytes | View | None:
        """Answers the channel; None means that training comes next."""
        return self._channel.receive(request)

    def train(self) -> ClientUpdate:
        """Reserves the cost, trains, and checks that the training cost as much.

        Raises:
            BudgetExceeded: the round does not fit the budget; nothing was trained or written.
            ClientFailure: the round was paid for before under fresh noise, or cost something else.
            ProtocolError: no model was loaded, or not the requested one; nothing was paid.
        """
        model = self._requested_model()
        self._models = []
        self._pay(model.round)
        delta, spent = self._trainer.fit(model.weights, round=model.round)
        if spent != self._trainer.cost:
            raise ClientFailure(
                f"training cost {spent}, reserved was {self._trainer.cost}; the update stays here"
            )
        self.not_finite += not bool(torch.isfinite(delta).all())
        return ClientUpdate(delta, self._weight, spent, model.name)

    def _check_weights(self, model: ModelMessage, layout: str) -> None:
        """Raises ProtocolError unless the weights are finite and have the message's name."""
        if not bool(torch.isfinite(model.weights).all()):
            raise ProtocolError(f"the model of round {model.round} is not finite")
        if model.name != vector.model_hash(layout, model.weights):
            raise ProtocolError(
                f"the model of round {model.round} is not the one that its message names"
            )

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
            raise ClientFailure(
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
        """Settles the round's reservation."""
        release_id = self._release_id(round)
        if self._ledger is not None and release_id in self._ledger:
            # If the disk refuses, the round stays reserved, which costs the same.
            with suppress(OSError):
                self._ledger.settle(release_id)

    def _release_id(self, round: int) -> ReleaseId:
        return ReleaseId(self._run, self.client, round, attempt=0)
