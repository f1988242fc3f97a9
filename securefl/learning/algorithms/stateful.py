"""The client's half of an algorithm with a state: what SCAFFOLD and FedDyn have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.algorithms.kept import Kept
from securefl.learning.algorithms.protocol import Terms
from securefl.learning.protocol import EarlyTrainer, Trained, Trainer
from securefl.privacy.events import PrivacyEvent


@dataclass(frozen=True)
class _Begun:
    """A training under way: what was sent, and the model in it."""

    sent: Tensor
    model: Tensor


class StatefulTrainer(ABC):
    """Corrects the steps of a client by its state, which follows from its own updates alone.

    Under DP-SGD the update is that of noisy steps. The state is computed from updates and from what
    the server sent, so that it is post-processing of this client's own noisy trajectory, as are
    later steps that it corrects. It costs nothing (Noble et al., AISTATS 2022, for SCAFFOLD).

    Args:
        trainer: of the client; its steps read the correction.
        client: its id.
        corrections: where the correction goes.
        kept: the client's state.
        terms: public constants.
    """

    def __init__(
        self,
        trainer: Trainer,
        client: int,
        corrections: Corrections,
        kept: Kept,
        terms: Terms,
    ) -> None:
        self._terms = terms
        self._trainer = trainer
        self._early = trainer if isinstance(trainer, EarlyTrainer) else None
        self._row = corrections.rows[client]
        self._kept = kept
        self._begun: _Begun | None = None

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts what the next call of `fit` returns, where the trainer can."""
        self._begun = self._prepared(weights, round)
        if self._early is not None:
            self._early.begin(self._begun.model, round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the update that answers what the server sent, (sent_size,), and its cost."""
        begun, self._begun = self._begun, None
        if begun is None or begun.sent is not weights:
            begun = self._prepared(weights, round)
        delta, spent = self._trainer.fit(begun.model, round=round)
        update = self._update(delta)
        # The server knows the update as the channel carries it, and so must the state.
        carried = self._terms.carried(update)
        before = self._kept.before(round)
        self._kept.propose(round, self._after(before, weights, carried, round))
        return Trained(update, spent)

    def settle(self, round: int) -> None:
        """Keeps the state of a round whose update is part of the model."""
        self._kept.settle(round)

    def forget(self, round: int) -> None:
        """Goes back to the state before a round that a crash has undone at the server."""
        self._kept.forget(round)

    def _prepared(self, sent: Tensor, round: int) -> _Begun:
        """Puts the correction where the steps read it."""
        self._row.copy_(self._correction(self._kept.before(round), sent))
        return _Begun(sent, self._model(sent))

    def _model(self, sent: Tensor) -> Tensor:
        """Returns the model's weights (d,) of what the server sent."""
        return sent

    def _update(self, delta: Tensor) -> Tensor:
        """Returns what the client sends, of the change (d,) that it trained."""
        return delta

    @abstractmethod
    def _correction(self, state: Tensor, sent: Tensor) -> Tensor:
        """Returns what is added to each gradient."""

    @abstractmethod
    def _after(self, state: Tensor, sent: Tensor, update: Tensor, round: int) -> Tensor:
        """Returns the client's next state, from its update as the channel carries it."""
