"""Models of numbers: their layers, where they start, and the widths they refuse."""

import math

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import nn

from securefl.data.task import Task
from securefl.learning.models.linear import logistic, mlp


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in model.parameters()]


def test_logistic_is_one_layer_of_zeros_whatever_the_generator() -> None:
    chance = generator(1)
    model = logistic(Task(15, 2), generator=chance)
    assert shapes(model) == [(1, 15), (1,)]
    assert not any(parameter.detach().any() for parameter in model.parameters())
    assert torch.equal(chance.get_state(), generator(1).get_state())
    assert shapes(logistic(Task(64, 10), generator=chance)) == [(10, 64), (10,)]


def test_mlp_has_tanh_between_its_layers_and_none_at_the_end() -> None:
    model = mlp(Task(15, 2), hidden=[5, 4], generator=generator(1))
    assert shapes(model) == [(5, 15), (5,), (4, 5), (4,), (1, 4), (1,)]
    layers = [type(layer).__name__ for layer in model.children()]
    assert layers == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert shapes(mlp(Task(64, 10), generator=generator(1))) == [(32, 64), (32,), (10, 32), (10,)]
    assert shapes(mlp(Task(64, 10), hidden=[], generator=generator(1))) == [(10, 64), (10,)]


def test_mlp_starts_alike_from_equal_generators_only() -> None:
    models = [mlp(Task(15, 2), generator=generator(seed)) for seed in (1, 1, 2)]
    for first, same, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, same)
        assert not torch.equal(first, other)


def test_mlp_starts_uniformly_within_one_over_the_root_of_its_inputs() -> None:
    # 25,600 and 4,000 draws fill a uniform's range to the last percent, and 2 % of a deviation is 5
    # standard errors.
    model = mlp(Task(64, 10), hidden=[400], generator=generator(1))
    first, first_bias, second, second_bias = (
        parameter.detach() for parameter in model.parameters()
    )
    for weights, bound in ((first, 1 / 8), (second, 1 / 20)):
        assert 0.99 * bound < float(weights.abs().max()) <= bound
        assert float(weights.std()) == pytest.approx(bound / math.sqrt(3), rel=0.04)
    for bias, bound in ((first_bias, 1 / 8), (second_bias, 1 / 20)):
        assert 0.7 * bound < float(bias.abs().max()) <= bound


@pytest.mark.parametrize("hidden", [[0], [-3], [8, 0]])
def test_mlp_refuses_widths_below_one(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match=r"mlp needs hidden widths of 1 to 4096, got \["):
        mlp(Task(15, 2), hidden=hidden, generator=generator(1))


@pytest.mark.parametrize("task", [Task(15, 2), Task(64, 10)])
def test_models_of_numbers_are_accepted_by_opacus(task: Task) -> None:
    for build in (logistic, mlp):
        model = build(task, generator=generator(1))
        assert ModuleValidator.validate(model, strict=True) == []
        assert model(torch.zeros(3, task.features)).shape == (3, task.outputs)
