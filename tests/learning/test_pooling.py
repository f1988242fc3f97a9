"""Fast pooling: the numbers of torch's own, bit for bit, and where it takes its place."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from securefl.learning import dp_sgd, sgd
from securefl.learning.dp_sgd import dp_sgd_trainers
from securefl.learning.pooling import FastMaxPool2d, fast_pool, with_fast_pools
from securefl.learning.sgd import sgd_trainers
from tests.learning.stacked.cases import clients, plans, weights_of

OPTIONS: list[Callable[[], nn.MaxPool2d]] = [
    lambda: nn.MaxPool2d(2),
    lambda: nn.MaxPool2d(3, stride=2, padding=1),
    lambda: nn.MaxPool2d((3, 2), stride=(1, 2)),
    lambda: nn.MaxPool2d(2, dilation=2),
    lambda: nn.MaxPool2d(3, stride=2, ceil_mode=True),
]


def both(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and gradient, where the gradients of the output differ from place to place."""
    given = x.clone().requires_grad_()
    output = pool(given)
    (output * torch.arange(output.numel()).view_as(output)).sum().backward()
    assert given.grad is not None
    return output.detach(), given.grad


def images(*shape: int) -> Tensor:
    # Whole numbers: many windows have several maxima, of which the first gets the gradient.
    generator = torch.Generator().manual_seed(1)
    return torch.randint(4, shape, generator=generator).float()


@pytest.mark.parametrize("make", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_and_gradients_are_those_of_torch_also_between_equal_pixels(
    make: Callable[[], nn.MaxPool2d], dtype: torch.dtype
) -> None:
    x = images(3, 5, 11, 10).to(dtype)
    for expected, actual in zip(both(make(), x), both(fast_pool(make()), x), strict=True):
        assert torch.equal(actual, expected)
        assert actual.stride() == expected.stride()


def test_numbers_that_are_not_finite_come_out_as_with_torch() -> None:
    x = images(2, 3, 8, 8)
    x[0, 1, 2, 3], x[1, 0, 0, 0], x[1, 2, 5, 5] = math.nan, math.inf, -math.inf
    for expected, actual in zip(both(nn.MaxPool2d(2), x), both(FastMaxPool2d(2), x), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "x",
    [
        images(4, 6, 6),
        images(2, 4, 6, 6).contiguous(memory_format=torch.channels_last),
        images(2, 4, 6, 12)[..., ::2],
    ],
    ids=["one image", "channels last", "every other column"],
)
def test_other_layouts_are_left_to_torch(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securefl.learning.pooling._Pooling.apply", lambda *arguments: 1 / 0)
    output = FastMaxPool2d(2)(x)
    assert torch.equal(output, nn.MaxPool2d(2)(x))
    assert output.stride() == nn.MaxPool2d(2)(x).stride()


class Holding(nn.Module):
    """Has a parameter of its own next to a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.pool = nn.MaxPool2d(2)


class Own(nn.MaxPool2d):
    """A pool of a user."""


def hooked() -> nn.MaxPool2d:
    pool = nn.MaxPool2d(2)
    pool.register_forward_hook(lambda module, inputs, output: None)
    return pool


def test_only_usual_pools_are_replaced_and_the_model_itself_stays() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1)),
        Own(2),
        Holding(),
        nn.MaxPool2d(2, return_indices=True),
        hooked(),
    )
    before = copy.deepcopy(model)
    fast = with_fast_pools(model)
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]
    replaced = {name for name, m in fast.named_modules() if type(m) is FastMaxPool2d}
    assert replaced == {"1.0"}
    pool = fast.get_submodule("1.0")
    assert isinstance(pool, FastMaxPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 2, 1)
    assert fast[0].weight is not model[0].weight  # type: ignore[index]
    assert list(fast.state_dict()) == list(model.state_dict())


def test_a_model_without_a_usual_pool_is_not_copied() -> None:
    for model in (nn.Sequential(nn.Linear(2, 1)), nn.Sequential(Own(2)), Holding()):
        assert with_fast_pools(model) is model


@pytest.mark.parametrize("private", [False, True], ids=["sgd", "dp_sgd"])
def test_training_pools_fast_and_gives_the_bits_of_training_that_does_not(
    private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = replace(clients("pools", dtype=torch.float32), plans=plans() if private else {})
    pooled: list[Tensor] = []
    pool = FastMaxPool2d.forward

    def noted(self: FastMaxPool2d, x: Tensor) -> Tensor:
        pooled.append(x)
        return pool(self, x)

    monkeypatch.setattr(FastMaxPool2d, "forward", noted)
    make = dp_sgd_trainers if private else sgd_trainers
    fast = make(local)[0].fit(weights_of(local), round=0).delta
    assert pooled
    for module in (sgd, dp_sgd):
        monkeypatch.setattr(module, "with_fast_pools", lambda model: model)
    pooled.clear()
    assert torch.equal(make(local)[0].fit(weights_of(local), round=0).delta, fast)
    assert not pooled
