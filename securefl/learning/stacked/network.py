"""The models of several clients as one network."""

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.learning.modes import training_mode
from securefl.learning.pooling import is_usual_pool, make_fast
from securefl.learning.stacked.dense import StackedEmbedding, StackedLinear
from securefl.learning.stacked.layer import Course, Learn, StackedLayer
from securefl.learning.stacked.spatial import (
    CONVOLUTIONS,
    StackedConvolution,
    StackedGroupNorm,
)

STACKED: Mapping[type[nn.Module], Callable[[Any], StackedLayer]] = {
    nn.Linear: StackedLinear,
    nn.Embedding: StackedEmbedding,
    nn.GroupNorm: StackedGroupNorm,
    **dict.fromkeys(CONVOLUTIONS, StackedConvolution),
}

RISING = (nn.Tanh, nn.ReLU)


def unstackable_layer(model: nn.Module) -> str | None:
    """Returns the first layer that trains and has no stacked form, and why; None without one."""
    for name, layer in model.named_modules():
        own = list(layer.parameters(recurse=False))
        if any(p.requires_grad for p in own):
            reason = _reason(layer)
            if reason is not None:
                return f"layer {name!r}, {type(layer).__name__}, {reason}"
    return None


def _reason(layer: nn.Module) -> str | None:
    """Returns why a layer has no stacked form; None where it has one."""
    if type(layer) not in STACKED:
        return "has no stacked form"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return "has hooks"
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _reason_of_convolution(layer)
    if isinstance(layer, nn.Embedding):
        return _reason_of_embedding(layer)
    return None


def _reason_of_embedding(layer: nn.Embedding) -> str | None:
    special = (layer.padding_idx is not None, layer.max_norm is not None)
    is_plain = not any((*special, layer.scale_grad_by_freq, layer.sparse))
    return None if is_plain else "treats some of its entries in another way"


def _reason_of_convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> str | None:
    is_numbers = not isinstance(layer.padding, str)
    return None if is_numbers and layer.padding_mode == "zeros" else "pads by a rule"


def _pool_first(module: nn.Sequential) -> None:
    """Lets max-pooling come before a rising function of single numbers, which then has fewer."""
    for place, (first, second) in enumerate(pairwise(list(module))):
        # Where a tie is made by the function's rounding, another pixel gets the gradient.
        if type(first) in RISING and is_usual_pool(second):
            module[place], module[place + 1] = second, first


class Network:
    """Copies of one model, one a client, that a batch of all clients' records passes at once.

    Row r of a batch belongs to client r % clients.

    Args:
        model: without a layer that `unstackable_layer` names; it is not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self._shapes = vector.shapes(model)
        self._prefixes: dict[str, StackedLayer] = {}
        # The rows of a convolution can be read as channels only where channels come first.
        layout = torch.contiguous_format
        plain = copy.deepcopy(model).to(memory_format=layout)  # type: ignore[call-overload]
        training_mode(plain)
        self._module = self._stacked(plain, "")

    def _stacked(self, module: nn.Module, name: str) -> nn.Module:
        """Returns a module with stacked layers in the place of those that train."""
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            layer = STACKED[type(module)](module)
            self._prefixes[f"{name}." if name else ""] = layer
            return layer
        if is_usual_pool(module):
            make_fast(module)
            return module
        if type(module) is nn.Sequential:
            _pool_first(module)
        for part, child in list(module.named_children()):
            setattr(module, part, self._stacked(child, f"{name}.{part}" if name else part))
        return module

    @property
    def layers(self) -> list[StackedLayer]:
        """The stacked layers, in the order of the model."""
        return list(self._prefixes.values())

    @property
    def places(self) -> Iterator[tuple[StackedLayer, str]]:
        """Layer and parameter of everything that trains, in the order of a weight vector."""
        for name in self._shapes:
            prefix, _, parameter = name.rpartition(".")
            yield self._prefixes[f"{prefix}." if prefix else ""], parameter

    def load(self, weights: Tensor, *, clients: int, course: Course | None = None) -> None:
        """Gives every client the weights (d,).

        Args:
            weights: (d,); nobody writes into them before the round has ended.
            clients: their number.
            course: the round of plain SGD that begins; None for one of DP-SGD.
        """
        values = vector.named(weights, self._shapes)
        for prefix, layer in self._prefixes.items():
            own = {name: values[prefix + name] for name in layer.trained}
            layer.load(clients, own, course)

    def keep(self, clients: int) -> None:
        """Lets the first clients go on; batches then have rows of these only."""
        for layer in self.layers:
            layer.clients = clients

    def on_gradient(self, learn: Learn) -> None:
        """Says what every backward pass does in every layer."""
        for layer in self.layers:
            layer.learn = learn

    def write_changes(self, changes: Tensor, weights: Tensor) -> None:
        """Writes the weights of all clients minus the weights (d,) that were loaded.

        Args:
            changes: (clients, d), also of clients that have ended; written to.
            weights: (d,).
        """
        clients = len(changes)
        values = vector.named(weights, self._shapes).values()
        start = 0
        for (layer, name), value in zip(self.places, values, strict=True):
            end = start + value.numel()
            change = changes[:, start:end].view(clients, *value.shape)
            layer.write_change(name, value, change)
            start = end

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs (rows, outputs) for the records (rows, ...)."""
        for layer in self.layers:
            layer.passed = False
        output: Tensor = self._module(x)
        return output
