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


def test_slices_outside_of_the_volume_are_padding() -> None:
    matrix = places_of(np.array([0.0, 1, 2]), 7, 1.0)
    assert matrix.sum(axis=1).tolist() == [0, 0, 1, 1, 1, 0, 0]
    # A slice reaches half a gap: -0.7 and 2.7 lie beyond.
    assert places_of(np.array([0.0, 1, 2]), 3, 1.7).sum(axis=1).tolist() == [0, 1, 0]
