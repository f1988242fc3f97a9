"""ResNet-18 and -50: shapes, gradients of single examples, initial weights and refusals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import nn

from securefl import vector
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.learning.models.residual import resnet18, resnet50
from securefl.scenario.scenario import parse_scenario
from tests.learning.singly import check_gradients, fresh, images, task_of
from tests.scenario.texts import refusal

GREY = task_of(1, 28, 28, classes=2)
COLOUR = task_of(3, 28, 28, classes=5)
SOLID = task_of(1, 12, 9, 10)
VOLUMES = ("2.5d", "3d", "acs", "slices")


def test_resnet18_reads_2d_images_and_opacus_takes_it() -> None:
    model = resnet18(COLOUR, generator=fresh())
    assert model(images(COLOUR, 3)).shape == (3, 5)
    assert ModuleValidator.validate(model, strict=False) == []


def test_convolutions_of_resnet18_start_as_he_et_al_do() -> None:
    # Normal with variance 2 / (kernel x outgoing channels), so that the gradient keeps its size
    # where channels double.
    model = resnet18(COLOUR, generator=fresh())
    wide = [
        layer.weight.detach()
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 1e5
    ]
    assert len(wide) == 12
    for weight in wide:
        variance = 2 / (weight[0, 0].numel() * len(weight))
        assert float(weight.std()) == pytest.approx(variance**0.5, rel=0.02)


def test_the_images_size_decides_the_stem() -> None:
    large = Task(features=224 * 224, classes=2, image=(1, 224, 224))
    small_stem, large_stem = resnet18(GREY, generator=fresh()), resnet18(large, generator=fresh())
    assert [type(layer) for layer in small_stem][:3] == [nn.Conv2d, nn.GroupNorm, nn.ReLU]
    assert small_stem[0].kernel_size == (3, 3)
    assert large_stem[0].kernel_size == (7, 7)
    assert isinstance(large_stem[3], nn.MaxPool2d)
    features: list[tuple[int, ...]] = []
    for model, task in ((small_stem, GREY), (large_stem, large)):
        pool = next(layer for layer in model if isinstance(layer, nn.AdaptiveAvgPool2d))
        pool.register_forward_hook(lambda layer, given, out: features.append(tuple(given[0].shape)))
        model(images(task, 1))
    assert features == [(1, 512, 4, 4), (1, 512, 7, 7)]


def test_residual_blocks_add_their_shortcut() -> None:
    # With the body's last norm at zero a block is its shortcut alone.
    model: Any = resnet18(GREY, generator=fresh())
    block = model[3]
    with torch.no_grad():
        block.body[4].weight.zero_()
    x = torch.randn(2, 64, 5, 5)
    assert torch.equal(block(x), torch.relu(x))


def test_resnet18_refuses_records_that_are_no_images() -> None:
    with pytest.raises(ValueError, match="resnet18 takes images, these records are 15 numbers"):
        resnet18(Task(features=15, classes=2), generator=fresh())


def test_initial_weights_are_drawn_layer_by_layer() -> None:
    # The slow obvious version: each convolution from the generator, in order; then the last layer.
    generator = fresh(3)
    expected: list[tuple[torch.Tensor, torch.Tensor]] = []
    model: Any = resnet18(GREY, width=8, generator=fresh(3))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            weight = torch.empty(layer.weight.shape)
            nn.init.kaiming_normal_(
                weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            expected.append((layer.weight, weight))
    for part in (model[-1].weight, model[-1].bias):
        expected.append(
            (part, torch.empty(part.shape).uniform_(-1 / 8, 1 / 8, generator=generator))
        )
    assert len(expected) == 22
    assert all(torch.equal(value, wanted) for value, wanted in expected)


def test_a_network_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    resnet50(GREY, width=4, generator=fresh())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("build", [resnet18, resnet50])
def test_a_sketch_needs_no_memory_and_has_the_same_layout(build: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        sketch = build(SOLID, convolution="acs", width=8, generator=fresh())
    assert all(p.is_meta for p in sketch.parameters())
    model = build(SOLID, convolution="acs", width=8, generator=fresh())
    assert vector.shapes(sketch) == vector.shapes(model)
    assert not any(p.is_meta for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "exact"), [(resnet18, 11_689_512), (resnet50, 25_557_032)], ids=["18", "50"]
)
def test_parameters_are_as_many_as_published(build: Callable[..., nn.Module], exact: int) -> None:
    # torchvision's documentation of the weights "IMAGENET1K_V1", 1000 classes at 224 pixels.
    with torch.device("meta"):
        model = build(task_of(3, 224, 224, classes=1000), generator=fresh())
    assert vector.size(model) == exact


@pytest.mark.parametrize("convolution", ["2.5d", "acs"])
@pytest.mark.parametrize("build", [resnet18, resnet50])
def test_a_network_for_volumes_has_as_many_parameters_as_the_2d_one(
    build: Callable[..., nn.Module], convolution: str
) -> None:
    with torch.device("meta"):
        flat = build(task_of(1, 28, 28), generator=fresh())
        solid = build(task_of(1, 28, 28, 28), convolution=convolution, generator=fresh())
    assert vector.size(solid) == vector.size(flat)


def test_a_full_kernel_has_three_times_the_weights_of_its_plane() -> None:
    with torch.device("meta"):
        flat = resnet18(task_of(1, 28, 28), generator=fresh())
        solid = resnet18(task_of(1, 28, 28, 28), convolution="3d", generator=fresh())
    planes = sum(
        layer.weight.numel()
        for layer in flat.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
    )
    assert vector.size(solid) == vector.size(flat) + 2 * planes


def test_slices_are_the_channels_of_a_2d_network() -> None:
    volume = task_of(2, 3, 8, 8)
    flat = resnet18(task_of(6, 8, 8), width=4, generator=fresh())
    sliced = resnet18(volume, convolution="slices", width=4, generator=fresh())
    assert list(sliced.state_dict()) == list(flat.state_dict())
    x = images(volume)
    assert torch.equal(sliced(x), flat(x.reshape(2, 6, 8, 8)))


def test_a_slice_by_itself_moves_no_other_before_slices_are_left_out() -> None:
    model: Any = resnet18(SOLID, convolution="2.5d", width=4, generator=fresh())
    x = images(SOLID)
    other = x.clone()
    other[:, :, 5] += 1
    changed = (model[0](x) != model[0](other)).any(dim=(0, 1, 3, 4))
    assert changed.tolist() == [place == 5 for place in range(12)]


@pytest.mark.parametrize("convolution", VOLUMES)
def test_volumes_give_gradients_of_their_own(convolution: str) -> None:
    task = task_of(1, 8, 7, 9)
    check_gradients(resnet18(task, convolution=convolution, width=4, generator=fresh()), task)


@pytest.mark.parametrize("convolution", ["3d", "acs"])
def test_volumes_in_resnet50_give_gradients_of_their_own(convolution: str) -> None:
    task = task_of(1, 8, 7, 9)
    check_gradients(resnet50(task, convolution=convolution, width=4, generator=fresh()), task)


@pytest.mark.parametrize("build", [resnet18, resnet50])
def test_images_give_gradients_of_their_own(build: Callable[..., nn.Module]) -> None:
    task = task_of(3, 16, 13)
    check_gradients(build(task, width=4, generator=fresh()), task)


@pytest.mark.parametrize("convolution", VOLUMES)
def test_large_volumes_start_coarse(convolution: str) -> None:
    task = task_of(1, 70, 66, 65)
    with torch.device("meta"):
        model = resnet18(task, convolution=convolution, width=4, generator=fresh())
        assert model(torch.empty(2, *task.image)).shape == (2, 3)
    pools = [layer for layer in model if isinstance(layer, nn.MaxPool2d | nn.MaxPool3d)]
    assert len(pools) == 1


@pytest.mark.parametrize("convolution", ["2d", *VOLUMES])
def test_batch_norm_takes_the_place_of_every_group_norm(convolution: str) -> None:
    task = GREY if convolution == "2d" else SOLID
    grouped = resnet18(task, convolution=convolution, width=4, generator=fresh())
    batched = resnet18(task, convolution=convolution, width=4, norm="batch", generator=fresh())
    assert not any(isinstance(layer, nn.GroupNorm) for layer in batched.modules())
    parameters = {name: p.shape for name, p in batched.named_parameters()}
    assert parameters == {name: p.shape for name, p in grouped.named_parameters()}
    for name, buffer in batched.named_buffers():
        ends = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}
        assert bool((buffer == ends[name.rpartition(".")[2]]).all())
    assert len(vector.travelling_buffers(batched)) == 2 * 20
    assert batched(images(task)).shape == (2, task.outputs)


def test_channels_come_last_where_torch_keeps_to_its_memory() -> None:
    # With fewer than 16 channels at a strided 1 x 1 convolution, oneDNN writes beyond its memory.
    for width, last in ((16, True), (15, False)):
        weight = resnet18(COLOUR, width=width, generator=fresh())[0].weight
        assert isinstance(weight, torch.Tensor)
        assert weight.is_contiguous(memory_format=torch.channels_last) is last
    deep: Any = resnet18(SOLID, convolution="3d", width=4, generator=fresh())
    assert deep[3].body[0].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_width_multiplies_every_layer() -> None:
    model: Any = resnet50(GREY, width=8, generator=fresh())
    assert [block.body[0].out_channels for block in model[3:19]] == (
        [8] * 3 + [16] * 4 + [32] * 6 + [64] * 3
    )
    assert model[-1].in_features == 256


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (
            '"resnet18"',
            "organmnist3d",
            'resnet18 takes 2-D images; for 3-D set model.convolution = "acs", or use cnn',
        ),
        (
            '{ name = "resnet50", convolution = "acs" }',
            "breastmnist",
            "resnet50 with convolution = 'acs' takes 3-D images; leave model.convolution out",
        ),
        (
            '{ name = "resnet18", convolution = "4d" }',
            "organmnist3d",
            "resnet18 has the convolutions 2d, 2.5d, 3d, acs, slices, got '4d'",
        ),
        ('{ name = "resnet18", width = 3 }', "breastmnist", "a width of 4 to 256, got 3"),
        ('{ name = "resnet18", width = 257 }', "breastmnist", "a width of 4 to 256, got 257"),
        ('{ name = "resnet18", norm = "layer" }', "breastmnist", "norms group and batch, got"),
        (
            '{ name = "resnet18", channels = [8] }',
            "breastmnist",
            "resnet18 takes convolution, width, norm, got 'channels'",
        ),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(
    model: str, data: str, message: str
) -> None:
    data_table = f"data = {{ name = 'medmnist:{data}' }}"
    assert message in refusal(f"training = {{ kind = 'sgd' }}\n{data_table}\nmodel = {model}")


def test_batch_norm_is_refused_with_noise() -> None:
    model = 'model = { name = "resnet18", norm = "batch", width = 4 }'
    text = f"data = {{ name = 'medmnist:breastmnist' }}\n{model}"
    with pytest.raises(ScenarioError, match="resnet18 has a batch norm, '1', which mixes"):
        parse_scenario(text)
    private = parse_scenario(text.replace(' norm = "batch",', ""))
    assert private.model.parameters == {"width": 4}
