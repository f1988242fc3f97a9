"""Fast pooling: the numbers of torch's own, bit for bit, and where it takes its place."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.learning import dp_sgd, sgd
from securefl.learning.dp_sgd import dp_sgd_trainers
from securefl.learning.pooling import FastMaxPool2d, fast, make_fast, usual_pools
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.choice import unstackable
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


def fast_copy(pool: nn.MaxPool2d) -> nn.MaxPool2d:
    made = copy.deepcopy(pool)
    make_fast(made)
    return made


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
    for expected, actual in zip(both(make(), x), both(fast_copy(make()), x), strict=True):
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


def changed() -> nn.MaxPool2d:
    pool = nn.MaxPool2d(2)
    pool.forward = lambda input: functional.avg_pool2d(input, 2)  # type: ignore[method-assign]
    return pool


def test_only_usual_pools_are_fast_and_only_while_the_context_lasts() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1)),
        Own(2),
        Holding(),
        nn.MaxPool2d(2, return_indices=True),
        hooked(),
        changed(),
    )
    before = [type(m) for m in model.modules()]
    pools = usual_pools(model)
    assert [name for name, m in model.named_modules() if m in pools] == ["1.0"]
    with fast(pools):
        assert [name for name, m in model.named_modules() if type(m) is FastMaxPool2d] == ["1.0"]
        output = model[1](images(1, 2, 6, 6))
    assert torch.equal(output, model[1](images(1, 2, 6, 6)))
    assert [type(m) for m in model.modules()] == before


class Closures(nn.Module):
    """A user's model whose function and whose pool a copy would not know."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 3)
        self.pool = nn.MaxPool2d(2)
        self.pool.factor = 2.0  # type: ignore[assignment]
        self.last = nn.Linear(3 * 3 * 3, 3)

        def body(x: Tensor) -> Tensor:
            pooled: Tensor = self.pool(self.layer(x))
            return pooled * 2.0

        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.body(x).flatten(1))
        return output


def test_a_model_that_holds_functions_of_itself_trains_all_of_its_layers() -> None:
    local = replace(clients("pools", dtype=torch.float32), model=Closures())
    update = sgd_trainers(local)[0].fit(weights_of(local), round=0).delta
    assert update[: 3 * 2 * 3 * 3].abs().min() > 0
    assert "holds functions of itself" in str(unstackable(local))


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
    weights = weights_of(local)
    update = make(local)[0].fit(weights, round=0).delta
    assert pooled
    for module in (sgd, dp_sgd):
        monkeypatch.setattr(module, "usual_pools", lambda model: [])
    pooled.clear()
    assert torch.equal(make(local)[0].fit(weights, round=0).delta, update)
    assert not pooled
