"""Linear layers and embeddings of several clients."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.learning.clipping.arithmetic import squared_norms
from securefl.learning.clipping.gradients import kept, shortened
from securefl.learning.stacked.layer import (
    Course,
    Gradients,
    Pulled,
    PulledRows,
    Rows,
    StackedLayer,
)
from securefl.learning.stacked.thin import ThinSteps, pays


class _Outer(NamedTuple):
    """Gradients of a weight: row r's is the outer product of right[r] and left[r].

    Their norms need no product: |a b^T| = |a| |b|.

    Source: Goodfellow, "Efficient per-example gradient computations", 2015.
    """

    left: Tensor  # (rows, inputs)
    right: Tensor  # (rows, outputs)

    def squares(self) -> Tensor:
        """Returns their squared norms (rows,), float64."""
        return squared_norms(self.left) * squared_norms(self.right)

    def sums(self, factors: Tensor, *, clients: int) -> Tensor:
        """Returns each client's sum (clients, outputs, inputs) of its rows' gradients."""
        left = kept(self.left, factors)
        right = shortened(self.right, factors)
        return torch.bmm(_by_client(right, clients).transpose(1, 2), _by_client(left, clients))


def _by_client(x: Tensor, clients: int) -> Tensor:
    """Returns the rows of each client, (clients, batch, n), without a copy."""
    return x.reshape(-1, clients, x.shape[-1]).transpose(0, 1)


class StackedLinear(StackedLayer):
    """Linear layers; records may be sequences (rows, length, inputs)."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self._thin = ThinSteps()
        self._is_thin = False
        self._start: Tensor | None = None  # of the weight, before it is known what it will meet

    def load(
        self, clients: int, values: Mapping[str, Tensor], course: Course | None = None
    ) -> None:
        """Gives every client the same values; weights only once they meet a record."""
        given = dict(values)
        self._start = None if course is None else given.pop("weight", None)
        super().load(clients, given, course)

    def _begin(self, x: Tensor) -> None:
        """Decides, at the first records of a round, in which form the weights change."""
        course, start = self._course, self._start
        if course is None or start is None:
            return
        self._start = None
        self._is_thin = x.dim() == 2 and pays(course.records, *start.shape)
        if self._is_thin:
            self._thin.begin(start, clients=self.clients, records=course.records, lr=course.lr)
        else:
            self._spread("weight", start)

    def output(self, x: Tensor) -> Tensor:
        """Returns x times each client's weight, plus its bias."""
        self._begin(x)
        if self._is_thin:
            product = self._thin.product(x.contiguous(), self.clients)
            if "bias" in self._values:
                product.view(-1, self.clients, product.shape[1]).add_(self.value("bias"))
            return product
        weight = self.value("weight").transpose(1, 2)  # (clients, inputs, outputs)
        rows = self._rows(x)
        if "bias" in self._values:
            result = torch.baddbmm(self.value("bias").unsqueeze(1), rows, weight)
        else:
            result = torch.bmm(rows, weight)
        return self._back(result, x)

    def descend(self, x: Tensor, gradient: Tensor, pull: bool) -> Tensor | None:
        """Moves each client's values against its gradient."""
        # The gradient of the input first: the step changes the weights that it passes.
        if self._is_thin:
            x, gradient = x.contiguous(), gradient.contiguous()
            result = self._thin.pulled(gradient, self.clients) if pull else None
            self._thin.step(x, gradient, self.clients)
        else:
            pushed = self._rows(gradient)
            result = self._input(pushed, gradient) if pull else None
            if "weight" in self.trained:
                # In one call: a gradient of its own would cross the memory twice more.
                weight = self.value("weight")
                weight.baddbmm_(pushed.transpose(1, 2), self._rows(x), alpha=-self._lr)
        if "bias" in self.trained:
            by_record = gradient.reshape(
                self._batch(gradient), self.clients, -1, gradient.shape[-1]
            )
            self.value("bias").add_(by_record.sum(dim=(0, 2)), alpha=-self._lr)
        return result

    def write_change(self, name: str, start: Tensor, change: Tensor) -> None:
        """Writes what a round changed in a parameter of all clients."""
        if name == "weight" and self._is_thin:
            self._thin.write_change(change)
        else:
            super().write_change(name, start, change)

    def pulled(self, x: Tensor, gradient: Tensor, pull: bool) -> Pulled:
        """Returns the gradients of the clients' parameters and, on demand, of the input."""
        pushed = self._rows(gradient)
        sums = {
            "weight": torch.bmm(pushed.transpose(1, 2), self._rows(x)),
            "bias": pushed.sum(dim=1),
        }
        parameters = {name: sums[name] for name in self.trained}
        return Pulled(self._input(pushed, gradient) if pull else None, parameters)

    def pulled_rows(self, x: Tensor, gradient: Tensor, pull: bool) -> PulledRows:
        """Returns the gradients of every row and, on demand, of the input."""
        rows: dict[str, Gradients]
        if x.dim() == 2:
            rows = {"weight": _Outer(x, gradient), "bias": Rows(gradient)}
        else:
            places = gradient.flatten(1, -2)  # (rows, length, outputs)
            weight = torch.bmm(places.transpose(1, 2), x.flatten(1, -2))
            rows = {"weight": Rows(weight), "bias": Rows(places.sum(dim=1))}
        parameters = {name: rows[name] for name in self.trained}
        return PulledRows(self._input(self._rows(gradient), gradient) if pull else None, parameters)

    def _input(self, pushed: Tensor, gradient: Tensor) -> Tensor:
        """Returns the gradient of the input, from the output's as `_rows` and as the batch."""
        return self._back(torch.bmm(pushed, self.value("weight")), gradient)

    def _rows(self, x: Tensor) -> Tensor:
        """Returns the rows of each client, (clients, batch x length, n)."""
        batch = self._batch(x)
        by_client = x.reshape(batch, self.clients, -1, x.shape[-1]).transpose(0, 1)
        return by_client.reshape(self.clients, -1, x.shape[-1])

    def _back(self, rows: Tensor, like: Tensor) -> Tensor:
        """Returns rows (clients, batch x length, n) in the order of the batch, shaped alike."""
        batch = self._batch(like)
        by_record = rows.view(self.clients, batch, -1, rows.shape[-1]).transpose(0, 1)
        return by_record.reshape(*like.shape[:-1], rows.shape[-1]).contiguous()


