"""The models of several clients as one network."""

import torch
from torch import nn

from securefl.learning.stacked.network import Network
from securefl.learning.stacked.spatial import FastMaxPool2d


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


def test_fast_pooling_is_pooling() -> None:
    generator = torch.Generator().manual_seed(1)
    # Small whole numbers: most windows have ties.
    values = torch.randint(3, (2, 3, 7, 9), generator=generator).double()
    for options in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (2, 1)},
    ):
        results = []
        for pool in (FastMaxPool2d(**options), nn.MaxPool2d(**options)):
            x = values.clone().requires_grad_()
            output = pool(x)
            output.square().sum().backward()
            assert x.grad is not None
            results += [output.detach(), x.grad]
        assert torch.equal(results[0], results[2])
        assert torch.equal(results[1], results[3])
        assert results[0].is_contiguous()
