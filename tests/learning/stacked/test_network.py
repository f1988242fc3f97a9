"""The models of several clients as one network."""

import torch
from torch import nn

from securefl.learning.stacked.network import Network


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
