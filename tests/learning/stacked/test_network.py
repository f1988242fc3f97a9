"""The models of several clients as one network."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.choice import unstackable
from securefl.learning.stacked.network import Network
from securefl.learning.stacked.sgd import StackedSgd
from tests.learning.stacked.cases import clients, weights_of


def kinds(model: nn.Module) -> list[str]:
    """The types of all layers that see numbers, in the order in which they see them."""
    seen: list[str] = []
    network = Network(model)
    for layer in network._module.modules():
        if not list(layer.children()):
            name = type(layer).__name__
            layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    network.load(torch.zeros(12), clients=1)
    network.forward(torch.zeros(1, 2, 4, 4))
    return seen


def test_pooling_comes_before_a_rising_function_and_after_any_other() -> None:
    conv = ["StackedConvolution"]
    for function, expected in (
        (nn.Tanh(), ["FastMaxPool2d", "Tanh"]),
        (nn.ReLU(), ["FastMaxPool2d", "ReLU"]),
        (nn.Tanhshrink(), ["Tanhshrink", "FastMaxPool2d"]),
        (nn.Softmax(dim=1), ["Softmax", "FastMaxPool2d"]),
    ):
        model = nn.Sequential(nn.Conv2d(2, 4, 1), function, nn.MaxPool2d(2))
        assert kinds(model) == conv + expected
        assert [type(layer) for layer in model] == [nn.Conv2d, type(function), nn.MaxPool2d]


def test_a_pool_that_a_user_changed_stays_as_it_is_and_where_it_is() -> None:
    pool = nn.MaxPool2d(2)
    pool.forward = lambda input: functional.avg_pool2d(input, 2)  # type: ignore[method-assign]
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(27, 3))
    local = replace(clients("pools", dtype=torch.float32), model=model)
    weights = weights_of(local)
    assert unstackable(local) is None
    alone = sgd_trainers(local)[3].fit(weights, round=0).delta
    together = StackedSgd(local).fit_many(weights, [3], round=0)[3].delta
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    layers = list(model)
    plain = nn.Sequential(*layers[:2], nn.AvgPool2d(2), *layers[3:])
    expected = sgd_trainers(replace(local, model=plain))[3].fit(weights, round=0).delta
    assert torch.equal(alone, expected)
