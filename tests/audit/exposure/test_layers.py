"""Layers of models that declare them in any order, freeze some, or end in something else."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.audit.exposure.labels import NO_LINEAR_OUTPUT, last_layer_gradients
from securefl.audit.exposure.layers import coordinates, output_call, reading_layer
from securefl.audit.membership import gradients
from securefl.data.task import Examples, Task

TASK = Task(features=6, classes=3)
INPUTS = torch.linspace(-1, 1, 30).reshape(5, 6)
EXAMPLES = Examples(INPUTS, torch.arange(5) % 3)


class Backwards(nn.Module):
    """Declares its layers from the last to the first, and one that changes nothing."""

    def __init__(self, *, bias: bool = True, frozen: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3, bias=bias)
        self.first = nn.Linear(6, 4, bias=bias)
        self.unused = nn.Linear(2, 2)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Returns outputs (n, 3)."""
        hidden: Tensor = self.head(self.first(x).tanh())
        outputs: Tensor = hidden + 0 * self.unused(x[:, :2]).sum()
        return outputs


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Returns outputs (n, 6)."""
        result: Tensor = self.layer(self.layer(x))
        return result


@pytest.mark.parametrize(
    ("made", "places"),
    [
        # The head comes first: 12 weights and 3 biases.
        (Backwards(), range(15)),
        (Backwards(bias=False), range(12)),
        (Backwards(frozen=("head.bias",)), range(12)),
        (Backwards(frozen=("first.weight", "first.bias")), range(15)),
    ],
)
def test_the_layer_that_gives_the_outputs_is_found_wherever_it_is_declared(
    made: Backwards, places: range
) -> None:
    call = output_call(made, INPUTS)
    assert call is not None
    assert call.layer is made.head
    found = coordinates(made, made.head)
    assert found is not None
    assert found.tolist() == list(places)
    weights = vector.to_vector(made) * 2
    rows = last_layer_gradients(made, TASK, EXAMPLES, weights)
    whole = gradients(made, TASK, EXAMPLES, weights)
    assert torch.allclose(rows, whole[:, found].double(), atol=1e-6)


def test_the_layer_that_reads_records_is_found_wherever_it_is_declared() -> None:
    made = Backwards()
    assert reading_layer(made, INPUTS) is made.first
    assert reading_layer(made, INPUTS.view(5, 1, 2, 3).flatten(1)) is made.first
    found = coordinates(made, made.first)
    assert found is not None
    # Behind the head: 24 weights and 4 biases.
    assert found.tolist() == list(range(15, 43))
    frozen = Backwards(frozen=("head.weight", "head.bias"))
    found = coordinates(frozen, frozen.first)
    assert found is not None
    assert found.tolist() == list(range(28))


def conv(**more: Any) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 6, **more), nn.Flatten())


@pytest.mark.parametrize(
    "made",
    [
        conv(),
        nn.Sequential(nn.Linear(6, 3), nn.Tanh()),
        Backwards(frozen=("head.weight", "head.bias")),
        Twice(),
    ],
    ids=["convolution", "squashed", "frozen", "called twice"],
)
def test_a_model_that_ends_in_anything_else_has_no_labels_to_count(made: nn.Module) -> None:
    assert output_call(made, INPUTS) is None
    with pytest.raises(ValueError, match=NO_LINEAR_OUTPUT):
        last_layer_gradients(made, TASK, EXAMPLES, vector.to_vector(made))


@pytest.mark.parametrize(
    "made",
    [
        conv(),
        Backwards(bias=False),
        Backwards(frozen=("first.bias",)),
        Backwards(frozen=("first.weight",)),
        nn.Sequential(nn.Tanh(), nn.Linear(6, 3)),
        Twice(),
    ],
    ids=["convolution", "no bias", "frozen bias", "frozen", "squashed", "called twice"],
)
def test_inputs_are_read_only_from_a_whole_layer_that_gets_the_records(made: nn.Module) -> None:
    assert reading_layer(made, INPUTS) is None
