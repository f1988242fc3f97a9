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
    """Some epochs of SGD over one client's records.

    Args:
        model: workspace shared by all trainers of a process; its weights are overwritten.
        task: gives the loss.
        examples: this client's records, at least one.
        client: this client's id, which names its random stream.
        batch: records a step, >= 1.
        epochs: local epochs a round, >= 1.
        lr: learning rate, > 0.
        stream_for: gives the stream that shuffles.
        bend: what an adversary does to a parameter's gradient, given how far the parameter is from the global one.
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
        self._model, self._task, self._examples = model, task, examples
        self._client, self._batch, self._epochs, self._lr = client, batch, epochs, lr
        self._stream_for, self._bend = stream_for, bend

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """The change that the epochs make to weights (d,)."""
        vector.load_vector(self._model, weights)
        self._model.train()  # an evaluation may have come before
        start = [p.detach().clone() for p in self._model.parameters()] if self._bend else []
        optimizer = torch.optim.SGD(self._model.parameters(), lr=self._lr)
        stream = self._stream_for("shuffle", self._client, round)
        for _ in range(self._epochs):
            for chosen in shuffled_batches(len(self._examples), batch=self._batch, stream=stream):
                optimizer.zero_grad()
                logits = self._model(self._task.inputs(self._examples.features[chosen]))
                self._task.loss(logits, self._examples.labels[chosen]).backward()  # type: ignore[no-untyped-call]
                self._bend_gradients(start)
                optimizer.step()
        return Trained(vector.to_vector(self._model) - weights, spent=None)

    def _bend_gradients(self, start: list[Tensor]) -> None:
        """As the adversary wishes; an honest client has no bend."""
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
