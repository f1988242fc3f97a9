"""Plain local SGD, without any privacy guarantee."""

from collections.abc import Iterator

from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.adapt import batch_norms
from securefl.learning.device import device_of, full_precision, moved
from securefl.learning.modes import training_mode
from securefl.learning.options import USUAL, StepOptions, random_layers
from securefl.learning.plan import LocalTraining, OnStep, unseen
from securefl.learning.pooling import fast, usual_pools
from securefl.learning.protocol import Bend, Trained, Trainer
from securefl.learning.sampling import shuffled_batches
from securefl.rng import Keystream, StreamFor

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
        examples: this client's records. Without any the change is zero.
        client: this client's id, which names its random stream.
        batch: records a step, >= 1.
        epochs: local epochs a round, >= 1.
        lr: learning rate, > 0, before the schedule of the options.
        stream_for: gives the streams that shuffle and that random layers draw from.
        bend: changes a parameter's gradient as an adversary wants; None for an honest client.
        options: how the steps are taken.
        on_step: called after every step.
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
        options: StepOptions = USUAL,
        on_step: OnStep = unseen,
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
        self._options = options
        self._loss_of = options.loss(task)
        self._on_step = on_step
        self._device = device_of(model)
        self._pools = usual_pools(model)
        self._norms = [model.get_submodule(name) for name in batch_norms(model)]

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the change that the epochs make to weights (d,)."""
        vector.load_vector(self._model, weights)
        training_mode(self._model)  # an evaluation may have come before
        start = [p.detach().clone() for p in self._model.parameters()] if self._bend else []
        options = self._options
        lr = self._lr * options.schedule(round)
        optimizer = options.optimizer(self._model.parameters(), lr)
        # One stream a round, drawn on by every epoch: each epoch gets an order of its own.
        batches = self._batches(self._stream_for("shuffle", self._client, round))
        steps = self._epochs * -(-len(self._examples) // self._batch)
        dropout = self._stream_for("dropout", self._client, round)
        device = self._device
        with random_layers(dropout, device), full_precision(device), fast(self._pools):
            for step, chosen in enumerate(batches, start=1):
                optimizer.zero_grad()
                self._accumulate(chosen)
                self._bend_gradients(start)
                optimizer.step()
                self._on_step(self._client, step, steps)
        return Trained(vector.to_vector(self._model) - weights, spent=None)

    def _batches(self, stream: Keystream) -> Iterator[Tensor]:
        """Yields the indices (batch,) of every step of a round."""
        for _ in range(self._epochs):
            yield from shuffled_batches(len(self._examples), batch=self._batch, stream=stream)

    def _accumulate(self, chosen: Tensor) -> None:
        """Adds the gradient of the mean loss over the records chosen (batch,)."""
        for part in self._options.parts(chosen):
            # A part of the batch counts as much as it has records: the last one may be smaller.
            share = len(part) / len(chosen)
            # A record alone has no spread: batch norm then keeps to its running statistics.
            for norm in self._norms:
                norm.train(len(part) > 1)
            (share * self._loss(part)).backward()  # type: ignore[no-untyped-call]

    def _loss(self, chosen: Tensor) -> Tensor:
        """Returns the mean loss over the records at these indices (batch,)."""
        records = moved(self._examples, chosen, self._device)
        features = self._task.inputs(records.features)
        return self._loss_of(self._model(features), records.labels)

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
            options=local.options,
            on_step=local.on_step,
        )
        for client, examples in local.prepared.items()
    }
