"""Resampling of one axis: by hand, and against Pillow and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from securefl.data.dicom.resample import along, places_of, scaled, spaced


def test_halving_an_axis_weighs_four_pixels_by_hand() -> None:
    # Pixel 1 of the result lies at 2.5; the triangle of radius 2 weighs 1 to 4 by 1, 3, 3, 1.
    assert (scaled(6, 3).toarray()[1] * 8).tolist() == [0, 1, 3, 3, 1, 0]
    # At the edge, what lies outside is left out: 3, 3 and 1 of 7.
    assert scaled(6, 3).toarray()[0] * 7 == pytest.approx([3, 3, 1, 0, 0, 0])


def test_the_same_size_changes_nothing() -> None:
    assert scaled(5, 5).toarray().tolist() == np.eye(5).tolist()
    assert spaced(5, 5, 1.0).toarray().tolist() == np.eye(5).tolist()


def test_a_declared_spacing_crops_or_pads_around_the_centre() -> None:
    assert spaced(5, 3, 1.0).toarray().tolist() == np.eye(5)[1:4].tolist()
    padded = np.zeros((7, 5))
    padded[1:6] = np.eye(5)
    assert spaced(5, 7, 1.0).toarray().tolist() == padded.tolist()
    # Half the spacing: 1.5, 2, 2.5 around the centre 2.
    assert (spaced(5, 3, 0.5).toarray() @ [0, 10, 20, 30, 40]).tolist() == [15, 20, 25]


@pytest.mark.parametrize("size", [(7, 9), (12, 30), (64, 64), (3, 50)])
def test_scaling_is_pillow_s_bilinear_filter(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((31, 45), dtype=np.float32)
    expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    ours = along(image, scaled(31, size[0]), scaled(45, size[1]))
    assert ours == pytest.approx(np.asarray(expected), abs=1e-5)


def test_a_finer_spacing_is_scipy_s_linear_interpolation() -> None:
    image = np.random.default_rng(0).random((9, 11), dtype=np.float32)
    points = np.meshgrid(np.linspace(1, 7, 13), np.linspace(2, 8, 13), indexing="ij")
    expected = ndimage.map_coordinates(image, points, order=1)
    assert along(image, spaced(9, 13, 0.5), spaced(11, 13, 0.5)) == pytest.approx(
        expected, abs=1e-6
    )


@given(pixels=st.integers(1, 40), size=st.integers(1, 40), step=st.floats(0.1, 10))
def test_each_pixel_is_a_mean_or_padding(pixels: int, size: int, step: float) -> None:
    for matrix in (scaled(pixels, size), spaced(pixels, size, step)):
        sums = matrix.toarray().sum(axis=1)
        assert matrix.toarray().min() >= 0
        assert np.all((np.abs(sums - 1) < 1e-5) | (sums == 0))
    assert np.all(scaled(pixels, size).toarray().sum(axis=1) > 0)


@given(slices=st.integers(2, 20), size=st.integers(1, 30), gap=st.floats(0.2, 8))
def test_even_slices_are_resampled_like_pixels(slices: int, size: int, gap: float) -> None:
    positions = -7.5 + gap * np.arange(slices, dtype=np.float64)
    assert places_of(positions, size, None) == pytest.approx(
        scaled(slices, size).toarray(), abs=1e-5
    )


def test_uneven_slices_are_means_by_distance() -> None:
    # Slices at 0, 2, 4.8 and 6.8; the middle is 3.4, half way between 2 and 4.8.
    matrix = places_of(np.array([0, 2, 4.8, 6.8]), 1, 1.0)
    assert matrix[0] == pytest.approx([0, 0.5, 0.5, 0])


UNEVEN = np.array([0, 1, 2.4, 3.4, 4.8, 5.8, 7.2, 8.2])


@pytest.mark.parametrize("spacing", [0.3, 0.82, 1.1])
def test_a_finer_depth_is_numpy_s_interpolation_at_the_true_positions(spacing: float) -> None:
    values = np.random.default_rng(0).random(8)
    centres = 4.1 + (np.arange(7) - 3) * spacing
    expected = np.interp(centres, UNEVEN, values)
    assert places_of(UNEVEN, 7, spacing) @ values == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("size", "spacing"), [(1, 2.0), (3, 8.2 / 7 * 1.5), (1, 3.1)], ids=str)
def test_a_coarser_depth_keeps_the_place_of_uneven_slices(size: int, spacing: float) -> None:
    # A ramp of the positions; symmetric around the middle, each result is its own centre.
    ramp = places_of(UNEVEN, size, spacing) @ UNEVEN
    assert ramp[(size - 1) // 2] == pytest.approx(4.1, abs=1e-5)
    # Positions that are uneven on one side only.
    positions = np.array([0, 3, 5, 7, 9, 11, 13, 15.0])
    centres = 7.5 + (np.arange(2) - 0.5) * 15 / 7 * 2
    assert places_of(positions, 2, 15 / 7 * 2) @ positions == pytest.approx(centres, abs=1e-5)


def test_a_coarser_depth_is_the_filter_over_even_positions_by_hand() -> None:
    # Even positions are 0, 2.5, 5 and 7.5. The filter of twice their gap weighs them by 3, 3 and 1
    # of 7, and by 1, 3 and 3.
    positions = np.array([0, 2, 4.5, 7.5])
    values = np.array([10, 50, 20, 90])
    even = np.interp([0, 2.5, 5, 7.5], positions, values)
    expected = [even[:3] @ [3, 3, 1] / 7, even[1:] @ [1, 3, 3] / 7]
    assert places_of(positions, 2, None) @ values == pytest.approx(expected, rel=1e-6)


def test_slices_outside_of_the_volume_are_padding() -> None:
    matrix = places_of(np.array([0.0, 1, 2]), 7, 1.0)
    assert matrix.sum(axis=1).tolist() == [0, 0, 1, 1, 1, 0, 0]
    # A slice reaches half a gap: -0.7 and 2.7 lie beyond.
    assert places_of(np.array([0.0, 1, 2]), 3, 1.7).sum(axis=1).tolist() == [0, 1, 0]
