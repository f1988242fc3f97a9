"""A model whose layers note what went in and what came back while a batch passes through."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from securefl.errors import ScenarioError
from securefl.learning.clipping.gradients import Joined, LayerGradients, Whole
from securefl.learning.clipping.layers import CONVOLUTIONS, OfLayer, of_layer


class OtherRows(ScenarioError):
    """A layer mixes or splits the records of a batch, so that none has a gradient of its own."""


@dataclass(frozen=True)
class BatchGradients:
    """The gradients of n examples for all parameters that train.

    Args:
        n: number of examples.
        layers: parameters of a layer, and their gradients.
        filling: places of rows in the layers that only fill a batch up, and are no examples.
    """

    n: int
    layers: Sequence[tuple[Sequence[nn.Parameter], LayerGradients]]
    filling: range = range(0)

    def norms(self) -> Tensor:
        """Returns (n,) float64, upper bounds of the norms over all parameters together."""
        squares = [gradients.norms().square() for _, gradients in self.layers]
        if not squares:
            return torch.zeros(self.n, dtype=torch.float64)
        norms = sum(squares[1:], start=squares[0]).sqrt()
        return torch.cat([norms[: self.filling.start], norms[self.filling.stop :]])

    def sums(self, factors: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yields each parameter with the sum over examples of factor (n,) times gradient."""
        if self.filling:
            place = self.filling.start
            zeros = factors.new_zeros(len(self.filling))
            factors = torch.cat([factors[:place], zeros, factors[place:]])
        for parameters, gradients in self.layers:
            yield from zip(parameters, gradients.sums(factors), strict=True)

    def joined(self, rows: Mapping[nn.Parameter, Tensor]) -> "BatchGradients":
        """Returns the gradients of these examples and of k more.

        Args:
            rows: parameter -> its gradients (k, *shape) for the others.
        """
        counts = {len(of_parameter) for of_parameter in rows.values()}
        before = self.n + len(self.filling)
        layers = [
            (parameters, Joined(gradients, Whole([rows[p] for p in parameters]), before))
            for parameters, gradients in self.layers
        ]
        return BatchGradients(self.n + max(counts), layers, self.filling)


NO_GRADIENTS = BatchGradients(0, ())


def written_layers(model: nn.Module) -> tuple[str, ...]:
    """Returns the types of layers of which Opacus writes down every gradient, sorted."""
    return Recorder(copy.deepcopy(model)).written


