"""Makes stacks of clients that begin their training one after another.

    stack = stack_of(local, trainers, asked="auto", make=StackedSgd, cohort=10)
    federation = ...                     # of stack.trainers, with Federation.ahead >= stack.size

Stacks follow from the order in which clients begin, and from nothing else. So a run has the same
results whatever number of processes trains the stacks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from securefl import vector
from securefl.errors import ClientFailure
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Trained, Trainer
from securefl.learning.stacked.choice import stack_size, unstackable
from securefl.learning.stacked.training import StackedTraining
from securefl.privacy.events import PrivacyEvent

MAX_BYTES = 2**31  # of the weights of a stack
_FLOAT_BYTES = 4

MakeStacked = Callable[[LocalTraining], StackedTraining]


@dataclass(eq=False)
class Piece:
    """Clients that train together, from the same weights.

    Attributes:
        weights: (d,), of the global model.
        round: its number.
        clients: in the order in which they began.
        results: client -> its result that nobody took yet; None before they train.
        failure: why they have no results; empty otherwise.
    """

    weights: Tensor
    round: int
    clients: list[int] = field(default_factory=list)
    results: dict[int, Trained] | None = None
    failure: str = ""

    def takes(self, weights: Tensor, round: int, *, size: int) -> bool:
        """Whether one more client with these weights may join."""
        is_over = self.results is not None or bool(self.failure)
        is_open = not is_over and len(self.clients) < size
        if not is_open or round != self.round:
            return False
        # The clients of a process share the tensor that they read, which nobody writes into.
        return weights is self.weights or torch.equal(weights, self.weights)


class StackedTrainer:
    """A client's trainer that trains in a stack, where `begin` gave it the time to.

    Args:
        trainer: of the client; trains what did not begin.
        client: its id.
        stack: trains it together with others.
    """

    def __init__(self, trainer: Trainer, client: int, stack: "Stack") -> None:
        self._trainer = trainer
        self._client = client
        self._stack = stack

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Joins a stack."""
        self._stack.begin(self._client, weights, round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the result of the client in its stack; trains it alone if it did not begin."""
        trained = self._stack.collect(self._client, weights, round=round)
        return self._trainer.fit(weights, round=round) if trained is None else trained


class Stack:
    """Trains clients in stacks of those that begin one after another.

    Args:
        trainers: client -> its training, one at a time.
        training: trains several; None where all clients train one at a time.
        size: clients of a stack; 1 without a training.
        apart: clients that join no stack.
        reason: why clients train one at a time, though stacks were asked for; else empty.
    """

    def __init__(
        self,
        trainers: Mapping[int, Trainer],
        training: StackedTraining | None = None,
        *,
        size: int = 1,
        apart: frozenset[int] = frozenset(),
        reason: str = "",
    ) -> None:
        self._plain = trainers
        self._training = training
        self._apart = apart
        self.size = size
        self.reason = reason
        self._pieces: dict[int, Piece] = {}  # by client
        self._open: Piece | None = None

    @property
    def trainers(self) -> Mapping[int, Trainer]:
        """Client -> its training, as the federation gets it."""
        if self._training is None:
            return self._plain
        return {
            client: trainer if client in self._apart else StackedTrainer(trainer, client, self)
            for client, trainer in self._plain.items()
        }

    def begin(self, client: int, weights: Tensor, *, round: int) -> Piece:
        """Adds a client to the stack that is being filled, and returns this stack."""
        earlier = self._pieces.pop(client, None)
        if earlier is not None and earlier.results is None:  # nobody will collect it
            earlier.clients.remove(client)
        piece = self._open
        is_apart = client in self._apart
        if piece is None or is_apart or not piece.takes(weights, round, size=self.size):
            piece = Piece(weights, round)
        if not is_apart:
            self._open = piece
        piece.clients.append(client)
        self._pieces[client] = piece
        return piece

    def piece_of(self, client: int) -> Piece | None:
        """Returns the stack in which a client began, and that it has not collected."""
        return self._pieces.get(client)

    def is_full(self, piece: Piece) -> bool:
        """Whether no client can join a stack any more."""
        return len(piece.clients) == self.size or piece.clients[0] in self._apart

    def collect(self, client: int, weights: Tensor, *, round: int) -> Trained | None:
        """Returns what the client trained in its stack; None if it did not begin so.

        Raises:
            ClientFailure: nobody could train the stack.
        """
        piece = self._pieces.pop(client, None)
        if piece is None or piece.weights is not weights or piece.round != round:
            return None
        if piece.failure:
            raise ClientFailure(piece.failure)
        if piece.results is None:
            piece.results = self.fit(piece)
        return piece.results.pop(client)

    def fit(self, piece: Piece, out: Tensor | None = None) -> dict[int, Trained]:
        """Trains the clients of a stack, and returns client -> its result.

        Args:
            piece: the stack.
            out: (clients or more, d), where the changes may go, in the order of the results.
        """
        if self._training is None or piece.clients[0] in self._apart:
            return {
                client: self._plain[client].fit(piece.weights, round=piece.round)
                for client in piece.clients
            }
        return self._training.fit_many(piece.weights, piece.clients, round=piece.round, out=out)


def stack_of(
    local: LocalTraining,
    trainers: Mapping[int, Trainer],
    *,
    asked: int | Literal["auto", "off"] | None,
    make: MakeStacked | None,
    cohort: int,
) -> Stack:
    """Returns the stacks of a federation's clients.

    Args:
        local: all that the trainers were made from.
        trainers: client -> its training.
        asked: clients of a stack; "auto" for as many as pay, None and "off" for none.
        make: makes the training of several clients; None where there is none of this kind.
        cohort: clients of a round.
    """
    if asked is None or asked == "off":
        return Stack(trainers)
    reason = unstackable(local) if make is not None else "this kind of training has no stacks"
    if reason is not None or make is None:
        return Stack(trainers, reason=reason or "")
    size = stack_size(local, cohort=cohort) if asked == "auto" else asked
    fitting = MAX_BYTES // (_FLOAT_BYTES * vector.size(local.model))
    together = min(size, fitting, len(trainers) - len(local.bends))
    if together < 2:
        return Stack(trainers, reason="the model and its batches are too large for it to pay")
    apart = frozenset(local.bends) | _idle(local)
    return Stack(trainers, make(local), size=together, apart=apart)


def _idle(local: LocalTraining) -> frozenset[int]:
    """Returns the clients that take no step, as they have no record and no noise of steps."""
    empty = {client for client, examples in local.examples.items() if not len(examples)}
    return frozenset(empty - set(local.plans))
