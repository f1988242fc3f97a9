"""Which trainings can be stacked, and how many clients make a stack."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from securefl import vector
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import mlp
from securefl.learning.models.residual import resnet18
from securefl.learning.options import StepOptions, adam, sgd
from securefl.learning.plan import LocalTraining
from securefl.learning.stacked.choice import MAX_CLIENTS, STEP_BYTES, stack_size, unstackable
from securefl.learning.stacked.dense import StackedEmbedding
from tests.learning.stacked.cases import IMAGES, NUMBERS, Words, clients, plans


class Own(nn.Module):
    """A linear layer, a function of what it gives and of the model, and another linear layer."""

    def __init__(self, function: Callable[["Own", Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(6, 4)
        self.last = nn.Linear(4, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.function(self, self.first(x)))
        return logits


class Flat(nn.Module):
    """Makes two rows of each record, and one again."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Linear(3, 4)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.each(x.view(-1, 3)).view(-1, 8))
        return logits


class Scaled(nn.Module):
    """Has a parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.scale * x)
        return logits


class Counted(nn.Module):
    """Has a buffer that is part of every update."""

    def __init__(self) -> None:
        super().__init__()
        self.shift: Tensor
        self.register_buffer("shift", torch.zeros(6))
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(x + self.shift)
        return logits


def training(model: nn.Module, **keys: Any) -> LocalTraining:
    return clients("mlp", dtype=torch.float32, model=model, **keys)


def hooked() -> nn.Module:
    model = nn.Linear(6, 3)
    model.register_forward_hook(lambda layer, inputs, output: 2 * output)
    return model


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda _, x: x - x.mean(dim=0), "otherwise among records of other clients"),
        (lambda _, x: x - x[:1], "otherwise among records of other clients"),
        (lambda _, x: x / x.abs().max(), "otherwise among records of other clients"),
        # Only where a record is huge or not finite.
        (lambda _, x: x * torch.isfinite(x).all(), "otherwise among records of other clients"),
        (
            lambda _, x: x / x.detach().abs().max().clamp(min=1e3),
            "otherwise among records of other clients",
        ),
        (
            lambda _, x: torch.eye(len(x), dtype=x.dtype) @ x,
            "otherwise among records of other clients",
        ),
        (lambda _, x: functional.dropout(x, 0.5), "has random layers"),
        (lambda _, x: x + torch.rand(x.shape), "has random layers"),
        (lambda own, x: x @ own.first.weight[:4, :4], "no attribute 'weight'"),
        (lambda own, x: own.last(x) @ torch.eye(3, 4), "a layer is used twice"),
    ],
)
def test_a_model_that_mixes_records_or_draws_is_not_stacked(
    function: Callable[[Own, Tensor], Tensor], reason: str
) -> None:
    assert reason in str(unstackable(training(Own(function))))


def test_a_model_that_takes_no_extreme_records_is_stacked() -> None:
    def whole(_: Own, x: Tensor) -> Tensor:
        if not torch.isfinite(x).all():
            raise ValueError("a number is not finite")
        return x

    assert unstackable(training(Own(whole))) is None


@pytest.mark.parametrize("word", [-1, 2])
def test_a_word_that_the_table_lacks_is_not_looked_up_in_another_clients(word: int) -> None:
    layer = StackedEmbedding(nn.Embedding(2, 3))
    layer.load(3, {"weight": torch.randn(2, 3)})
    with pytest.raises(IndexError):
        layer(torch.tensor([[0], [word], [1]]))


def test_weights_of_zero_hide_no_mixture() -> None:
    model = Own(lambda _, x: x - x.mean(dim=0))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert "among records of other clients" in str(unstackable(training(model)))


def test_a_model_that_treats_each_record_by_itself_is_stacked() -> None:
    def normalised(_: Own, x: Tensor) -> Tensor:
        result: Tensor = x / (1 + x.norm(dim=1, keepdim=True))
        return result

    assert unstackable(training(Own(normalised))) is None


def test_a_model_that_takes_no_other_numbers_than_float32_is_stacked() -> None:
    def with_constant(_: Own, x: Tensor) -> Tensor:
        result: Tensor = x @ torch.eye(4)
        return result

    assert unstackable(training(Own(with_constant))) is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: nn.Sequential(nn.Dropout(0.1), nn.Linear(6, 3)), "has random layers"),
        (lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), "batch norm"),
        (Flat, "otherwise among records of other clients"),
        (Scaled, "layer '', Scaled, has no stacked form"),
        (Counted, "buffers that are part of an update"),
        (lambda: weight_norm(nn.Linear(6, 3)), "has no stacked form"),
        (lambda: nn.Sequential(nn.PReLU(), nn.Linear(6, 3)), "layer '0', PReLU, has no"),
        (hooked, "layer '', Linear, has hooks"),
        (partial(Words, padding_idx=1), "layer 'words', Embedding, treats some"),
        (partial(Words, max_norm=0.1), "layer 'words', Embedding, treats some"),
        (partial(Words, scale_grad_by_freq=True), "layer 'words', Embedding, treats some"),
        (
            lambda: nn.Sequential(
                nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 1, 4, padding="valid"), nn.Flatten()
            ),
            "layer '1', Conv1d, pads by a rule",
        ),
        (
            lambda: nn.Sequential(
                nn.Unflatten(1, (1, 6)),
                nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"),
                nn.Flatten(),
            ),
            "layer '1', Conv1d, pads by a rule",
        ),
    ],
)
def test_layers_without_a_stacked_form_are_named(
    model: Callable[[], nn.Module], reason: str
) -> None:
    assert reason in str(unstackable(training(model())))


def test_options_that_keep_a_state_or_cut_batches_are_not_stacked() -> None:
    for optimizer in (adam, partial(sgd, momentum=0.9), partial(sgd, weight_decay=0.1)):
        local = clients("mlp", dtype=torch.float32, options=StepOptions(optimizer=optimizer))
        assert "its steps are not those of plain SGD" in str(unstackable(local))
    local = clients("mlp", dtype=torch.float32, options=StepOptions(physical_batch=2))
    assert "physical" in str(unstackable(local))


def test_a_choice_changes_neither_the_model_nor_torchs_generator() -> None:
    local = clients("cnn", dtype=torch.float32, bends={0: lambda gradient, way: gradient})
    local.model.eval()
    before, state = vector.to_vector(local.model), torch.random.get_rng_state()
    told: list[int] = []
    local = replace(local, on_step=lambda *_: told.append(1))
    assert unstackable(local) is None
    stack_size(local, cohort=4)
    assert torch.equal(vector.to_vector(local.model), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not local.model.training
    assert not told
    assert not any(layer._forward_hooks for layer in local.model.modules())


def test_a_stack_takes_as_many_clients_as_pay() -> None:
    # By hand: 6 -> 1000 -> 3 has 10,003 weights, and a record becomes 6 + 1000 + 1000 + 3 numbers.
    model = mlp(NUMBERS, hidden=(1000,), generator=torch.Generator())
    numbers = 10_003 + 500 * 2009
    size = stack_size(training(model, batch=500), cohort=1000)
    assert size == STEP_BYTES // (4 * numbers) == 16
    private = training(model, plans=plans(batch=500))
    assert stack_size(private, cohort=1000) == 16
    assert stack_size(clients("logistic", dtype=torch.float32), cohort=1000) == MAX_CLIENTS


@pytest.mark.parametrize(
    ("cohort", "size"),
    [(3, 1), (4, 4), (7, 7), (8, 4), (63, 32), (64, 16), (100, 25), (255, 64), (10_000, 64)],
)
def test_a_round_has_stacks_for_several_workers(cohort: int, size: int) -> None:
    assert stack_size(clients("logistic", dtype=torch.float32), cohort=cohort) == size


def test_large_models_and_batches_are_not_stacked() -> None:
    generator = torch.Generator().manual_seed(1)
    large = training(resnet18(IMAGES, generator=generator), task=IMAGES)
    assert stack_size(large, cohort=100) == 1
    small = training(cnn(IMAGES, generator=generator), task=IMAGES)
    assert stack_size(small, cohort=100) > 1
    assert stack_size(replace(small, batch=10_000), cohort=100) == 1
