"""Plain local SGD, without any privacy guarantee."""

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Bend, Trained, Trainer
from securefl.learning.sampling import shuffled_batches
from securefl.rng import StreamFor

# How plain SGD treats the records, in the words of the scenario's table [practice].
PRACTICE = {
    "sampling": "shuffled",
    "normaliser": "batch",
    "batches": "all",
    "statistics": "public",
}


class SgdTrainer:
    """Trains for some epochs of SGD over one client's records.

    Args:
        model: workspace shared by all trainers of a process; its weights are overwritten.
        task: gives the loss.
        examples: this client's records, at least one.
        client: this client's id, which names its random stream.
        batch: records a step, >= 1.
        epochs: local epochs a round, >= 1.
        lr: learning rate, > 0.
        stream_for: gives the stream that shuffles.
        bend: changes a parameter's gradient as an adversary wants; None for an honest client.
    """

    cost = None

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        examples: Examples,
        *,
        client: int,
        batch: int,
        epochs: int,
        lr: float,
        stream_for: StreamFor,
        bend: Bend | None = None,
    ) -> None:
        self._model = model
        self._task = task
        self._examples = examples
        self._client = client
        self._batch = batch
        self._epochs = epochs
        self._lr = lr
        self._stream_for = stream_for
        self._bend = bend

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the change that the epochs make to weights (d,)."""
        vector.load_vector(self._model, weights)
        self._model.train()  # an evaluation may have come before
        start = [p.detach().clone() for p in self._model.parameters()] if self._bend else []
        optimizer = torch.optim.SGD(self._model.parameters(), lr=self._lr)
        # One stream a round, drawn on by every epoch: each epoch gets an order of its own.
        stream = self._stream_for("shuffle", self._client, round)
        for _ in range(self._epochs):
            for chosen in shuffled_batches(len(self._examples), batch=self._batch, stream=stream):
                optimizer.zero_grad()
                self._loss(chosen).backward()  # type: ignore[no-untyped-call]
                self._bend_gradients(start)
                optimizer.step()
        return Trained(vector.to_vector(self._model) - weights, spent=None)

    def _loss(self, chosen: Tensor) -> Tensor:
        """Returns the mean loss over the records at these indices (batch,)."""
        features = self._task.inputs(self._examples.features[chosen])
        return self._task.loss(self._model(features), self._examples.labels[chosen])

    def _bend_gradients(self, start: list[Tensor]) -> None:
        """Lets the adversary change the gradients, given each parameter's way from its start."""
        if self._bend is None:
            return
        for p, before in zip(self._model.parameters(), start, strict=True):
            if p.grad is not None:
                p.grad = self._bend(p.grad, p.detach() - before)


def sgd_trainers(local: LocalTraining) -> dict[int, Trainer]:
    """Returns client -> its plain training; all of them share the model as workspace."""
    return {
        client: SgdTrainer(
            local.model,
            local.task,
            examples,
            client=client,
            batch=local.batch,
            epochs=local.epochs,
            lr=local.lr,
            stream_for=local.stream_for,
            bend=local.bends.get(client),
        )
        for client, examples in local.examples.items()
    }