class StackedEmbedding(StackedLayer):
    """Embeddings of integers."""

    def output(self, x: Tensor) -> Tensor:
        """Returns each client's vectors of the integers x (rows, ...)."""
        return functional.embedding(self._places(x), self.value("weight").flatten(0, 1))

    def pulled(self, x: Tensor, gradient: Tensor, pull: bool) -> Pulled:
        """Returns each client's gradient (clients, entries, n); integers have none."""
        weight = self.value("weight")
        total = self._summed(self._places(x), gradient, weight.flatten(0, 1))
        return Pulled(None, {"weight": total.view_as(weight)})

    def pulled_rows(self, x: Tensor, gradient: Tensor, pull: bool) -> PulledRows:
        """Returns the gradients of every row, (rows, entries, n)."""
        entries, numbers = self.value("weight").shape[1:]
        rows = len(x)
        offsets = torch.arange(rows, device=x.device).view(-1, *[1] * (x.dim() - 1)) * entries
        like = gradient.new_empty((rows * entries, numbers))
        total = self._summed(x + offsets, gradient, like)
        return PulledRows(None, {"weight": Rows(total.view(rows, entries, numbers))})

    def _summed(self, places: Tensor, gradient: Tensor, like: Tensor) -> Tensor:
        flat = gradient.reshape(-1, gradient.shape[-1])
        return torch.zeros_like(like).index_add_(0, places.flatten(), flat)

    def _places(self, x: Tensor) -> Tensor:
        """Returns where the entries are in all clients' weights, one after another.

        Raises:
            IndexError: an integer names no entry; it would name one of another client.
        """
        entries = self.value("weight").shape[1]
        if bool(((x < 0) | (x >= entries)).any()):
            raise IndexError("index out of range in an embedding")
        owner = torch.arange(len(x), device=x.device) % self.clients
        return x + (owner * entries).view(-1, *[1] * (x.dim() - 1))
