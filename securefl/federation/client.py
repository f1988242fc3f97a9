"""A client: it pays, trains, and speaks to the server only through its channel."""

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
    """One site of the federation; lives where its records live.

    Guarantees:
        - Nothing that depends on the records leaves before its cost is reserved in the ledger.
        - With fresh noise no release is made twice: a round that was reserved before is refused.
        - What training really cost is what was reserved, or nothing leaves.
        - It trains, and pays, only for the model and round that its channel was asked for.
        - Whether it answers does not depend on its records: an update that is not finite is sent, too.

    Args:
        client: this client's id.
        trainer: its local training.
        channel: its side of the channel.
        weight: the public weight it carries.
        layout: names and shapes of the model's parameters, for the hash that names it; None where
            other clients hand over the model under a name that says nothing about its weights.
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
        self.client, self._trainer, self._channel, self._weight = client, trainer, channel, weight
        self._layout, self._d, self._session, self._run = layout, d, session, run
        self._ledger, self._repeatable = ledger, repeatable
        self._models: list[
            ModelMessage
        ] = []  # the first and the latest that came for the round at hand
        self.not_finite = 0  # updates with a NaN or an infinity; known here and told to nobody

    @property
    def ledger_head(self) -> str | None:
        """The head of the ledger; None without one."""
        return None if self._ledger is None else self._ledger.head

    def load(self, message: bytes) -> None:
        """Take the global model of a round.

        Model messages are not signed. The first and the latest of a round are kept, so that a forged one
        before or after the honest one does not push it out; `train` picks the one that was asked for.

        Raises:
            ProtocolError: malformed, another session, a name that is not that of the weights, or a
                model that is not finite (where the sender holds it; key holders never make such a one).
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
        """Answer the channel; None means that training comes next."""
        return self._channel.receive(request)

    def train(self) -> ClientUpdate:
        """Reserve, train, and check that the training cost what was reserved.

        Raises:
            BudgetExceeded: the round does not fit the budget; nothing was trained or written.
            ClientFailure: the round was paid for before under fresh noise, or cost something else.
            ProtocolError: no model was loaded, or another one than the channel was asked for; nothing
                was paid for it.
        """
        model = self._asked_for()
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
        """Raise ProtocolError unless the weights are finite and have the name of the message."""
        if not bool(torch.isfinite(model.weights).all()):
            raise ProtocolError(f"the model of round {model.round} is not finite")
        if model.name != vector.model_hash(layout, model.weights):
            raise ProtocolError(
                f"the model of round {model.round} is not the one that its message names"
            )

    def _asked_for(self) -> ModelMessage:
        """The model that the channel was asked to train on. Raises ProtocolError where none is at hand."""
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
        """Reserve the cost of this round's training, where it has one."""
        if self._ledger is not None and self._trainer.cost is not None:
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
        """Hand the update to the channel."""
        return self._channel.submit(update)

    def confirm(self, round: int) -> None:
        """Settle the round's reservation; where the disk refuses, it stays reserved, which costs the same."""
        if self._ledger is not None and (release_id := self._release_id(round)) in self._ledger:
            with suppress(OSError):
                self._ledger.settle(release_id)

    def _release_id(self, round: int) -> ReleaseId:
        return ReleaseId(self._run, self.client, round, attempt=0)
