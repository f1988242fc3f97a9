"""Counting at a site: the trainer of a client whose update is the counts of a model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.counts import CountsLayout
from securefl.learning.evaluate import predict
from securefl.learning.protocol import Metrics, Trained
from securefl.privacy.events import PrivacyEvent
from securefl.privacy.noise.integers import noisy_counts
from securefl.rng import Keystream

# float32, in which updates travel, has every whole number up to here.
MAX_COUNT = 2**24 - 1

OnMetrics = Callable[[int, Metrics], None]  # round, this site's own figures


def unkept(round: int, metrics: Metrics) -> None:
    """Lets a site's own figures go."""


class Tally:
    """Counts how a model does on a site's records, as `fit` of a client that pays and submits.

    Guarantees:
        - Neither the shape of the counts nor a refusal depends on a record.
        - Under noise, every cell of the counts has it.

    Args:
        model: a workspace.
        task: of the records.
        examples: this site's records that judge.
        layout: of the counts.
        cost: the event that one evaluation costs; None without noise.
        stream_for: round -> the stream of its noise.
        on_metrics: gets the exact figures of this site, which must stay here.

    Raises:
        DataError: the labels do not have the task's form.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        examples: Examples,
        *,
        layout: CountsLayout,
        cost: PrivacyEvent | None,
        stream_for: Callable[[int], Keystream],
        on_metrics: OnMetrics = unkept,
    ) -> None:
        layout.check(examples.labels)
        self._model = model
        self._task = task
        self._examples = examples
        self._layout = layout
        self._cost = cost
        self._stream_for = stream_for
        self._on_metrics = on_metrics

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one evaluation costs; None without noise."""
        return self._cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the counts (length,) of weights (d,), in float32, and their cost."""
        vector.load_vector(self._model, weights)
        probabilities = predict(self._model, self._task, self._examples.features)
        counts = self._layout.counts(probabilities, self._examples.labels)
        self._on_metrics(round, self._layout.figures(counts).metrics)
        if self._cost is not None:
            std = self._cost.noise_multiplier * self._layout.sensitivity
            counts = noisy_counts(counts, std=std, stream=self._stream_for(round))
        counts = np.clip(counts, -MAX_COUNT, MAX_COUNT)
        return Trained(torch.from_numpy(counts.astype(np.float32)), self._cost)
