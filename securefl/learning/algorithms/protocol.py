"""The interface of an algorithm, and the public constants that one is made from."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.protocol import ServerStep, StepResult, Trained, Trainer
from securefl.learning.release import Release

LAST = sys.maxsize  # a round after all others


@dataclass(frozen=True)
class Terms:
    """Public constants; nothing here depends on a record.

    Attributes:
        d: coordinates of the model.
        parameters: how many of them are parameters, which come first; running statistics follow.
        steps: client -> its local steps K a round; None where the numbers are not public.
        usual_steps: the steps of a client with the mean number of records, >= 1.
        most_steps: the steps of a client that had all records.
        weights: client -> its weight in the average; None where clients report theirs.
        lr: round -> learning rate of local steps.
        personal: (d,), whether a coordinate stays at its client; None where none does.
        clip: bound of the channel on a coordinate of an update; None without one.
    """

    d: int
    parameters: int
    steps: Mapping[int, int] | None
    usual_steps: int
    most_steps: int
    weights: Mapping[int, int] | None
    lr: Callable[[int], float]
    personal: Tensor | None = None
    clip: float | None = None

    def carried(self, update: Tensor) -> Tensor:
        """Returns what the channel makes of an update, up to rounding."""
        return update if self.clip is None else update.clamp(-self.clip, self.clip)

    @property
    def common_steps(self) -> int | None:
        """The steps that every client takes; None where they differ or are not public."""
        if self.steps is None or len(set(self.steps.values())) != 1:
            return None
        return next(iter(self.steps.values()))


class Pulled(Protocol):
    """Trains a client's own model."""

    def fit(self, weights: Tensor, pull: Tensor, *, round: int) -> Trained:
        """Returns the change of weights (d,), with pull (parameters,) added to each gradient."""


@dataclass(frozen=True)
class Place:
    """Where the client's half of an algorithm works.

    Attributes:
        client: its id.
        steps: the local steps K that it takes in a round.
        corrections: what its trainer adds to gradients; None where the algorithm adds nothing.
        file: where its state is kept; None for a state in memory alone.
        start: (d,), the initial global model.
        personal: trains a model of the client's own; None where the algorithm has none.
        silent: whether a failure of that training must not show, as under a claim.
        fisher: (parameters,), the Fisher information of an earlier version; None without one.
        release: how updates that are protected as a whole leave; None where they are not.
    """

    client: int
    steps: int
    corrections: Corrections | None
    file: Path | None
    start: Tensor
    personal: Pulled | None = None
    silent: bool = False
    fisher: Tensor | None = None
    release: Release | None = None


class Server(Protocol):
    """The server's half of an algorithm."""

    def sent(self, weights: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Returns the vector (sent_size,) that goes to each client."""

    def move(
        self,
        step: ServerStep,
        weights: Tensor,
        estimate: Tensor,
        state: Mapping[str, Tensor],
        *,
        round: int,
        share: float,
    ) -> StepResult:
        """Returns the server's next weights and state.

        Args:
            step: the server's step.
            weights: (d,), of the global model.
            estimate: (update_size,), of the rule.
            state: of the step and the algorithm.
            round: number of the round.
            share: clients whose updates the estimate is of, over all clients.
        """


class Algorithm(Server, Protocol):
    """Both halves of an algorithm. The lane between them carries vectors, as it does for FedAvg."""

    sent_size: int
    """Coordinates of the vector that goes to each client."""
    update_size: int
    """Coordinates of the vector that each client sends."""

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns a trainer that takes what `sent` returns, and returns an update."""


@runtime_checkable
class SettledTrainer(Trainer, Protocol):
    """A trainer with a state, which changes only with a round that counts."""

    def settle(self, round: int) -> None:
        """Keeps the state of a round whose update is part of the model."""

    def forget(self, round: int) -> None:
        """Goes back to the state before a round that a crash has undone at the server."""


@runtime_checkable
class OwnModel(Protocol):
    """A trainer whose client has a model of its own."""

    def own_model(self, weights: Tensor) -> Tensor:
        """Returns the weights (d,) of the client's model, of those of the global one."""
