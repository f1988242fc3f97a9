"""Sums of clipped gradients of a linear layer on fixed features, in closed form.

The gradient of one record is the outer product of two vectors: the gradient at the outputs, and the
features, with a 1 for the bias where there is one. So norms cost no gradient, and a sum is one
product of matrices.

A server may send a model whose logits are nothing but rounding errors: large weights that are
orthogonal to the features. Where roundings depend on the other records, the removal of one record
then turns gradients of others around, and the sum moves further than one record may move it. So no
product here is rounded, and every other step treats a record alike wherever it lies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.clipping.exact import (
    ExactSum,
    WholeRows,
    pairwise_sum,
    products,
    whole_rows,
)
from securefl.learning.device import device_of
from securefl.learning.models.scattering.features import FixedFeatures
from securefl.learning.models.scattering.prior import Prior
from securefl.learning.options import StepOptions

# Layers without parameters that treat each record by itself, in the same way each time.
FIXED = (nn.Flatten, FixedFeatures)
NUMBERS_A_BLOCK = 2**20  # of features that go through both products while they are in the cache
FEATURE_BITS = 24  # of the norm of a record's features, as whole numbers
WEIGHT_BITS = 28  # of the norm of the weights of an output
ROUNDING = 2.0**-30  # of the clip, for all float64 roundings of a sum
# Rows whose losses are taken together, always so many. Loops over them then have no last part that
# other instructions work on.
LOSS_ROWS = 256
MAX_KEPT_NUMBERS = 2**26  # of a client's features that stay in memory from round to round


@dataclass(frozen=True)
class Rows:
    """Records as a linear layer on fixed features reads them.

    Attributes:
        inputs: (n, p), with a last column of ones where the layer has a bias.
        squares: (n,) float64, the squared norms of the whole numbers of the inputs, exactly.
        labels: (n, ...).
    """

    inputs: WholeRows
    squares: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.labels)

    def some(self, which: slice | Tensor) -> "Rows":
        """Returns some of the records."""
        return Rows(self.inputs.some(which), self.squares[which], self.labels[which])


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
        self.rounding = 0.0  # that of float64 has room below the clip

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
        """Returns (d,) float64; arguments as in `ModelSums.clipped_sum`.

        Guarantees:
            - The sum has one term a record. Its norm is at most the clip, and every bit of it is a
              function of this record and the weights: of no other record, nor of their number and
              order. Terms are added up without rounding.
            - A record whose features or gradient are not finite adds nothing.
        """
        vector.load_vector(self._model, weights)
        p, q = self._layer.in_features + self._has_bias, self._layer.out_features
        number = len(records) if chosen is None else len(chosen)
        # A little below the clip, so that no rounding makes a term longer.
        length = clip * (1 - ROUNDING)
        total = ExactSum(q, p, bits=FEATURE_BITS, length=length, device=self.device)
        columns = self._columns()
        parts_of_losses = max(1, NUMBERS_A_BLOCK // p // LOSS_ROWS)
        size = min(parts_of_losses * LOSS_ROWS, total.rows_at_a_time)
        for start in range(0, number, size):
            block = slice(start, start + size)
            rows = self._some(records, block if chosen is None else chosen[block])
            total.add(self._clipped(rows, columns, length), rows.inputs.numbers)
        value = total.value().cpu()
        parts = [value[:, : self._layer.in_features], value[:, self._layer.in_features :]]
        return torch.cat([part.flatten() for part in parts])

    def _some(self, records: Examples | Rows, which: slice | Tensor) -> Rows:
        if isinstance(records, Rows):
            return records.some(which)
        return self._rows(Examples(records.features[which], records.labels[which]))

    def _rows(self, examples: Examples) -> Rows:
        with torch.no_grad():
            features = self._before(self._task.inputs(examples.features.to(self.device)))
        if self._has_bias:
            features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
        inputs = whole_rows(features, bits=FEATURE_BITS)
        # Whole numbers below 2^53, so that this sum is exact in every order.
        squares = inputs.numbers.square().sum(dim=1)
        return Rows(inputs, squares, examples.labels.to(self.device))

    def _columns(self) -> WholeRows:
        """Returns the layer's weights of each output, with its bias."""
        columns = [self._layer.weight.detach()]
        if self._has_bias:
            columns.append(self._layer.bias.detach()[:, None])
        return whole_rows(torch.cat(columns, dim=1).double(), bits=WEIGHT_BITS)

    def _clipped(self, rows: Rows, columns: WholeRows, length: float) -> Tensor:
        """Returns (n, q) float64: the vectors that make clipped gradients of the whole numbers."""
        outputs = self._outputs(products(rows.inputs, columns), rows.labels)
        units = rows.inputs.units
        norms = (rows.squares * pairwise_sum(outputs.square())).sqrt() * units
        factors = clip_factors(norms, length)
        short: Tensor = outputs * (factors * units)[:, None]
        return short.masked_fill((factors == 0)[:, None], 0.0)

    def _outputs(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the gradients (n, q) of each record's loss at its logits."""
        n = len(logits)
        if n == 0:
            return logits
        # The last record fills the last part up. No record is in the gradient of another one.
        places = torch.arange(-(-n // LOSS_ROWS) * LOSS_ROWS, device=logits.device).clamp(max=n - 1)
        parts = zip(
            torch.split(logits[places], LOSS_ROWS),
            torch.split(labels[places], LOSS_ROWS),
            strict=True,
        )
        return torch.cat([self._of_part(*part) for part in parts])[:n]

    def _of_part(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns what `_outputs` does, for `LOSS_ROWS` records."""
        logits = logits.detach().requires_grad_()
        mean = self._loss(self._behind(logits), labels)
        (outputs,) = torch.autograd.grad(mean, logits, mean.new_full((), float(LOSS_ROWS)))
        return outputs
