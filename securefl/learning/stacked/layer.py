"""One layer of several clients' models, for a batch in which their records take turns.

Row r of a batch belongs to client r % clients. A layer without parameters then needs no change, and
the rows of a convolution can be read as its channels without a copy.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function

from securefl.learning.clipping.arithmetic import squared_norms
from securefl.learning.clipping.gradients import kept

# layer, its input, the gradient of its output, whether to return that of the input: called in every
# backward pass, from the last layer to the first
Learn = Callable[["StackedLayer", Tensor, Tensor, bool], Tensor | None]


class Pulled(NamedTuple):
    """What the gradient of an output gives.

    Attributes:
        input: (rows, ...), the gradient of the input; None where nobody needs it.
        parameters: trained parameter -> each client's gradient (clients, *shape).
    """

    input: Tensor | None
    parameters: dict[str, Tensor]


class PulledRows(NamedTuple):
    """What the gradient of an output gives, row by row.

    Attributes:
        input: (rows, ...), the gradient of the input; None where nobody needs it.
        parameters: trained parameter -> its gradients, one a row.
    """

    input: Tensor | None
    parameters: dict[str, "Gradients"]


class Course(NamedTuple):
    """A round of plain SGD.

    Attributes:
        lr: learning rate of all steps.
        records: of each client, in all batches of the round, fillers included.
    """

    lr: float
    records: int


class Gradients(Protocol):
    """The gradients of one parameter, one a row of the batch."""

    def squares(self) -> Tensor:
        """Returns their squared norms (rows,), float64."""

    def sums(self, factors: Tensor, *, clients: int) -> Tensor:
        """Returns each client's sum of its rows' gradients times factors (rows,).

        A row whose factor is zero adds nothing, also where its gradient is not finite.

        Returns:
            (clients, *shape)
        """


class Rows(NamedTuple):
    """Gradients (rows, *shape) that are in memory."""

    values: Tensor

    def squares(self) -> Tensor:
        """Returns their squared norms (rows,), float64."""
        return squared_norms(self.values)

    def sums(self, factors: Tensor, *, clients: int) -> Tensor:
        """Returns each client's sum of its rows' gradients times factors (rows,)."""
        shape = self.values.shape[1:]
        rows = kept(self.values, factors).flatten(1)
        by_client = rows.view(-1, clients, shape.numel()).transpose(0, 1)  # (clients, batch, n)
        weights = factors.view(-1, 1, clients).permute(2, 1, 0)  # (clients, 1, batch)
        return torch.bmm(weights, by_client).view(clients, *shape)


class StackedLayer(nn.Module, ABC):
    """The same layer of several clients, each with values of its own.

    Args:
        layer: gives the shapes, and which parameters train.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        parameters = dict(layer.named_parameters(recurse=False))
        self.trained = tuple(name for name, p in parameters.items() if p.requires_grad)
        self._frozen = {name: p.detach() for name, p in parameters.items() if not p.requires_grad}
        self._values: dict[str, Tensor] = {}
        # Autograd calls `backward` only for what depends on a tensor that needs a gradient.
        self._needs_gradient = torch.zeros((), requires_grad=True)
        self._course: Course | None = None
        self.clients = 0
        self.learn: Learn | None = None
        self.passed = False

    def load(
        self, clients: int, values: Mapping[str, Tensor], course: Course | None = None
    ) -> None:
        """Gives every client the same values of the trained parameters.

        Args:
            clients: their number.
            values: name -> value (*shape).
            course: the round that `descend` takes the steps of.
        """
        self.clients = clients
        self._course = course
        for name, value in {**values, **self._frozen}.items():
            self._spread(name, value)

    def _spread(self, name: str, value: Tensor) -> None:
        """Gives every client a value (*shape) of its own."""
        shape = (self.clients, *value.shape)
        if name not in self._values or self._values[name].shape != shape:
            self._values[name] = value.new_empty(shape)
        self._values[name].copy_(value)

    def value(self, name: str) -> Tensor:
        """Returns a parameter of the clients in the batch, (clients, *shape)."""
        return self._values[name][: self.clients]

    def write_change(self, name: str, start: Tensor, change: Tensor) -> None:
        """Writes what a round changed in a parameter of all clients, also those that have ended.

        Args:
            name: of the parameter.
            start: (*shape), its value at the start.
            change: (all, *shape), written to.
        """
        torch.sub(self._values[name], start, out=change)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (rows, ...) for the clients' records x (rows, ...).

        Raises:
            RuntimeError: the same batch came by before, or has other rows than records.
        """
        # Of two gradients, the second would meet values that the first one changed.
        if self.passed:
            raise RuntimeError("a layer is used twice")
        self.passed = True
        output: Tensor = _Pass.apply(x, self._needs_gradient, self)  # type: ignore[no-untyped-call]
        return output

    def descend(self, x: Tensor, gradient: Tensor, pull: bool) -> Tensor | None:
        """Moves each client's values against its gradient: the sum over the client's rows.

        Args:
            x: (rows, ...), the input.
            gradient: (rows, ...), of the output.
            pull: whether to return the gradient of the input.
        """
        pulled = self.pulled(x, gradient, pull)
        for name, sums in pulled.parameters.items():
            self.value(name).add_(sums, alpha=-self._lr)
        return pulled.input

    @property
    def _lr(self) -> float:
        if self._course is None:
            raise RuntimeError("no round of plain SGD has begun")
        return self._course.lr

    @abstractmethod
    def output(self, x: Tensor) -> Tensor:
        """Returns the output (rows, ...) of the input x (rows, ...)."""

    @abstractmethod
    def pulled(self, x: Tensor, gradient: Tensor, pull: bool) -> Pulled:
        """Returns the gradients of the clients' parameters and, on demand, of the input."""

    @abstractmethod
    def pulled_rows(self, x: Tensor, gradient: Tensor, pull: bool) -> PulledRows:
        """Returns the gradients of every row and, on demand, of the input."""

    def _batch(self, x: Tensor) -> int:
        """Returns the records of each client in a batch of rows."""
        batch, rest = divmod(x.shape[0], self.clients)
        if rest:
            raise RuntimeError(f"{x.shape[0]} rows do not divide into {self.clients} clients")
        return batch


class _Pass(Function):
    """Passes records through a layer, and hands the gradients to whoever learns from them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, needs_gradient: Tensor, layer: StackedLayer) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        return layer.output(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        layer: StackedLayer = ctx.layer
        if layer.learn is None:
            raise RuntimeError("nobody learns from the gradients of this layer")
        # Whoever keeps the input must not keep all that it was made from.
        return layer.learn(layer, x.detach(), gradient, ctx.needs_input_grad[0]), None, None
