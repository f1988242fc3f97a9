"""The units of scattering coefficients, which images made by a formula give."""

import numpy as np
import pytest
import torch

from securefl.learning.models.scattering.reference import images, kinds_of, usual_units
from securefl.learning.models.scattering.transform import scattered, sizes_of_orders


def test_images_fall_with_frequency_and_are_the_same_each_time() -> None:
    pictures = images()
    assert np.array_equal(pictures, images())
    assert pictures.shape == (128, 32, 32)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.mean() == pytest.approx(0.4, abs=0.01)
    assert pictures.std() == pytest.approx(0.18, abs=0.01)
    power = (np.abs(np.fft.fft2(pictures)) ** 2).mean(axis=0)
    # From frequency 2 to 8 of 32 the amplitude falls by about a factor of four.
    assert 3 < np.sqrt(power[0, 2] / power[0, 8]) < 7


@pytest.mark.parametrize(("scales", "angles"), [(1, 4), (2, 3), (3, 4)])
def test_every_map_has_a_kind(scales: int, angles: int) -> None:
    kinds = kinds_of(scales=scales, angles=angles)
    sizes = sizes_of_orders(scales=scales, angles=angles)
    lengths = [len(kind) for kind in kinds]
    assert lengths == sorted(lengths)
    assert [lengths.count(length) for length in dict.fromkeys(lengths)] == sizes


def test_kinds_go_by_scales_and_by_the_angle_between_wavelets() -> None:
    # By hand, J = 2, L = 4: 1 + 2 x 4 maps, then second angles 0 to 3 for each first one.
    kinds = kinds_of(scales=2, angles=4)
    assert kinds[:9] == [(), *[(0,)] * 4, *[(1,)] * 4]
    apart = [kind[2] for kind in kinds[9:]]
    assert apart == [0, 1, 2, 1, 1, 0, 1, 2, 2, 1, 0, 1, 1, 2, 1, 0]
    # Second scales come within a first angle: (0, 1), then (0, 2).
    assert kinds_of(scales=3, angles=1)[4:] == [(0, 1, 0), (0, 2, 0), (1, 2, 0)]


def test_units_are_the_mean_and_the_deviation_of_each_kind() -> None:
    maps = scattered(torch.from_numpy(images()), scales=2, angles=4).numpy()
    mean, deviation = (values[:, 0, 0] for values in usual_units(scales=2, angles=4))
    kinds = kinds_of(scales=2, angles=4)
    assert len(mean) == len(deviation) == 25
    across = [place for place, kind in enumerate(kinds) if kind == (0, 1, 2)]
    assert len(across) == 4
    np.testing.assert_allclose(mean[across], maps[:, across].mean())
    np.testing.assert_allclose(deviation[across], maps[:, across].std())
    assert mean[0] == pytest.approx(0.4, abs=0.01)
    assert len(set(mean)) == len(set(kinds))


def test_coefficients_of_other_images_of_this_kind_have_about_unit_size() -> None:
    # Other sides, and so other images than those that were measured.
    maps = scattered(torch.from_numpy(images()[:, :28, 4:]), scales=2, angles=8).numpy()
    mean, deviation = usual_units(scales=2, angles=8)
    usual = (maps - mean) / deviation
    assert np.abs(usual.mean(axis=(0, 2, 3))).max() < 0.4
    assert np.abs(usual.std(axis=(0, 2, 3)) - 1).max() < 0.4
