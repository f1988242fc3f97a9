"""Sums of clipped gradients of a linear layer on fixed features, in closed form.

The gradient of one record is the outer product of two vectors: the gradient at the outputs, and the
features, with a 1 for the bias where there is one. So norms cost no gradient, and a sum is one
product of matrices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.clipping.arithmetic import clip_factors, squared_norms
from securefl.learning.clipping.gradients import Outer
from securefl.learning.device import device_of
from securefl.learning.models.scattering.features import FixedFeatures
from securefl.learning.models.scattering.prior import Prior
from securefl.learning.options import StepOptions

# Layers without parameters that treat each record by itself, in the same way each time.
FIXED = (nn.Flatten, FixedFeatures)
NUMBERS_A_BLOCK = 2**21  # of features that go through both products while they are in the cache
MAX_KEPT_NUMBERS = 2**27  # of a client's features that stay in memory from round to round


@dataclass(frozen=True)
class Rows:
    """Records as a linear layer on fixed features reads them.

    Attributes:
        inputs: (n, p).
        squares: (n,) float64, their squared norms.
        labels: (n, ...).
    """

    inputs: Tensor
    squares: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.labels)

    def some(self, which: slice | Tensor) -> "Rows":
        """Returns some of the records."""
        return Rows(self.inputs[which], self.squares[which], self.labels[which])


def linear_head(model: nn.Module) -> nn.Linear | None:
    """Returns the linear layer of a model that is nothing else, except for fixed features.

    Layers before it treat each record by itself, in the same way each time. A declared prior may
    follow.
    """
    layers = list(model) if isinstance(model, nn.Sequential) else [model]
    if layers and type(layers[-1]) is Prior:
        layers.pop()
    *before, layer = layers or [model]
    if type(layer) is not nn.Linear or not all(p.requires_grad for p in layer.parameters()):
        return None
    is_fixed = all(type(part) in FIXED for part in before)
    is_hooked = any(part._forward_hooks or part._forward_pre_hooks for part in layers)
    return layer if is_fixed and not is_hooked else None


class HeadSums:
    """Clipped sums of a model that is a linear layer on fixed features.

    Args:
        model: for which `linear_head` has a layer; its weights are overwritten.
        task: gives inputs and the loss.
        options: give the weights of classes.
    """

    def __init__(self, model: nn.Module, task: Task, options: StepOptions) -> None:
        layer = linear_head(model)
        if layer is None:
            raise ValueError("the model is no linear layer on fixed features")
        self._model = model
        self._layer = layer
        parts = list(model) if isinstance(model, nn.Sequential) else [model]
        place = parts.index(layer)
        self._before = nn.Sequential(*parts[:place])
        # In training mode, so that a prior counts.
        self._behind = nn.Sequential(*parts[place + 1 :]).train()
        self._has_bias = layer.bias is not None
        self._task = task
        self._loss = options.loss(task)
        self.device = device_of(model)

    def prepared(self, examples: Examples) -> Examples | Rows:
        """Returns the records in the form that `clipped_sum` reads fastest.

        Their features are computed here, once, unless there are too many to keep.
        """
        if len(examples) * self._layer.in_features > MAX_KEPT_NUMBERS:
            return examples
        return self._rows(examples)

    def clipped_sum(
        self, weights: Tensor, records: Examples | Rows, chosen: Tensor | None, *, clip: float
    ) -> Tensor:
        """Returns (d,) float64; arguments and guarantees as in `ModelSums.clipped_sum`."""
        vector.load_vector(self._model, weights)
        p, q = self._layer.in_features, self._layer.out_features
        total = torch.zeros(q * (p + self._has_bias), dtype=torch.float64)
        number = len(records) if chosen is None else len(chosen)
        size = max(1, NUMBERS_A_BLOCK // p)
        for start in range(0, number, size):
            block = slice(start, start + size)
            rows = self._some(records, block if chosen is None else chosen[block])
            total += self._of_block(rows, clip).cpu()
        return total

    def _some(self, records: Examples | Rows, which: slice | Tensor) -> Rows:
        if isinstance(records, Rows):
            return records.some(which)
        return self._rows(Examples(records.features[which], records.labels[which]))

    def _rows(self, examples: Examples) -> Rows:
        with torch.no_grad():
            inputs = self._before(self._task.inputs(examples.features.to(self.device)))
        return Rows(inputs, squared_norms(inputs), examples.labels.to(self.device))

    def _of_block(self, rows: Rows, clip: float) -> Tensor:
        with torch.no_grad():
            logits = self._layer(rows.inputs)
        logits.requires_grad_()
        mean = self._loss(self._behind(logits), rows.labels)
        (outputs,) = torch.autograd.grad(mean, logits, mean.new_full((), float(len(rows))))
        gradients = Outer(rows.inputs, outputs, weight=True, bias=self._has_bias)
        # `gradients.norms()` would sum the squares of all inputs again.
        norms = ((rows.squares + float(self._has_bias)) * squared_norms(outputs)).sqrt()
        sums = gradients.sums(clip_factors(norms, clip))
        return torch.cat([part.flatten() for part in sums]).double()
