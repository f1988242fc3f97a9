"""The scattering transform: Kymatio's answers, a slow version, and what it does not change."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.learning.models.scattering.filters import low_pass, wavelets
from securefl.learning.models.scattering.transform import (
    scattered,
    side_of_maps,
    sizes_of_orders,
)

VECTORS = Path(__file__).parents[2] / "vectors"
PUBLISHED = json.loads((VECTORS / "kymatio_scattering.json").read_text(encoding="utf-8"))["answers"]

usual = partial(scattered, scales=2, angles=8)


def formula(height: int, width: int) -> Tensor:
    """The image that Kymatio's answers were made of."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves = np.sin(0.02 * x**2 + 0.4 * y) + 0.5 * np.cos(0.7 * x - 0.03 * y**2)
    return torch.from_numpy(waves + 0.01 * (x + 2 * y))[None]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("published", PUBLISHED, ids=lambda answer: f"J={answer['scales']}")
def test_maps_are_those_of_kymatio(published: dict[str, Any], dtype: torch.dtype) -> None:
    image = formula(*published["image"]).to(dtype)
    maps = scattered(image, scales=published["scales"], angles=published["angles"])[0]
    assert list(maps.shape) == published["maps"]
    places = range(min(maps.shape[1:]))
    np.testing.assert_allclose(maps.mean(dim=(1, 2)), published["means"], atol=1e-6)
    np.testing.assert_allclose(maps[:, places, places], published["diagonals"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28), (30, 29), (64, 64)], ids=lambda shape: f"{shape[0]}")
def test_all_values_of_all_maps_are_those_of_kymatio(shape: tuple[int, int]) -> None:
    # Only here: the package as a whole does not import next to newer versions of scipy.
    from kymatio.scattering2d.frontend.numpy_frontend import ScatteringNumPy2D

    images = noise(3, *shape)
    theirs = ScatteringNumPy2D(J=2, shape=shape, L=8)(images.numpy())
    np.testing.assert_allclose(usual(images), theirs, atol=1e-5)


def slow(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two orders by J = 2, L = 8 at every pixel of the mirrored image; only then some are taken."""
    padded = np.pad(image, 4, mode="reflect")
    side = padded.shape[0]
    gaussian = np.outer(low_pass(side, 2), low_pass(side, 2))

    def convolved(signal: NDArray[Any], spectrum: NDArray[np.float64]) -> NDArray[Any]:
        return np.asarray(np.fft.ifft2(np.fft.fft2(signal) * spectrum))

    first = [[np.abs(convolved(padded, w)) for w in wavelets((side, side), j, 8)] for j in (0, 1)]
    coarse = wavelets((side, side), 1, 8)
    second = [np.abs(convolved(moduli, w)) for moduli in first[0] for w in coarse]
    signals = [padded, *first[0], *first[1], *second]
    return np.array([convolved(each, gaussian).real[4:-4:4, 4:-4:4] for each in signals])


def test_leaving_pixels_out_on_the_way_changes_little() -> None:
    # A smooth image has nothing at frequencies that alias.
    smooth = torch.nn.functional.avg_pool2d(noise(1, 30, 30).double(), 3, stride=1)
    assert smooth.shape == (1, 28, 28)
    maps = usual(smooth)[0].numpy()
    expected = slow(smooth[0].numpy())
    for order in (slice(0, 1), slice(1, 17), slice(17, 81)):
        error = np.linalg.norm(maps[order] - expected[order])
        assert error < 0.05 * np.linalg.norm(expected[order])


def test_orders_have_their_numbers_of_maps() -> None:
    # By hand: 1, J L, and for every pair of scales L^2.
    assert sizes_of_orders(scales=2, angles=8) == [1, 16, 64]
    assert sizes_of_orders(scales=3, angles=4) == [1, 12, 48]
    assert sizes_of_orders(scales=1, angles=8) == [1, 8]
    for scales, angles in ((1, 1), (3, 2)):
        maps = scattered(noise(1, 32, 32), scales=scales, angles=angles)
        assert maps.shape[1] == sum(sizes_of_orders(scales=scales, angles=angles))


@pytest.mark.parametrize("side", [5, 8, 27, 28, 29, 31, 32])
def test_maps_have_a_place_for_every_four_pixels(side: int) -> None:
    assert usual(noise(1, side, 28)).shape == (1, 81, side_of_maps(side, scales=2), 7)
    assert side_of_maps(side, scales=2) == side // 4
    # Four pixels are too few to mirror four of them.
    assert side_of_maps(4, scales=2) == 0


def test_a_wave_shows_in_the_map_of_its_own_direction_and_scale() -> None:
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    down, across = torch.cos(3 * torch.pi / 4 * y), torch.cos(3 * torch.pi / 8 * x)
    maps = usual(torch.stack([down, across])).mean(dim=(2, 3))[:, 1:17]
    # j = 0 and the fourth angle; j = 1 and the last one.
    assert maps.argmax(dim=1).tolist() == [3, 15]


def test_coefficients_have_no_more_energy_than_the_image() -> None:
    images = noise(4, 28, 28)
    mirrored = torch.nn.functional.pad(images[:, None], (4, 4, 4, 4), mode="reflect")
    # A place of a map stands for sixteen pixels.
    energy = 16 * usual(images).square().sum(dim=(1, 2, 3))
    assert bool((energy <= mirrored.square().sum(dim=(1, 2, 3))).all())


def test_coefficients_grow_with_contrast_and_only_the_average_with_brightness() -> None:
    image = noise(1, 28, 28)
    maps, brighter, stronger = usual(image), usual(image + 5), usual(3 * image)
    torch.testing.assert_close(stronger, 3 * maps, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(brighter[:, 1:], maps[:, 1:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(brighter[:, 0], maps[:, 0] + 5.0, atol=1e-3, rtol=0)


def test_averages_hardly_notice_that_a_pattern_moves() -> None:
    image = torch.zeros(1, 48, 48)
    image[:, 18:30, 18:30] = noise(12, 12)
    moved = torch.roll(image, (2, -1), (1, 2))
    before, after = usual(image).mean(dim=(2, 3)), usual(moved).mean(dim=(2, 3))
    assert float((after - before).norm() / before.norm()) < 0.02
    # The pixels themselves have become others.
    assert float((moved - image).norm() / image.norm()) > 1


def test_an_image_has_the_same_coefficients_among_any_others() -> None:
    images = noise(19, 28, 28)
    together = usual(images)
    for place in (0, 7, 8, 18):
        assert torch.equal(usual(images[place : place + 1])[0], together[place])


def test_gradients_pass_through_to_pixels() -> None:
    image = noise(1, 8, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(partial(scattered, scales=1, angles=2), (image,))
