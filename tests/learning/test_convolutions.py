"""Two-dimensional convolutions for volumes: their definition, their weights, their shapes."""

import re
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from securefl import vector
from securefl.learning.models.convolutions import (
    AxialCoronalSagittal,
    Convolution,
    acs_convolution,
    slice_convolution,
    solid_convolution,
    weights_from_2d,
)
from securefl.learning.models.residual import resnet18
from tests.learning.singly import fresh, images, task_of
from tests.paths import ROOT


def by_definition(volume: Tensor, bank: Tensor, stride: int) -> Tensor:
    """ACS one output channel at a time: its 2-D kernel, unsqueezed into its plane.

    Source: Yang et al. 2021, section 3.1.
    """
    outputs, kernel = len(bank), bank.shape[-1]
    axial = -(-outputs // 3)
    coronal = -(-(outputs - axial) // 2)
    channels = []
    for place in range(outputs):
        if place < axial:
            flat = 2
        elif place < axial + coronal:
            flat = 3
        else:
            flat = 4
        padding = [kernel // 2] * 3
        padding[flat - 2] = 0
        plane = bank[place : place + 1].unsqueeze(flat)
        channels.append(functional.conv3d(volume, plane, None, stride, padding))
    return torch.cat(channels, dim=1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("outputs", [3, 4, 5, 12])
def test_acs_is_its_definition(outputs: int, kernel: int, stride: int) -> None:
    layer = AxialCoronalSagittal(2, outputs, kernel, stride).double()
    bank = torch.randn(outputs, 2, kernel, kernel, generator=fresh(), dtype=torch.float64)
    volume = torch.randn(2, 2, 8, 9, 7, generator=fresh(1), dtype=torch.float64)
    layer.load_bank(bank)
    expected = by_definition(volume, bank, stride)
    assert torch.allclose(layer(volume), expected, rtol=1e-10, atol=1e-12)


def test_output_channels_are_shared_out_from_the_axial_plane_on() -> None:
    layer = AxialCoronalSagittal(1, 8, 3, 1)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "axial.weight": (3, 1, 1, 3, 3),
        "coronal.weight": (3, 1, 3, 1, 3),
        "sagittal.weight": (2, 1, 3, 3, 1),
    }
    assert (
        sum(p.numel() for p in layer.parameters()) == nn.Conv2d(1, 8, 3, bias=False).weight.numel()
    )


def test_a_plane_sees_only_its_slice() -> None:
    # A single voxel: the axial channel answers within its depth, and so on.
    layer: Any = AxialCoronalSagittal(1, 3, 3, 1)
    layer.load_bank(torch.ones(3, 1, 3, 3))
    volume = torch.zeros(1, 1, 5, 5, 5)
    volume[0, 0, 2, 2, 2] = 1
    answers = layer(volume)[0].bool()
    for channel in range(3):
        expected = torch.zeros(5, 5, 5, dtype=torch.bool)
        place = [slice(1, 4)] * 3
        place[channel] = slice(2, 3)
        expected[tuple(place)] = True
        assert torch.equal(answers[channel], expected)


@pytest.mark.parametrize("convolution", [acs_convolution, slice_convolution, solid_convolution])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_every_side_is_divided_by_the_stride_and_rounded_up(
    convolution: Convolution, kernel: int, stride: int
) -> None:
    layer = convolution(1, 3, kernel, stride)
    sides = (5, 8, 1)
    expected = tuple(-(-side // stride) for side in sides)
    assert layer(torch.zeros(1, 1, *sides)).shape == (1, 3, *expected)


def test_one_pixel_needs_no_planes() -> None:
    assert isinstance(acs_convolution(2, 2, 1, 1), nn.Conv3d)


@pytest.mark.parametrize(("outputs", "kernel"), [(2, 3), (6, 2)])
def test_a_bank_that_cannot_be_shared_is_refused(outputs: int, kernel: int) -> None:
    with pytest.raises(ValueError, match=f"outputs={outputs}, kernel={kernel}"):
        AxialCoronalSagittal(1, outputs, kernel, 1)


def of_one_slice(convolution: str) -> tuple[nn.Module, nn.Module]:
    """A 2-D network, and its form for volumes with the converted weights."""
    flat = resnet18(task_of(1, 12, 12), width=4, generator=fresh(5))
    task = task_of(1, 12, 12, 12)
    solid = resnet18(task, convolution=convolution, width=4, generator=fresh(6))
    solid.load_state_dict(weights_from_2d(flat.state_dict(), solid))
    return flat, solid


def test_a_slice_by_itself_gives_what_the_2d_network_gives() -> None:
    # Equal slices: each passes through the 2-D network, and the means over the volume are the same.
    flat, solid = of_one_slice("2.5d")
    picture = images(task_of(1, 12, 12))
    volume = picture.unsqueeze(2).repeat(1, 1, 12, 1, 1)
    assert torch.allclose(solid(volume), flat(picture), atol=1e-4)


def test_a_full_kernel_gives_at_inner_equal_slices_what_the_2d_one_gives() -> None:
    flat: Any = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    solid = nn.Sequential(solid_convolution(2, 4, 3, 1))
    solid.load_state_dict(weights_from_2d({"0.weight": flat.weight.detach()}, solid))
    picture = torch.randn(1, 2, 6, 6, generator=fresh())
    volume = picture.unsqueeze(2).repeat(1, 1, 5, 1, 1)
    expected = flat(picture).unsqueeze(2)
    made = solid(volume)
    assert torch.allclose(made[:, :, 1:4], expected.expand(-1, -1, 3, -1, -1), atol=1e-5)
    # The first and the last slice have a neighbour of zeros in the place of a third equal one.
    outer = 2 / 3 * expected.expand(-1, -1, 2, -1, -1)
    assert torch.allclose(made[:, :, [0, 4]], outer, atol=1e-5)


def test_acs_starts_with_the_bank_that_the_2d_network_has() -> None:
    flat = resnet18(task_of(1, 12, 12), width=4, generator=fresh(5))
    solid = resnet18(task_of(1, 12, 12, 12), convolution="acs", width=4, generator=fresh(5))
    converted = weights_from_2d(flat.state_dict(), solid)
    assert list(converted) == list(solid.state_dict())
    assert all(torch.equal(value, converted[name]) for name, value in solid.state_dict().items())


@pytest.mark.parametrize("convolution", ["2.5d", "3d", "acs"])
def test_converted_weights_pass_through_a_file(convolution: str, tmp_path: Any) -> None:
    flat, solid = of_one_slice(convolution)
    save_file(
        {name: value.contiguous() for name, value in flat.state_dict().items()}, tmp_path / "a"
    )
    save_file(weights_from_2d(load_file(tmp_path / "a"), solid), tmp_path / "b")
    before = vector.to_vector(solid)
    solid.load_state_dict(load_file(tmp_path / "b"))
    assert torch.equal(vector.to_vector(solid), before)


def test_the_page_converts_weights() -> None:
    page = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert names["weights"]["0.axial.weight"].shape == (3, 1, 1, 3, 3)