class Recorder(GradSampleModule):  # type: ignore[misc]
    """Wraps a model, and gives the gradients of all examples of a batch.

    Layers of common types only note their inputs and the gradients at their outputs. For all other
    layers, Opacus writes down the gradient of every example.

    Args:
        model: as Opacus accepts it; hooks are left in it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._noted: dict[nn.Module, OfLayer] = {}
        self._written: list[nn.Module] = []
        self._shared = _shared_parameters(model)
        super().__init__(model, loss_reduction="sum")
        # layer -> what went in, and then what came back, for each time that it was called
        self._calls: dict[nn.Module, list[list[Tensor]]] = {}
        self._listens = False
        if any(isinstance(layer, CONVOLUTIONS) for layer in self._written):
            # Opacus unfolds the input of a convolution as if channels came first. With channels
            # last, its gradients of single examples are silently wrong.
            self.to(memory_format=torch.contiguous_format)
        for layer in self._noted:
            layer.register_forward_hook(self._note, with_kwargs=True)

    @property
    def written(self) -> tuple[str, ...]:
        """The types of the layers of which Opacus writes down every gradient, sorted."""
        return tuple(sorted({type(layer).__name__ for layer in self._written}))

    def iterate_submodules(self, module: nn.Module) -> Iterable[nn.Module]:
        """Yields the layers that Opacus hooks into: those that cannot be summed without it."""
        for layer in super().iterate_submodules(module):
            how = None if self._shared & _ids(layer) else of_layer(layer)
            if how is None:
                self._written.append(layer)
                yield layer
            else:
                self._noted[layer] = how

    def gradients(
        self, inputs: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> BatchGradients:
        """Returns the gradients of all examples at the present weights.

        Args:
            inputs: (n, *shape), n >= 1.
            labels: (n, ...).
            loss: outputs, labels -> the mean loss.

        Raises:
            OtherRows: a layer reads another number of rows than there are examples.
        """
        n = len(labels)
        inputs = inputs.detach()
        if self._written and inputs.is_floating_point():
            # Otherwise torch warns that Opacus' backward hook sees outputs only.
            inputs = inputs.contiguous().requires_grad_()
        with self._listening():
            mean = loss(self(inputs), labels)
            mean.backward(mean.new_full((), float(n)))  # type: ignore[no-untyped-call]
        calls, self._calls = self._calls, {}
        noted = [(_trained(layer), self._of_calls(layer, calls, n)) for layer in self._noted]
        written = [p for layer in self._written for p in _trained(layer, recurse=True)]
        rows = [(p, _rows(p, n)) for p in dict.fromkeys(written)]
        return BatchGradients(
            n, [*noted, *(([p], Whole([of_examples])) for p, of_examples in rows)]
        )

    def nothing(self) -> BatchGradients:
        """Returns the gradients of no examples."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return BatchGradients(0, [([p], Whole([p.new_zeros(0, *p.shape)])) for p in parameters])

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Lets layers note what passes; autograd computes no sums of gradients for them."""
        trained = [p for layer in self._noted for p in _trained(layer)]
        for p in trained:
            p.requires_grad_(False)
        self._calls = {}
        self._listens = True
        try:
            yield
        finally:
            self._listens = False
            for p in trained:
                p.requires_grad_(True)

    def _note(
        self,
        layer: nn.Module,
        inputs: tuple[Tensor, ...],
        by_name: Mapping[str, Tensor],
        output: Tensor,
    ) -> Tensor | None:
        """Notes what went into a layer, and what will come back; a forward hook."""
        # Nothing comes back to what passes without gradients.
        if not self._listens or not torch.is_grad_enabled():
            return None
        call = [(*inputs, *by_name.values())[0].detach()]
        self._calls.setdefault(layer, []).append(call)
        is_first = not output.requires_grad
        if is_first:
            # Nothing before it trains. A copy, since the next layer may change it in place.
            output = output.detach().requires_grad_().clone()
        output.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: call.append(gradient.detach())
        )
        return output if is_first else None

    def _of_calls(
        self, layer: nn.Module, calls: dict[nn.Module, list[list[Tensor]]], n: int
    ) -> LayerGradients:
        """Returns the gradients of a layer that was called once, several times or never."""
        # A call that nothing came back to had no influence on the loss.
        answered = [_precise(layer, *call) for call in calls.get(layer, []) if len(call) > 1]
        if any(len(inputs) != n for inputs, _ in answered):
            raise OtherRows(
                f"a layer of type {type(layer).__name__} does not read one row a record"
            )
        if len(answered) == 1:
            return self._noted[layer](layer, *answered[0])
        total = [p.new_zeros(n, *p.shape) for p in _trained(layer)]
        sampler = self.GRAD_SAMPLERS[type(layer)]
        for inputs, outputs in answered:
            rows = sampler(layer, [inputs.contiguous()], outputs.contiguous())
            total = [so_far + rows[p] for so_far, p in zip(total, _trained(layer), strict=True)]
        return Whole(total)


def _trained(layer: nn.Module, *, recurse: bool = False) -> list[nn.Parameter]:
    """Returns the parameters of a layer that train, in their order."""
    return [p for p in layer.parameters(recurse=recurse) if p.requires_grad]


def _precise(layer: nn.Module, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a layer's inputs and gradients in the type of its parameters, as autocast has not."""
    (dtype,) = {p.dtype for p in layer.parameters(recurse=False)}
    return inputs.to(dtype) if inputs.is_floating_point() else inputs, outputs.to(dtype)


def _ids(layer: nn.Module) -> set[int]:
    return {id(p) for p in layer.parameters(recurse=False)}


def _shared_parameters(model: nn.Module) -> set[int]:
    """Returns the ids of parameters that the model has under several names."""
    counts = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return {name for name, count in counts.items() if count > 1}


def _rows(p: Any, n: int) -> Tensor:
    """Returns the gradients (n, *shape) that Opacus wrote down, and forgets them."""
    rows, p.grad_sample, p.grad = p.grad_sample, None, None
    if rows is None:  # the layer had no part in this batch
        rows = p.new_zeros(n, *p.shape)
    if len(rows) != n:
        raise OtherRows("a layer does not read one row a record")
    of_examples: Tensor = rows
    return of_examples
