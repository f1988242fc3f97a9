"""What plain SGD and DP-SGD of several clients at once have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from securefl.learning.device import device_of, full_precision
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Trained
from securefl.learning.stacked.batches import (
    Batch,
    largest_batches,
    longest_first,
    stacked_batches,
)
from securefl.learning.stacked.network import Network
from securefl.privacy.events import PrivacyEvent


class StackedTraining(ABC):
    """Trains several clients at once, each on its own records.

        trained = stacked.fit_many(weights, [0, 1, 2, 3], round=0)  # client -> Trained

    Args:
        local: everything that trainers are made from; `stackable` has no reason against it.

    Guarantees:
        - The same records, in the same steps and order, and the same noise as one client at a time.
          Results differ by rounding alone. Where rounding decides, as between two pixels of a pool
          that are equal up to it, another pixel may get the gradient.
        - A record that is not finite spoils no other client.
    """

    def __init__(self, local: LocalTraining) -> None:
        self._local = local
        self._network = Network(local.model)
        self._device = device_of(local.model)
        self._loss = local.options.loss(local.task)

    def fit_many(
        self, weights: Tensor, clients: Sequence[int], *, round: int, out: Tensor | None = None
    ) -> dict[int, Trained]:
        """Returns client -> the change that its local steps make to weights (d,), and its cost.

        The results come in the order of their rows in `out`.

        Args:
            weights: (d,), of the global model.
            clients: those that train, each once.
            round: names the streams, and decides the learning rate where it has a schedule.
            out: (clients or more, d), on the device of the training, where the changes go; None for
                memory of their own.

        Raises:
            ValueError: an adversary bends the gradients of one of the clients.
        """
        local = self._local
        for client in clients:
            if client in local.bends:
                raise ValueError(f"client {client} bends its gradients, and trains alone")
        steps = {client: self._steps(client, round) for client in clients}
        order = longest_first(steps)
        largest = largest_batches([steps[client] for client in order])
        batches = stacked_batches(
            [local.prepared[client] for client in order],
            [steps[client] for client in order],
            largest,
            self._device,
        )
        start = weights.to(self._device)
        with full_precision(self._device):
            self._begin(start, order, round=round, records=sum(largest))
            for step, batch in enumerate(batches, start=1):
                self._network.keep(len(batch.sizes))
                self._step(batch)
                for client in order[: len(batch.sizes)]:
                    local.on_step(client, step, len(steps[client]))
            changes = start.new_empty((len(order), len(start))) if out is None else out
            changes = changes[: len(order)]
            self._network.write_changes(changes, start)
        return {
            client: Trained(change, self._spent(client))
            for client, change in zip(order, changes.cpu(), strict=True)
        }

    def _lr(self, round: int) -> float:
        """Returns the learning rate of a round."""
        return self._local.lr * self._local.options.schedule(round)

    def _backward(self, batch: Batch, factors: Tensor) -> None:
        """Sends each row's gradient of its own loss, times its factor (rows,), through all layers.

        Args:
            batch: of at least one row.
            factors: (rows,), or one number for all of them.
        """
        logits = self._network.forward(self._local.task.inputs(batch.features))
        # The loss is the mean over all rows.
        scale = (factors * len(logits)).to(logits).view(-1, 1)
        logits.register_hook(lambda gradient: gradient * scale)  # type: ignore[no-untyped-call]
        self._loss(logits, batch.labels).backward()  # type: ignore[no-untyped-call]

    @abstractmethod
    def _steps(self, client: int, round: int) -> list[Tensor]:
        """Returns the indices (batch,) of the records of every step of a client's round."""

    @abstractmethod
    def _begin(self, weights: Tensor, clients: Sequence[int], *, round: int, records: int) -> None:
        """Prepares a round.

        Args:
            weights: (d,), of the global model, which the network gets.
            clients: those with most steps first.
            round: its number.
            records: of each client, in all steps, fillers included.
        """

    @abstractmethod
    def _step(self, batch: Batch) -> None:
        """Takes one step of every client in the batch."""

    @abstractmethod
    def _spent(self, client: int) -> PrivacyEvent | None:
        """Returns what a client's round cost."""
