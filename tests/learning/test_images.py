"""Networks for images: shapes, gradients of single examples, initial weights and refusals."""

import math
from typing import Any

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.models import linear
from securefl.learning.models.images import cnn
from securefl.learning.models.residual import resnet18
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import parse_scenario
from tests.scenario.texts import refusal

GREY = Task(features=784, classes=2, image=(1, 28, 28))
COLOUR = Task(features=2352, classes=5, image=(3, 28, 28))
SOLID = Task(features=21_952, classes=11, image=(1, 28, 28, 28))
CHEST = Task(features=784, classes=14, image=(1, 28, 28), multilabel=True)


def fresh(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(task: Task, n: int = 3) -> torch.Tensor:
    pixels = torch.randint(0, 256, (n, *task.image), dtype=torch.uint8, generator=fresh(1))
    return task.inputs(pixels)


def small(task: Task) -> nn.Sequential:
    return cnn(task, channels=(4, 8), generator=fresh())


@pytest.mark.parametrize(
    "task", [GREY, COLOUR, SOLID, CHEST], ids=["grey", "colour", "solid", "labels"]
)
@pytest.mark.parametrize("build", [cnn, linear.mlp, linear.logistic])
def test_every_model_reads_every_kind_of_image_and_opacus_takes_it(
    task: Task, build: object
) -> None:
    assert callable(build)
    model = build(task, generator=fresh())
    assert model(images(task)).shape == (3, task.outputs)
    assert ModuleValidator.validate(model, strict=False) == []


def test_the_number_of_coordinates_by_hand() -> None:
    # conv 1x9x4+4, norm 8, conv 4x9x8+8, norm 16, linear 8x16x1+1
    assert vector.to_vector(small(GREY)).numel() == 40 + 8 + 296 + 16 + 129
    assert vector.to_vector(small(SOLID)).numel() == (27 * 4 + 4) + 8 + (4 * 27 * 8 + 8) + 16 + (
        8 * 64 * 11 + 11
    )
    # He et al.'s ResNet-18 for ten classes has 11,181,642 with the 7 x 7 stem and 1 x 1 shortcuts.
    ten = Task(features=3072, classes=10, image=(3, 32, 32))
    assert vector.to_vector(resnet18(ten, generator=fresh())).numel() == 11_173_962


def test_the_images_size_does_not_decide_the_size_of_the_cnn() -> None:
    large = Task(features=224 * 224, classes=2, image=(1, 224, 224))
    sizes = {len(vector.to_vector(cnn(task, generator=fresh()))) for task in (large, GREY)}
    assert len(sizes) == 1


def of_example(
    model: nn.Module, task: Task, inputs: torch.Tensor, labels: torch.Tensor, place: int
) -> list[torch.Tensor]:
    """The gradient of one example of a batch, by parameter, as DpSgd clips it."""
    machine = DpSgd(model, task, lr=1.0)
    gradients = machine.gradients(Examples(inputs, labels), torch.arange(len(labels)))
    sums = dict(gradients.sums(torch.eye(len(labels))[place]))
    return [sums[p] for p in machine.trained]


@pytest.mark.parametrize("task", [GREY, COLOUR, SOLID], ids=["grey", "colour", "solid"])
def test_gradients_are_those_of_one_example_at_a_time(task: Task) -> None:
    # The oracle is one backward pass an example. Batch norm, or any norm over the batch, would
    # fail here.
    model, labels = small(task), torch.tensor([0, 1, 1])
    inputs = images(task)
    single = []
    for place in range(3):
        model.zero_grad()
        task.loss(model(inputs[place : place + 1]), labels[place : place + 1]).backward()  # type: ignore[no-untyped-call]
        single.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for place in range(3):
        for part, expected in zip(
            of_example(small(task), task, inputs, labels, place), single[place], strict=True
        ):
            assert torch.allclose(part, expected, rtol=1e-3, atol=1e-5)


def test_the_seed_decides_the_initial_weights_and_nothing_else_does() -> None:
    for build in (cnn, resnet18):
        torch.manual_seed(1)
        weights = vector.to_vector(build(GREY, generator=fresh(5)))
        torch.manual_seed(2)
        assert torch.equal(weights, vector.to_vector(build(GREY, generator=fresh(5))))
        assert not torch.equal(weights, vector.to_vector(build(GREY, generator=fresh(6))))


def test_initial_weights_are_uniform_within_one_over_root_inputs() -> None:
    model: Any = cnn(COLOUR, channels=(32, 64), generator=fresh())
    for layer, inputs in ((model[0], 27), (model[4], 288), (model[10], 1024)):
        bound = 1 / math.sqrt(inputs)
        assert 0.95 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert float(layer.bias.detach().abs().max()) <= bound


def test_weights_with_channels_last_survive_the_way_to_a_vector_and_back() -> None:
    model: Any = small(COLOUR)
    other: Any = cnn(COLOUR, channels=(4, 8), generator=fresh(9))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    before = model(images(COLOUR))
    vector.load_vector(other, vector.to_vector(model))
    assert torch.equal(other(images(COLOUR)), before)
    assert other[4].weight.is_contiguous(memory_format=torch.channels_last)


def padded_alike() -> nn.Module:
    """A network with a convolution whose gradients Opacus writes down, channels last."""
    model: Any = small(COLOUR)
    model[4].padding = "same"
    return model  # type: ignore[no-any-return]


def test_opacus_gradients_are_wrong_with_channels_last_so_those_networks_put_them_first() -> None:
    # Should this fail, Opacus has been mended, and Recorder need not change the layout any more.
    inputs = images(COLOUR)
    labels = torch.tensor([0, 1, 1])
    wrapped = GradSampleModule(padded_alike(), loss_reduction="mean")
    COLOUR.loss(wrapped(inputs.requires_grad_()), labels).backward()  # type: ignore[no-untyped-call]
    gradient = list(wrapped.parameters())[4].grad_sample[0]
    expected = of_example(small(COLOUR), COLOUR, inputs.detach(), labels, 0)[4]
    assert (gradient - expected).norm() > 0.1 * expected.norm()
    right = of_example(padded_alike(), COLOUR, inputs.detach(), labels, 0)[4]
    assert torch.allclose(right, expected, rtol=1e-3, atol=1e-5)


def test_channels_last_and_channels_first_give_the_same_numbers() -> None:
    model, inputs = small(COLOUR), images(COLOUR)
    first: nn.Sequential = small(COLOUR).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    layouts = []
    for network in (model, first):
        network[0].register_forward_hook(lambda layer, given, out: layouts.append(out))
    assert torch.allclose(model(inputs), first(inputs), atol=1e-5)
    # The layout of the weights decides.
    assert layouts[0].is_contiguous(memory_format=torch.channels_last)
    assert layouts[1].is_contiguous()


def test_images_need_not_be_square() -> None:
    wide = Task(features=2 * 9 * 70, classes=3, image=(2, 9, 70))
    for build in (cnn, resnet18):
        model = build(wide, generator=torch.Generator().manual_seed(0))
        assert model(torch.zeros(5, *wide.image)).shape == (5, 3)
    # 9 pixels can be halved three times; the long side does not count.
    with pytest.raises(ValueError, match="9 pixels are too few for 4"):
        cnn(wide, channels=[2] * 4, generator=torch.Generator())
    flat = Task(features=4 * 64 * 64, classes=2, image=(1, 4, 64, 64))
    with pytest.raises(ValueError, match="4 pixels are too few for 3"):
        cnn(flat, channels=[2] * 3, generator=torch.Generator())


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ('{ name = "cnn", channels = [] }', "breastmnist", "channels of 1 to 1024, got []"),
        ('{ name = "cnn", channels = [8, 0] }', "breastmnist", "channels of 1 to 1024, got [8, 0]"),
        ('{ name = "cnn", channels = [1025] }', "breastmnist", "channels of 1 to 1024, got [1025]"),
        (
            '{ name = "cnn", channels = [2, 2, 2, 2, 2] }',
            "breastmnist",
            "28 pixels are too few for 5",
        ),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(
    model: str, data: str, message: str
) -> None:
    data_table = f"data = {{ name = 'medmnist:{data}' }}"
    assert message in refusal(f"training = {{ kind = 'sgd' }}\n{data_table}\nmodel = {model}")


def test_a_scenario_is_checked_without_memory_for_the_weights_and_builds_the_same_model() -> None:
    data = "data = { name = 'medmnist:breastmnist' }\nmodel = { name = 'cnn', channels = [4, 8] }"
    text = f"training = {{ kind = 'sgd' }}\n{data}"
    scenario = parse_scenario(text)
    assert torch.equal(
        vector.to_vector(build_model(scenario, GREY)),
        vector.to_vector(build_model(parse_scenario(text), GREY)),
    )
