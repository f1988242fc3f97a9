"""What went into a layer and came back to it, as per-example gradients.

A function for each type of layer gives the gradients of its trainable parameters in their order. It
gets the layer, the inputs (n, *shape) and the gradients (n, *shape) at the outputs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.learning.clipping.arithmetic import rounding, squared_norms
from securefl.learning.clipping.gradients import (
    LayerGradients,
    Outer,
    Summed,
    Whole,
    scaled,
)
from securefl.learning.clipping.places import (
    ImagePlaces,
    Places,
    SequencePlaces,
    of_trained,
    trained,
)

# Numbers of whole gradients of a batch that are written down; of more, only norms are kept.
MAX_WHOLE = 2**23
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# layer, inputs, gradients at outputs -> gradients
OfLayer = Callable[[Any, Tensor, Tensor], LayerGradients]


def linear(layer: nn.Linear, inputs: Tensor, outputs: Tensor) -> LayerGradients:
    """Gradients of y = x W^T + b, for one vector of each example or many."""
    if inputs.dim() == 2:
        return Outer(inputs, outputs, *trained(layer))
    return _of_places(SequencePlaces(layer, inputs.flatten(1, -2), outputs.flatten(1, -2)))


def convolution(layer: Any, inputs: Tensor, outputs: Tensor) -> LayerGradients:
    """Gradients of a convolution in one, two or three dimensions."""
    return _of_places(ImagePlaces(layer, inputs, outputs))


def _of_places(at: Places) -> LayerGradients:
    """Returns gradients that are sums over places, in the form that takes the least work."""
    layer, n = at.layer, len(at.inputs)
    everything = slice(n)
    if n * layer.weight.numel() <= MAX_WHOLE:
        rows = of_trained(layer, lambda: at.whole(everything), lambda: _of_bias(at.ends()))
        return Whole(rows)
    weight, bias = trained(layer)
    bounds = _norm_bounds(at) if weight else at.outputs.new_zeros(n, dtype=torch.float64)
    if bias:
        bounds = torch.hypot(bounds, squared_norms(_of_bias(at.ends())).sqrt())
    return Summed(bounds, at.inputs, at.outputs, at.add_up)


def _of_bias(ends: Tensor) -> Tensor:
    """Returns the gradients (n, g q) of the bias."""
    return ends.sum(dim=2).flatten(1)


def _norm_bounds(at: Places) -> Tensor:
    """Returns (n,) upper bounds of the norms of the gradients of a weight.

    Large terms can cancel in a sum over places. The bound includes what rounding may leave of them,
    in the norm and in the sum itself.
    """
    ends, patches = at.ends(), at.patches()
    p, q = patches.shape[3], ends.shape[3]
    of_patches, of_ends = _lengths(patches), _lengths(ends)
    scales = (of_patches * of_ends).sum(dim=(1, 2))  # without any cancelling
    # Inner products of all pairs of places, where these are fewer than the numbers of a gradient.
    if at.places * (p + q) < p * q:
        pairs = (patches @ patches.transpose(2, 3)) * (ends @ ends.transpose(2, 3))
        squares = pairs.double().sum(dim=(1, 2, 3)).clamp(min=0)
        # More than what the sum itself may be off by, since there are fewer places than p and q.
        off = rounding(p, ends.dtype) + rounding(q, ends.dtype)
        lost = p * of_ends.sum(dim=2).square() + q * of_patches.sum(dim=2).square()
        lost = (lost + at.places**2).sum(dim=1) * torch.finfo(ends.dtype).tiny
        return (squares + off * scales.square() + lost).sqrt()
    error = rounding(at.places, ends.dtype) * scales
    step = max(1, MAX_WHOLE // at.layer.weight.numel())
    parts = (at.whole(slice(start, start + step)) for start in range(0, len(ends), step))
    return torch.cat([squared_norms(rows) for rows in parts]).sqrt() + 2 * error


def _lengths(vectors: Tensor) -> Tensor:
    """Returns upper bounds of the norms along the last dimension, float64.

    The square of a small number may be lost, and with it a product that another vector makes large.
    """
    lost = vectors.shape[-1] * torch.finfo(vectors.dtype).tiny
    return (vectors.square().sum(dim=-1).double() + lost).sqrt()


def group_norm(layer: nn.GroupNorm, inputs: Tensor, outputs: Tensor) -> LayerGradients:
    """Gradients of y = w x' + b, where x' is normalised and each channel has one w and b."""
    normal = functional.group_norm(inputs, layer.num_groups, eps=layer.eps)
    ends = outputs.reshape(*outputs.shape[:2], -1)
    return Whole(
        of_trained(
            layer,
            lambda: (normal.reshape(ends.shape) * ends).sum(dim=2),
            lambda: ends.sum(dim=2),
        )
    )


def layer_norm(layer: nn.LayerNorm, inputs: Tensor, outputs: Tensor) -> LayerGradients:
    """Gradients of y = w x' + b, where x' is normalised over the last dimensions."""
    shape = layer.normalized_shape
    normal = functional.layer_norm(inputs, shape, eps=layer.eps)
    between = tuple(range(1, inputs.dim() - len(shape)))

    def over_places(values: Tensor) -> Tensor:
        return values.sum(dim=between) if between else values

    return Whole(
        of_trained(layer, lambda: over_places(normal * outputs), lambda: over_places(outputs))
    )


class Lookups:
    """Gradients of an embedding: rows of its table that were looked up, once or more.

    Args:
        layer: the embedding.
        words: (n, *shape), the indices of rows.
        outputs: (n, *shape, q), the gradients at the rows.
    """

    def __init__(self, layer: nn.Embedding, words: Tensor, outputs: Tensor) -> None:
        self._n, self._rows = len(words), layer.num_embeddings
        words = words.reshape(self._n, -1)  # (n, t)
        outputs = outputs.reshape(*words.shape, -1)  # (n, t, q)
        if layer.padding_idx is not None:  # never trained
            outputs = outputs.masked_fill((words == layer.padding_idx)[..., None], 0.0)
        # A row that one example looks up twice gets the sum of both gradients. They are added
        # before those of others: where they are large and cancel, others would be lost in them.
        examples = torch.arange(self._n, device=words.device)
        places = words + self._rows * examples[:, None]
        tables, which = torch.unique(places.flatten(), return_inverse=True)
        sums = outputs.new_zeros(len(tables), outputs.shape[2], dtype=torch.float64)
        sums.index_add_(0, which, outputs.flatten(0, 1).double())
        self._sums = sums.to(outputs.dtype)  # one for each example and row
        self._words, self._examples = tables % self._rows, tables // self._rows

    def norms(self) -> Tensor:
        """Returns (n,)."""
        squares = self._sums.new_zeros(self._n, dtype=torch.float64)
        return squares.index_add_(0, self._examples, squared_norms(self._sums)).sqrt()

    def sums(self, factors: Tensor) -> list[Tensor]:
        """Returns the sum for the table."""
        outputs = scaled(self._sums, factors[self._examples])
        table = outputs.new_zeros(self._rows, outputs.shape[1])
        return [table.index_add_(0, self._words, outputs)]


OF_LAYERS: Mapping[type[nn.Module], OfLayer] = {
    nn.Linear: linear,
    **dict.fromkeys(CONVOLUTIONS, convolution),
    nn.GroupNorm: group_norm,
    nn.LayerNorm: layer_norm,
    nn.Embedding: Lookups,
}


def of_layer(layer: nn.Module) -> OfLayer | None:
    """Returns how the gradients of a layer come from its inputs; None where Opacus computes them.

    A subclass may compute something else, and so may a layer with hooks.
    """
    make = OF_LAYERS.get(type(layer))
    names = {name for name, _ in layer.named_parameters(recurse=False)}
    if make is None or not names <= {"weight", "bias"}:
        return None
    if layer._forward_pre_hooks or layer._forward_hooks or layer._backward_hooks:
        return None
    if isinstance(layer, CONVOLUTIONS):
        usual = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return make if usual else None
    if isinstance(layer, nn.Embedding):
        usual = layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
        return make if usual else None
    return make
