"""Linear layers whose products are not rounded, so that no record changes those of another one.

    for layer in usual_linears(model):
        make_exact(layer)

The library's own products of one row depend, in their last bits, on where the row lies and how many
others there are. Behind a large weight that is all there is to see. See `exact`.
"""

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

from securefl.learning.clipping.exact import products, whole_rows

ROW_BITS = 24  # of the norm of a row of inputs, or of gradients at outputs
WEIGHT_BITS = 28  # of the norm of a row or a column of the weight


class _Exact(Function):
    """y = x W^T + b, and the gradients of x; each output is rounded once, on its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        outputs = _times(x, weight)
        if bias is not None:
            outputs += bias
        return outputs.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        ends = gradient.flatten(0, -2)
        return (
            _times(gradient, weight.t()).to(x.dtype) if of_inputs else None,
            ends.t() @ x.flatten(0, -2) if of_weight else None,
            ends.sum(dim=0) if of_bias else None,
        )


def _times(rows: Tensor, weight: Tensor) -> Tensor:
    """Returns rows (..., p) times the weight (q, p) transposed, (..., q) float64."""
    whole = whole_rows(rows.flatten(0, -2), bits=ROW_BITS)
    columns = whole_rows(weight.double(), bits=WEIGHT_BITS)
    return products(whole, columns).view(*rows.shape[:-1], len(weight))


class _Forward:
    """The forward pass of a linear layer, without rounding."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer

    def __call__(self, input: Tensor) -> Tensor:
        layer = self._layer
        outputs: Tensor = _Exact.apply(input, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
        return outputs


def make_exact(layer: nn.Linear) -> None:
    """Lets a linear layer multiply without rounding; it keeps its type, weights and hooks."""
    layer.forward = _Forward(layer)  # type: ignore[method-assign]


def usual_linears(model: nn.Module) -> list[nn.Linear]:
    """Returns the linear layers of a model that compute what torch's own do."""
    return [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear and "forward" not in vars(layer)
    ]
