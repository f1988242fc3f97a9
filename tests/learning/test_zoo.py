"""The seven architectures: gradients of single examples, published sizes, seeds and refusals."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from securefl import vector
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.learning.models.enlarging import factor_of
from securefl.learning.stacked.network import unstackable_layer
from securefl.scenario.catalog import MODELS
from securefl.scenario.scenario import parse_scenario
from tests.learning.singly import check_gradients, fresh, images, task_of, without_dropout
from tests.paths import ROOT


class Published(NamedTuple):
    """What torchvision's documentation says of the weights "IMAGENET1K_V1" (1000 classes, 224).

    `normed`: whether the published network has norms, which ours replace one for one.
    """

    parameters: int
    normed: bool
    narrow: int  # a width that makes tests quick


ZOO: Mapping[str, Published] = {
    "resnet18": Published(11_689_512, True, 4),
    "resnet50": Published(25_557_032, True, 4),
    "vgg16": Published(138_357_544, False, 4),
    "alexnet": Published(61_100_840, False, 4),
    "densenet121": Published(7_978_856, True, 4),
    "efficientnet_b4": Published(19_341_616, True, 6),
    "vit": Published(86_567_656, True, 24),
}
ENLARGED = ("vgg16", "alexnet", "densenet121", "efficientnet_b4")
SMALL = task_of(1, 16, 16)
# Opacus listens to tables of words, whose inputs have no gradients.
of_tables = pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")


def built(name: str, task: Task, **parameters: Any) -> Any:
    parameters.setdefault("width", ZOO[name].narrow)
    return MODELS[name].function(task, generator=fresh(), **parameters)


@of_tables
@pytest.mark.parametrize("name", ZOO)
def test_gradients_are_those_of_one_example_at_a_time(name: str) -> None:
    check_gradients(built(name, SMALL), SMALL)


@pytest.mark.parametrize("name", ZOO)
def test_parameters_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        model = built(name, task_of(3, 224, 224, classes=1000), **usual(name))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.GroupNorm | nn.LayerNorm)]
    assert norms
    size = vector.size(model)
    if not ZOO[name].normed:
        size -= sum(map(vector.size, norms))
    assert size == ZOO[name].parameters


def text_of(data: str, model: str) -> str:
    lines = ["training = { kind = 'sgd' }", f"data = {{ name = 'medmnist:{data}' }}"]
    return "\n".join([*lines, f"model = {model}"])


def usual(name: str) -> dict[str, Any]:
    return {"width": MODELS[name].parameters["width"].default}


@pytest.mark.parametrize("name", ZOO)
def test_every_norm_treats_a_record_by_itself(name: str) -> None:
    model = without_dropout(built(name, SMALL))
    x = images(SMALL, 3)
    assert torch.allclose(model(x)[1:2], model(x[1:2]), atol=1e-4)
    assert not list(model.buffers())


@pytest.mark.parametrize("name", ZOO)
def test_the_seed_decides_the_initial_weights_and_nothing_else_does(name: str) -> None:
    before = torch.get_rng_state()
    weights = vector.to_vector(built(name, SMALL))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(int(before[0]) + 1)
    assert torch.equal(vector.to_vector(built(name, SMALL)), weights)
    width = ZOO[name].narrow
    other = MODELS[name].function(SMALL, generator=fresh(1), width=width)
    assert not torch.equal(vector.to_vector(other), weights)
    # Nothing is left as the memory was: large or not finite.
    assert bool((weights.abs() <= 8).all())


@pytest.mark.parametrize("name", ZOO)
def test_a_sketch_needs_no_memory_and_has_the_same_layout(name: str) -> None:
    with torch.device("meta"):
        sketch = built(name, SMALL)
    assert all(p.is_meta for p in sketch.parameters())
    assert vector.layout(sketch) == vector.layout(built(name, SMALL))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("side", [28, 64, 128, 224])
def test_every_size_of_medmnist_passes(name: str, side: int) -> None:
    task = task_of(3, side, side, classes=7)
    with torch.device("meta"):
        assert built(name, task)(torch.empty(2, *task.image)).shape == (2, 7)


@pytest.mark.parametrize("name", ENLARGED)
def test_small_images_are_enlarged_and_weights_keep_their_names(name: str) -> None:
    small, large = task_of(1, 28, 30), task_of(1, 84, 90)
    model, plain = without_dropout(built(name, small)), without_dropout(built(name, large))
    assert (factor_of(model), factor_of(plain)) == (3, 1)
    assert list(model.state_dict()) == list(plain.state_dict())
    x = images(small)
    # Each pixel becomes nine.
    assert torch.equal(model(x), plain(x.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)))
    assert factor_of(built(name, small, enlarge=4)) == 4
    assert factor_of(built(name, large, enlarge=1)) == 1


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit"])
def test_networks_with_a_fine_stem_take_small_images_as_they_are(name: str) -> None:
    assert factor_of(built(name, SMALL)) == 1
    assert "enlarge" not in MODELS[name].parameters


def test_a_vit_has_patches_of_4_pixels_in_small_images_and_of_16_in_large_ones() -> None:
    for side, patches in ((28, 49), (64, 256), (128, 64), (224, 196)):
        with torch.device("meta"):
            model = built("vit", task_of(1, side, side))
        assert model[3].places.num_embeddings == patches + 1


def test_a_vit_reads_a_patch_row_by_row_and_tells_places_apart() -> None:
    task = task_of(1, 8, 8)
    model = built("vit", task)
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    patches = model[1](model[0](x))
    assert patches.shape == (1, 4, 16)
    assert patches[0, 1].tolist() == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31]
    turned = torch.cat([x[..., 4:], x[..., :4]], dim=3) / 64
    assert not torch.allclose(model(turned), model(x / 64), atol=1e-4)


def test_attention_is_torchs_own() -> None:
    # The slow obvious version: torch's layer, with the same weights.
    attention = built("vit", SMALL)[4].attention[1]
    torchs = nn.MultiheadAttention(24, 12, batch_first=True)
    torchs.load_state_dict(
        {
            "in_proj_weight": attention.read.weight,
            "in_proj_bias": attention.read.bias,
            "out_proj.weight": attention.write.weight,
            "out_proj.bias": attention.write.bias,
        }
    )
    x = torch.randn(2, 5, 24, generator=fresh())
    assert torch.allclose(attention(x), torchs(x, x, x)[0], atol=1e-5)


def test_records_skip_whole_bodies_of_efficientnet_in_training_only() -> None:
    model = built("efficientnet_b4", SMALL, dropout=0.8)
    blocks = [layer for layer in model if hasattr(layer, "skip")]
    assert len(blocks) == 32
    # The share rises by 1/32 of half the dropout from block to block.
    assert [block.skip.p for block in blocks[:3]] == pytest.approx([0, 0.0125, 0.025])
    block = next(block for block in reversed(blocks) if block.short)
    x = torch.randn(64, block.body[0].in_channels, 2, 2, generator=fresh())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unmoved = (block.train()(x) == x).flatten(1).all(dim=1)
    assert 10 < int(unmoved.sum()) < 40  # 64 times 0.39
    assert not (block.eval()(x) == x).flatten(1).all(dim=1).any()


def test_alexnet_has_the_papers_maps_at_224_pixels() -> None:
    # 55, 27, 13 and 6 pixels, as in the paper's figure.
    with torch.device("meta"):
        model, x = built("alexnet", task_of(3, 224, 224)), torch.empty(1, 3, 224, 224)
        sides = []
        for layer in model[:-9]:
            x = layer(x)
            sides.append(x.shape[2])
    assert list(dict.fromkeys(sides)) == [55, 27, 13, 6]


def test_a_transition_of_densenet_halves_channels_and_takes_means() -> None:
    model = built("densenet121", task_of(1, 64, 64))
    means = [place for place, layer in enumerate(model) if isinstance(layer, nn.AvgPool2d)]
    assert len(means) == 3
    for place in means:
        convolution = model[place - 1]
        assert convolution.in_channels == 2 * convolution.out_channels
        assert model[place].kernel_size == 2


def test_a_dense_layer_keeps_what_came_in() -> None:
    layer = built("densenet121", SMALL).get_submodule("4")
    x = torch.randn(2, 8, 5, 5, generator=fresh())
    out = layer(x)
    assert out.shape == (2, 12, 5, 5)
    assert torch.equal(out[:, :8], x)


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "densenet121"])
def test_models_of_several_clients_fit_into_one_stack(name: str) -> None:
    assert unstackable_layer(built(name, SMALL)) is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ('"vgg16"', "vgg16 takes 2-D images; for 3-D use resnet18 or resnet50"),
        ('"vit"', "vit takes 2-D images; for 3-D use resnet18 or resnet50"),
    ],
)
def test_volumes_are_for_residual_networks(model: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        parse_scenario(text_of("organmnist3d", model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ('{ name = "vgg16", width = 129 }', "vgg16 needs a width of 1 to 128, got 129"),
        ('{ name = "alexnet", width = 0 }', "alexnet needs a width of 1 to 128, got 0"),
        ('{ name = "alexnet", dropout = 0.95 }', "a dropout of 0 to 0.9, got 0.95"),
        ('{ name = "densenet121", width = 1 }', "densenet121 needs a width of 2 to 64, got 1"),
        ('{ name = "efficientnet_b4", width = 3 }', "needs a width of 4 to 96, got 3"),
        ('{ name = "efficientnet_b4", dropout = -0.1 }', "a dropout of 0 to 0.9, got -0.1"),
        ('{ name = "vit", width = 100 }', "a multiple of 12 up to 1536, got 100"),
        ('{ name = "vit", patch = 5 }', "set model.patch to a divisor of 28 and 28, got 5"),
        ('{ name = "vgg16", enlarge = 2 }', "set model.enlarge to 3 or more for 28 pixels, got 2"),
        ('{ name = "vgg16", enlarge = 17 }', "vgg16 enlarges images 1 to 16 times, got 17"),
        ('{ name = "resnet18", enlarge = 2 }', "takes convolution, width, norm, got 'enlarge'"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(model: str, message: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_scenario(text_of("breastmnist", model))
    assert message in str(refusal.value)


@pytest.mark.parametrize("name", ZOO)
def test_the_page_has_the_size_of_every_network(name: str) -> None:
    with torch.device("meta"):
        model = built(name, task_of(3, 224, 224, classes=1000), **usual(name))
    page = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    size = vector.size(model)
    assert f"| `{name}` | {size:,} | {size * 4 / 1e6:.1f} MB |" in page
    factor = factor_of(built(name, task_of(1, 28, 28)))
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
    assert ("enlarged 3 times" in row) is (factor == 3)


def of_monai(name: str) -> Any:
    """MONAI's network with batch norm, narrow where it can be."""
    nets: Any = pytest.importorskip("monai.networks.nets")
    if name == "densenet121":
        # Its group norm has as many groups as ours.
        norm = ("group", {"num_groups": 8})
        return nets.DenseNet121(2, 3, 5, init_features=16, growth_rate=8, norm=norm)
    return getattr(nets, name)(
        spatial_dims=2, n_input_channels=3, conv1_t_stride=2, num_classes=5, bias_downsample=False
    )


@pytest.mark.slow  # to import MONAI takes 6 to 14 seconds
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"width": 64, "norm": "batch"}),
        ("resnet50", {"width": 64, "norm": "batch"}),
        ("densenet121", {"width": 8}),
    ],
    ids=["18", "50", "dense"],
)
def test_the_same_weights_give_what_monais_network_gives(
    name: str, options: dict[str, Any]
) -> None:
    task = task_of(3, 72, 72, classes=5)
    ours, theirs = built(name, task, **options), of_monai(name)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = images(task)
    expected = theirs.eval()(x).detach()
    assert torch.allclose(ours.eval()(x), expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_too_many_patches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 1024 patches, model.patch = 4 makes 3136"):
        built("vit", task_of(1, 224, 224), patch=4)


@pytest.mark.parametrize("name", ZOO)
def test_records_that_are_no_images_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} takes images, these records are 15 numbers"):
        built(name, Task(features=15, classes=2))
