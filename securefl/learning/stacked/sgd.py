"""Plain local SGD of several clients at once: what `SgdTrainer` does, up to rounding."""

from collections.abc import Sequence

from torch import Tensor

from securefl.learning.sampling import shuffled_batches
from securefl.learning.stacked.batches import Batch
from securefl.learning.stacked.layer import Course, StackedLayer
from securefl.learning.stacked.training import StackedTraining


class StackedSgd(StackedTraining):
    """Trains several clients for some epochs of SGD."""

    def _steps(self, client: int, round: int) -> list[Tensor]:
        """Returns the indices (batch,) of the records of every step of a client's round."""
        local = self._local
        records = len(local.examples[client])
        stream = local.stream_for("shuffle", client, round)
        return [
            chosen
            for _ in range(local.epochs)
            for chosen in shuffled_batches(records, batch=local.batch, stream=stream)
        ]

    def _begin(self, weights: Tensor, clients: Sequence[int], *, round: int, records: int) -> None:
        """Lets every backward pass move the weights."""
        course = Course(self._lr(round), records)
        self._network.load(weights, clients=len(clients), course=course)
        self._network.on_gradient(_descend)

    def _step(self, batch: Batch) -> None:
        """Takes one step of every client in the batch."""
        # Every client's loss is the mean over its own records.
        shares = 1 / batch.sizes.repeat(len(batch.labels) // len(batch.sizes))
        self._backward(batch, batch.real * shares)

    def _spent(self, client: int) -> None:
        """Returns None: there is no DP mechanism."""
        return


def _descend(layer: StackedLayer, x: Tensor, gradient: Tensor, pull: bool) -> Tensor | None:
    return layer.descend(x, gradient, pull)
