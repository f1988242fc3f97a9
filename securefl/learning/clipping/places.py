"""Layers that multiply one weight with vectors from many places of an example."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from opacus.utils.tensor_utils import unfold3d
from torch import Tensor, nn
from torch.nn import functional


class Places(Protocol):
    """A layer that multiplies its weight with vectors from many places of an example.

    Attributes:
        layer: whose gradients.
        inputs: (n, *shape).
        outputs: (n, *shape), the gradients at what it makes of them.
        places: number of vectors of an example.
    """

    layer: Any
    inputs: Tensor
    outputs: Tensor
    places: int

    def whole(self, part: slice) -> Tensor:
        """Returns the gradients (k, *shape) of the weight for some of the examples."""

    def ends(self) -> Tensor:
        """Returns the gradients at the outputs, (n, g, t, q): of g groups at t places."""

    def patches(self) -> Tensor:
        """Returns the vectors that meet the weight, (n, g, t, p)."""

    def add_up(self, inputs: Tensor, outputs: Tensor) -> list[Tensor]:
        """Returns the gradients of the trained parameters, summed over examples."""


class SequencePlaces:
    """A linear layer on (n, t, p)."""

    def __init__(self, layer: nn.Linear, inputs: Tensor, outputs: Tensor) -> None:
        self.layer, self.inputs, self.outputs = layer, inputs, outputs
        self.places = inputs.shape[1]

    def whole(self, part: slice) -> Tensor:
        """As `Places.whole`."""
        return self.outputs[part].transpose(1, 2) @ self.inputs[part]

    def ends(self) -> Tensor:
        """As `Places.ends`."""
        return self.outputs[:, None]

    def patches(self) -> Tensor:
        """As `Places.patches`."""
        return self.inputs[:, None]

    def add_up(self, inputs: Tensor, outputs: Tensor) -> list[Tensor]:
        """As `Places.add_up`."""
        rows, ends = inputs.flatten(0, 1), outputs.flatten(0, 1)
        return of_trained(self.layer, lambda: ends.t() @ rows, lambda: ends.sum(dim=0))


class ImagePlaces:
    """A convolution on (n, channels, *sides)."""

    def __init__(self, layer: Any, inputs: Tensor, outputs: Tensor) -> None:
        self.layer, self.inputs, self.outputs = layer, inputs, outputs
        self.places = outputs[0, 0].numel()

    def whole(self, part: slice) -> Tensor:
        """As `Places.whole`."""
        # As if the examples were groups of channels of one image: the library then sums none.
        weight, inputs, outputs = self.layer.weight, self.inputs[part], self.outputs[part]
        n = len(inputs)
        rows = self._backward(
            inputs.flatten(0, 1)[None],
            outputs.flatten(0, 1)[None],
            weight.detach().repeat(n, *[1] * (weight.dim() - 1)),
            groups=n * self.layer.groups,
            mask=(False, True, False),
        )
        whole: Tensor = rows[1].view(n, *weight.shape)
        return whole

    def ends(self) -> Tensor:
        """As `Places.ends`."""
        return self._by_group(self.outputs.flatten(2))

    def patches(self) -> Tensor:
        """As `Places.patches`."""
        names = ("kernel_size", "dilation", "padding", "stride")
        options = {name: getattr(self.layer, name) for name in names}
        if self.inputs.dim() == 5:
            unfolded = unfold3d(self.inputs, **options)
        elif self.inputs.dim() == 4:
            unfolded = functional.unfold(self.inputs, **options)
        else:  # one row of pixels
            row = {name: (int(name != "padding"), *value) for name, value in options.items()}
            unfolded = functional.unfold(self.inputs.unsqueeze(2), **row)
        return self._by_group(unfolded)

    def _by_group(self, values: Tensor) -> Tensor:
        """Returns (n, g, t, p) of values (n, g p, t)."""
        n, _, places = values.shape
        return values.reshape(n, self.layer.groups, -1, places).transpose(2, 3)

    def add_up(self, inputs: Tensor, outputs: Tensor) -> list[Tensor]:
        """As `Places.add_up`."""
        mask = (False, *trained(self.layer))
        sums = self._backward(
            inputs, outputs, self.layer.weight, groups=self.layer.groups, mask=mask
        )
        return [part for part, trains in zip(sums, mask, strict=True) if trains]

    def _backward(
        self,
        inputs: Tensor,
        outputs: Tensor,
        weight: Tensor,
        *,
        groups: int,
        mask: tuple[bool, bool, bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the gradients of inputs, weight and bias, where mask asks for them."""
        layer = self.layer
        sums: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
            outputs,
            inputs,
            weight,
            [len(weight)],
            layer.stride,
            layer.padding,
            layer.dilation,
            False,  # not transposed
            layer.output_padding,
            groups,
            mask,
        )
        return sums


def trained(layer: Any) -> tuple[bool, bool]:
    """Whether the weight trains, and whether the bias does."""
    bias = getattr(layer, "bias", None)
    return layer.weight.requires_grad, bias is not None and bias.requires_grad


def of_trained(
    layer: Any, weight: Callable[[], Tensor], bias: Callable[[], Tensor]
) -> list[Tensor]:
    """Returns what the parameters that train need, the weight's first."""
    parts = zip(trained(layer), (weight, bias), strict=True)
    return [make() for trains, make in parts if trains]
