"""Convolutions and group norms of several clients."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.learning.stacked.layer import Pulled, PulledRows, Rows, StackedLayer

CONVOLUTIONS = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
}
PARAMETERS = ("weight", "bias")


class StackedConvolution(StackedLayer):
    """Convolutions: one in groups, of which every client has its own.

    Args:
        layer: pads with zeros, by numbers.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        super().__init__(layer)
        self._convolve: Any = CONVOLUTIONS[type(layer)]
        self._groups = layer.groups
        self._options = {
            "stride": layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
        }

    def output(self, x: Tensor) -> Tensor:
        """Returns each client's convolution of its records."""
        bias = self.value("bias").flatten() if "bias" in self._values else None
        result = self._convolve(
            self._wide(x),
            self.value("weight").flatten(0, 1),
            bias,
            groups=self._groups * self.clients,
            **self._options,
        )
        return result.view(len(x), -1, *result.shape[2:])  # type: ignore[no-any-return]

    def pulled(self, x: Tensor, gradient: Tensor, pull: bool) -> Pulled:
        """Returns the gradients of the clients' parameters and, on demand, of the input."""
        weight = self.value("weight").flatten(0, 1)
        wide, pushed = self._wide(x), self._wide(gradient)
        result, *parts = self._backward(pushed, wide, weight, [pull, *_needed(self)])
        return Pulled(result.view_as(x) if pull else None, self._named(parts, self.clients))

    def pulled_rows(self, x: Tensor, gradient: Tensor, pull: bool) -> PulledRows:
        """Returns the gradients of every row, a group of its own, and of the input."""
        rows = len(x)
        shape = self.value("weight").shape[1:]
        wide, pushed = (part.reshape(1, -1, *part.shape[2:]) for part in (x, gradient))
        # Only its shape is read.
        weight = x.new_empty(()).expand(rows * shape[0], *shape[1:])
        _, *parts = self._backward(pushed, wide, weight, [False, *_needed(self)])
        named = {name: Rows(part) for name, part in self._named(parts, rows).items()}
        return PulledRows(self._input(x, gradient) if pull else None, dict(named))

    def _input(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Returns the gradient of the input."""
        weight = self.value("weight").flatten(0, 1)
        wide, pushed = self._wide(x), self._wide(gradient)
        return self._backward(pushed, wide, weight, [True, False, False])[0].view_as(x)

    def _named(self, parts: list[Tensor], owners: int) -> dict[str, Tensor]:
        """Returns trained parameter -> its gradients, (owners, *shape)."""
        return {
            name: parts[PARAMETERS.index(name)].view(owners, *self.value(name).shape[1:])
            for name in self.trained
        }

    def _backward(
        self, gradient: Tensor, x: Tensor, weight: Tensor, mask: list[bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the masked gradients of channels side by side: input, weight and bias."""
        groups = len(weight) // self.value("weight").shape[1] * self._groups
        no_transposition = (False, [0] * (x.dim() - 2))
        result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            [len(weight)],
            *self._options.values(),
            *no_transposition,
            groups,
            mask,
        )
        return result

    def _wide(self, x: Tensor) -> Tensor:
        """Returns (batch, clients x channels, ...)."""
        return x.reshape(self._batch(x), -1, *x.shape[2:])


class StackedGroupNorm(StackedLayer):
    """Group norms."""

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__(layer)
        self._groups = layer.num_groups
        self._eps = layer.eps
        # Means and reciprocal deviations of the latest output.
        self._moments: tuple[Tensor, Tensor]

    def output(self, x: Tensor) -> Tensor:
        """Returns each record normalised, with its client's factor and shift of each channel."""
        sizes = self._sizes(x, self._batch(x))
        weight, bias = self.value("weight").flatten(), self.value("bias").flatten()
        result, *moments = torch.native_group_norm(x.contiguous(), weight, bias, *sizes, self._eps)
        self._moments = (moments[0], moments[1])
        return result.view_as(x)

    def pulled(self, x: Tensor, gradient: Tensor, pull: bool) -> Pulled:
        """Returns the gradients of the clients' parameters and, on demand, of the input."""
        return Pulled(*self._pulled(x, gradient, pull, self._batch(x)))

    def pulled_rows(self, x: Tensor, gradient: Tensor, pull: bool) -> PulledRows:
        """Returns the gradients of every row, whose channels are its own, and of the input."""
        result, parameters = self._pulled(x, gradient, pull, 1)
        return PulledRows(result, {name: Rows(part) for name, part in parameters.items()})

    def _pulled(
        self, x: Tensor, gradient: Tensor, pull: bool, batch: int
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Returns the input's gradient, and each parameter's of rows / batch owners."""
        weight = self.value("weight").repeat(len(x) // batch // self.clients, 1).flatten()
        result, *parts = self._backward(x, gradient, weight, batch, [pull, *_needed(self)])
        named = {name: parts[PARAMETERS.index(name)].view(-1, x.shape[1]) for name in self.trained}
        return (result.view_as(x) if pull else None), named

    def _backward(
        self, x: Tensor, gradient: Tensor, weight: Tensor, batch: int, mask: list[bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = (part.reshape(batch, -1) for part in self._moments)
        result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_group_norm_backward(
            gradient.contiguous(),
            x.contiguous(),
            mean,
            deviation,
            weight,
            *self._sizes(x, batch),
            mask,
        )
        return result

    def _sizes(self, x: Tensor, batch: int) -> tuple[int, int, int, int]:
        """Returns batch, channels, places and groups of the rows read as channels side by side."""
        owners = len(x) // batch
        return batch, owners * x.shape[1], x[0, 0].numel(), owners * self._groups


def _needed(layer: StackedLayer) -> list[bool]:
    """Returns which of a layer's parameters train."""
    return [name in layer.trained for name in PARAMETERS]
