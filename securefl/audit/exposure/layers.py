"""Which linear layers of a model read records or give its outputs, and where they are in a vector.

Somebody else's model may declare its layers in any order, freeze some, or end in another layer. So
a pass forward tells what each layer does.
"""

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """One call of a linear layer.

    Attributes:
        layer: that was called.
        inputs: (k, i).
        outputs: (k, o).
    """

    layer: nn.Linear
    inputs: Tensor
    outputs: Tensor


def output_call(model: nn.Module, inputs: Tensor) -> Call | None:
    """Returns the call of the linear layer whose outputs are the model's; None without one.

    Args:
        model: left in eval mode.
        inputs: of k records.
    """
    calls, outputs = _calls(model, inputs)
    for call in calls:
        if torch.equal(call.outputs, outputs) and coordinates(model, call.layer) is not None:
            return call
    return None


def reading_layer(model: nn.Module, inputs: Tensor) -> nn.Linear | None:
    """Returns a linear layer with a bias that reads whole records; None without one.

    Args:
        model: left in eval mode.
        inputs: of k records.
    """
    calls, _ = _calls(model, inputs)
    for call in calls:
        places = coordinates(model, call.layer)
        # As many coordinates as that have weights and biases that train.
        whole = call.layer.weight.numel() + call.layer.out_features
        if places is not None and len(places) == whole and _is_whole_record(call.inputs, inputs):
            return call.layer
    return None


def _is_whole_record(given: Tensor, inputs: Tensor) -> bool:
    return torch.equal(given, inputs.flatten(1))


def coordinates(model: nn.Module, layer: nn.Linear) -> Tensor | None:
    """Returns the coordinates of a layer in the model's vector, its weights before its biases.

    Returns:
        (p,) int64, without the biases where these do not train; None where the weights do not.
    """
    places: dict[int, Tensor] = {}
    start = 0
    for parameter in model.parameters():
        if parameter.requires_grad:
            places[id(parameter)] = torch.arange(start, start + parameter.numel())
            start += parameter.numel()
    if id(layer.weight) not in places:
        return None
    parts = [places[id(part)] for part in (layer.weight, layer.bias) if id(part) in places]
    return torch.cat(parts)


def _calls(model: nn.Module, inputs: Tensor) -> tuple[list[Call], Tensor]:
    """Returns the calls of linear layers that read one row a record once, and the outputs."""
    calls: list[Call] = []

    def note(layer: nn.Module, given: tuple[Any, ...], outputs: Tensor) -> None:
        calls.append(Call(layer, given[0], outputs))  # type: ignore[arg-type]

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    model.eval()
    try:
        with torch.no_grad():
            outputs: Tensor = model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    # The gradient of a layer that is called twice is a sum over both inputs.
    times = Counter(id(call.layer) for call in calls)
    once = [call for call in calls if times[id(call.layer)] == 1 and call.inputs.ndim == 2]
    return once, outputs
