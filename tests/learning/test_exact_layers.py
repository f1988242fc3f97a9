"""Linear layers that round nothing, and what they are for: no record changes another one's part."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.clipped_gradient import ModelSums, sums_of
from securefl.learning.clipping.arithmetic import clip_factors
from securefl.learning.clipping.exact_layers import make_exact, usual_linears
from securefl.learning.clipping.layers import of_layer
from securefl.learning.clipping.recorder import BatchGradients
from securefl.learning.dp_sgd import DpSgdTrainer, dp_sgd_trainers
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.plan import DpPlan
from tests.learning.test_clipped_gradient import some_examples, training
from tests.learning.test_head_sums import cancelling

# Sides that are no multiples of four: the library rounds rows of them by where they lie.
TASK = Task(features=15, classes=2)
WIDTH = 7


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(layer: nn.Linear) -> nn.Linear:
    other = copy.deepcopy(layer)
    make_exact(other)
    return other


@pytest.mark.parametrize("shape", [(9, 5), (4, 3, 5)], ids=["rows", "sequences"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_outputs_and_gradients_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    plain = nn.Linear(5, 3, bias=bias)
    results = []
    for layer in (plain, exact(plain)):
        x = drawn(*shape).requires_grad_()
        outputs = layer(x)
        (outputs * drawn(*outputs.shape, seed=2)).sum().backward()
        results.append([outputs, x.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 5, 31, 64])
def test_a_row_has_the_same_bits_wherever_it_lies_and_whatever_else_there_is(rows: int) -> None:
    layer = exact(nn.Linear(15, WIDTH))
    x = drawn(64, 15)
    ends = drawn(64, WIDTH, seed=2)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))[:rows]
    whole, part = x.clone().requires_grad_(), x[order].requires_grad_()
    outputs, some = layer(whole), layer(part)
    assert torch.equal(some, outputs[order])
    outputs.backward(ends)
    some.backward(ends[order])
    assert whole.grad is not None
    assert part.grad is not None
    assert torch.equal(part.grad, whole.grad[order])


def test_a_row_that_is_not_finite_spoils_no_other() -> None:
    layer = exact(nn.Linear(5, 3))
    x = drawn(4, 5)
    expected = layer(x)
    x[2, 1] = torch.inf
    found = layer(x)
    assert bool(found[2].isnan().all())
    assert torch.equal(found[[0, 1, 3]], expected[[0, 1, 3]])


def test_an_exact_layer_is_still_a_linear_layer_and_its_copy_has_weights_of_its_own() -> None:
    layer = exact(nn.Linear(5, 3))
    assert type(layer) is nn.Linear
    assert of_layer(layer) is not None
    assert not usual_linears(layer)
    other = copy.deepcopy(layer)
    nn.init.zeros_(other.weight)
    nn.init.zeros_(other.bias)
    assert not other(drawn(2, 5)).any()
    assert layer(drawn(2, 5)).any()


@pytest.mark.parametrize("hidden", [WIDTH, 32])
@pytest.mark.parametrize("records", [31, 66])
def test_removing_a_record_closes_no_gate_of_others(hidden: int, records: int) -> None:
    """A lying server's model, under which units of the first layer are on or off by rounding.

    With the library's products the sum moved by 5.5 clips.
    """
    sums = sums_of(
        training(TASK, {}, {}, model=mlp(TASK, hidden=(hidden,), generator=torch.Generator()))
    )
    assert isinstance(sums, ModelSums)
    examples = some_examples(TASK, records)
    farthest = 0.0
    for attempt in range(12):
        rows = examples.features[1:][torch.arange(14) - attempt]
        weights = drawn(hidden * 16 + hidden + 1, seed=attempt)
        weights[: hidden * 16] = cancelling(rows, hidden, seed=attempt)
        every = sums.clipped_sum(weights, examples, None, clip=0.5)
        others = sums.clipped_sum(weights, examples, torch.arange(1, records), clip=0.5)
        farthest = max(farthest, float((every - others).norm()))
    assert 0.4 < farthest <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("records", [6, 66])
def test_removing_a_record_turns_no_gradient_behind_a_convolution_around(records: int) -> None:
    task = Task(features=64, classes=2, image=(1, 8, 8))
    model = cnn(task, channels=(3, 5), generator=torch.Generator().manual_seed(1))
    sums = sums_of(training(task, {}, {}, model=copy.deepcopy(model)))
    examples = some_examples(task, records)
    before = nn.Sequential(*list(model.children())[:-1])
    features = before(task.inputs(examples.features)).detach()
    width = features.shape[1] + 1
    farthest = 0.0
    for attempt in range(12):
        weights = vector.to_vector(model)
        rows = features[-(attempt % 4 + 1) :]
        weights[-width:] = cancelling(rows, 1, seed=attempt)
        every = sums.clipped_sum(weights, examples, None, clip=0.5)
        others = sums.clipped_sum(weights, examples, torch.arange(1, records), clip=0.5)
        farthest = max(farthest, float((every - others).norm()))
    assert 0.4 < farthest <= 0.5 * (1 + 1e-5)


def test_physical_batches_have_one_size_and_what_fills_them_up_adds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = mlp(TASK, hidden=(WIDTH,), generator=torch.Generator().manual_seed(1))
    sums = sums_of(training(TASK, {}, {}, model=model))
    assert isinstance(sums, ModelSums)
    machine = sums._machine
    sizes: list[int] = []
    gradients = machine.gradients

    def noted(examples: Examples, chosen: Tensor) -> BatchGradients:
        sizes.append(len(chosen))
        return gradients(examples, chosen)

    monkeypatch.setattr(machine, "gradients", noted)
    examples, weights = some_examples(TASK, 70), vector.to_vector(model)
    whole = sums.clipped_sum(weights, examples, None, clip=0.5)
    parts = [
        sums.clipped_sum(weights, examples, torch.arange(start, start + 10), clip=0.5)
        for start in range(0, 70, 10)
    ]
    assert sizes == [64, 64, *[64] * 7]
    torch.testing.assert_close(whole, sum(parts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn"])
def test_a_lying_servers_model_turns_no_gradient_around_when_a_record_is_removed(name: str) -> None:
    """Its logits, or the gates of its hidden units, are nothing but rounding errors.

    With the library's products the sum of a batch moved by up to 6 clips.
    """
    task = Task(features=15, classes=2)
    if name == "cnn":
        task = Task(features=64, classes=2, image=(1, 8, 8))
    drawing = torch.Generator().manual_seed(1)
    models: dict[str, Callable[[], nn.Module]] = {
        "logistic": lambda: logistic(task, generator=drawing),
        "mlp": lambda: mlp(task, hidden=(WIDTH,), generator=drawing),
        "cnn": lambda: cnn(task, channels=(3, 5), generator=drawing),
    }
    model = models[name]()
    plans: dict[int, DpPlan] = {0: DpPlan(31, 31, 1, 0.5, 0.0)}
    local = training(task, {0: some_examples(task, 31)}, plans, model=model)
    trainer = dp_sgd_trainers(local)[0]
    assert isinstance(trainer, DpSgdTrainer)
    machine, examples = trainer._machine, local.examples[0]
    farthest = 0.0
    for attempt in range(20):
        weights = vector.to_vector(model)
        if name == "mlp":
            rows = examples.features[1:][torch.arange(14) - attempt]
            weights[: WIDTH * 16] = cancelling(rows, WIDTH, seed=attempt)
        else:
            before = nn.Sequential(*list(model.children())[:-1]) if name == "cnn" else nn.Identity()
            rows = before(task.inputs(examples.features)).detach()[-(attempt % 4 + 1) :]
            weights[-rows.shape[1] - 1 :] = cancelling(rows, 1, seed=attempt)
        vector.load_vector(machine.module, weights)
        sums = []
        for chosen in (torch.arange(31), torch.arange(1, 31)):
            gradients = machine.gradients(examples, chosen)
            sums.append(machine.flat_sum(gradients, clip_factors(gradients.norms(), 0.5)))
        farthest = max(farthest, float((sums[0] - sums[1]).norm()))
    assert 0.4 < farthest <= 0.5 * (1 + 1e-5)
