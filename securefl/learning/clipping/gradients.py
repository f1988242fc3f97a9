"""The per-example gradients of one layer, in the forms from which they can be clipped and summed.

Each has norms (n,), float64 and no lower than those of what `sums` adds up, and the sums of the
gradients times factors (n,).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from securefl.learning.clipping.arithmetic import rounded_down, squared_norms


class LayerGradients(Protocol):
    """The gradients of n examples for the parameters of one layer."""

    def norms(self) -> Tensor:
        """Returns (n,) float64, upper bounds of the norms of what `sums` adds up."""

    def sums(self, factors: Tensor) -> Sequence[Tensor]:
        """Returns, for each parameter, the sum over examples of factor times gradient.

        Args:
            factors: (n,); an example whose factor is 0 adds nothing, also if it is not finite.
        """


@dataclass(frozen=True)
class Whole:
    """Gradients that are written down: rows (n, *shape) for each parameter."""

    rows: Sequence[Tensor]

    def norms(self) -> Tensor:
        """Returns (n,)."""
        return sum(squared_norms(rows) for rows in self.rows).sqrt()  # type: ignore[union-attr]

    def sums(self, factors: Tensor) -> Sequence[Tensor]:
        """Returns one sum for each parameter."""
        return [_weighted(rows, factors) for rows in self.rows]


@dataclass(frozen=True)
class Outer:
    """Gradients of a layer that reads one vector of each example: outer products of two vectors.

    Args:
        inputs: (n, p).
        outputs: (n, q), the gradients at the outputs.
        weight: whether the weight (q, p) trains.
        bias: whether the bias (q,) trains.
    """

    inputs: Tensor
    outputs: Tensor
    weight: bool
    bias: bool

    def norms(self) -> Tensor:
        """Returns (n,): the norm of an outer product is the product of the norms."""
        if self.weight:
            squares = squared_norms(self.inputs)
        else:
            squares = self.outputs.new_zeros(len(self.outputs))
        return ((squares + float(self.bias)) * squared_norms(self.outputs)).sqrt()

    def sums(self, factors: Tensor) -> Sequence[Tensor]:
        """Returns the sum for the weight, then for the bias."""
        inputs, outputs = kept(self.inputs, factors), shortened(self.outputs, factors)
        sums = [outputs.t() @ inputs] if self.weight else []
        return [*sums, outputs.sum(dim=0)] if self.bias else sums


@dataclass(frozen=True)
class Summed:
    """Gradients of which only the norms are kept; their sums come from the layer's inputs.

    Args:
        bounds: (n,) float64, no lower than the norms of what is added up.
        inputs: (n, *shape) of the layer.
        outputs: (n, *shape), the gradients at its outputs.
        add_up: inputs, outputs -> the gradients of the parameters, summed over examples.
    """

    bounds: Tensor
    inputs: Tensor
    outputs: Tensor
    add_up: Callable[[Tensor, Tensor], Sequence[Tensor]]

    def norms(self) -> Tensor:
        """Returns (n,)."""
        return self.bounds

    def sums(self, factors: Tensor) -> Sequence[Tensor]:
        """Returns one sum for each parameter."""
        return self.add_up(kept(self.inputs, factors), scaled(self.outputs, factors))


@dataclass(frozen=True)
class Joined:
    """Gradients of some examples, and then of others.

    Args:
        first: of n examples.
        last: of k examples.
        n: number of the first.
    """

    first: LayerGradients
    last: LayerGradients
    n: int

    def norms(self) -> Tensor:
        """Returns (n + k,)."""
        return torch.cat([self.first.norms(), self.last.norms()])

    def sums(self, factors: Tensor) -> Sequence[Tensor]:
        """Returns one sum for each parameter."""
        both = zip(
            self.first.sums(factors[: self.n]), self.last.sums(factors[self.n :]), strict=True
        )
        return [first + last for first, last in both]


def _weighted(rows: Tensor, factors: Tensor) -> Tensor:
    """Returns the sum (*shape) of rows (n, *shape) times factors (n,)."""
    total: Tensor = rounded_down(factors, rows.dtype) @ kept(rows, factors).flatten(1)
    return total.view(rows.shape[1:])


def scaled(rows: Tensor, factors: Tensor) -> Tensor:
    """Returns rows (n, *shape) times factors (n,); zeros where the factor is 0."""
    shape = (-1, *[1] * (rows.dim() - 1))
    return kept(rows, factors) * rounded_down(factors, rows.dtype).view(shape)


def shortened(rows: Tensor, factors: Tensor) -> Tensor:
    """Returns rows times factors, with zeros for subnormal numbers, which may be rounded far up.

    Vectors that multiply large ones would otherwise make a product longer than its bound.
    """
    return functional.hardshrink(scaled(rows, factors), torch.finfo(rows.dtype).tiny)


def kept(rows: Tensor, factors: Tensor) -> Tensor:
    """Returns rows (n, *shape) with zeros where the factor is 0: 0 times infinity is no 0."""
    dropped = factors == 0
    if not bool(dropped.any()):
        return rows
    return rows.masked_fill(dropped.view(-1, *[1] * (rows.dim() - 1)), 0.0)
