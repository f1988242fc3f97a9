"""Record-local steps for images: known answers by hand, and each image by itself."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from securefl.data.harmonise import images
from securefl.data.harmonise.images import nyul, window, zscore
from securefl.rng import seeded_keystream

LANDMARKS = (20.0, 60.0, 150.0, 230.0)
PERCENTILES = (0.0, 30.0, 70.0, 100.0)
STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "window": partial(window, low=20.0, high=220.0),
    "zscore": zscore,
    "clipped zscore": partial(zscore, clip=1.0),
    "nyul": partial(nyul, landmarks=LANDMARKS, percentiles=PERCENTILES),
}


def row(*values: float, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Returns one image of one line."""
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1)


def noise(shape: tuple[int, ...], seed: int, *, decimals: bool = False) -> Tensor:
    stream = seeded_keystream(seed, "images")
    pixels = np.frombuffer(stream.bytes(int(np.prod(shape))), dtype=np.uint8).reshape(shape)
    # Few levels, so that percentiles meet.
    made = torch.from_numpy(pixels.copy())
    return made.float() / 7 - 3 if decimals else made // 16 * 16


def test_a_window_of_bytes_known_answer() -> None:
    # (120 - 20) / 200 * 255 = 127.5, which rounds to the even 128.
    made = window(row(0, 20, 60, 120, 220, 255), low=20.0, high=220.0)
    assert made.dtype == torch.uint8
    assert made.flatten().tolist() == [0, 0, 51, 128, 255, 255]


def test_a_window_of_decimals_ends_at_minus_one_and_one() -> None:
    made = window(row(-5.0, 10.0, 15.0, 40.0, 99.0, dtype=torch.float32), low=10.0, high=40.0)
    assert made.dtype == torch.float32
    assert made.flatten().tolist() == pytest.approx([-1, -1, -2 / 3, 1, 1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_zscore_known_answer(dtype: torch.dtype) -> None:
    # Mean 3, squares 4 + 1 + 0 + 9 over 4: a deviation of sqrt(3.5). Over 3 it would be another.
    made = zscore(row(1, 2, 3, 6, dtype=dtype))
    assert made.dtype == torch.float32
    expected = [-1.0690450, -0.5345225, 0.0, 1.6035675]
    assert made.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_clip_bounds_zscores_on_both_sides() -> None:
    made = zscore(row(1, 2, 3, 6), clip=0.75)
    assert made.flatten().tolist() == pytest.approx([-0.75, -0.5345225, 0.0, 0.75], abs=1e-6)


@pytest.mark.parametrize("value", [0.1, 7.0, 1e6])
def test_a_constant_image_becomes_zeros(value: float) -> None:
    assert zscore(torch.full((2, 3, 5, 5), value)).abs().max() == 0
    assert zscore(torch.full((2, 3, 5, 5), 255, dtype=torch.uint8)).abs().max() == 0


def test_nyul_known_answer() -> None:
    # Quartiles 10, 20, 30. Below 10 the line of 10 to 20 goes on: 50 - 10 * 5 = 0. Above 30 that of
    # 20 to 30 does: 200 + 10 * 10 = 300, of which a byte keeps 255.
    quartiles = {"landmarks": (50.0, 100.0, 200.0), "percentiles": (25.0, 50.0, 75.0)}
    pixels = (0, 10, 20, 30, 40)
    made = nyul(row(*pixels), **quartiles)
    assert made.dtype == torch.uint8
    assert made.flatten().tolist() == [0, 50, 100, 200, 255]
    decimals = nyul(row(*pixels, dtype=torch.float32), **quartiles)
    assert decimals.dtype == torch.float32
    assert decimals.flatten().tolist() == [0, 50, 100, 200, 300]


def test_nyul_interpolates_percentiles_between_sorted_values() -> None:
    # Sorted 10, 50: the median is 30, which would become 100.
    ends = {"landmarks": (0.0, 100.0, 110.0), "percentiles": (0.0, 50.0, 100.0)}
    assert nyul(row(50, 10), **ends).flatten().tolist() == [110, 0]
    # Sorted 0, 8, 10: the 30th percentile lies at place .6, at 4.8. Then 8 is (8 - 4.8) / 5.2 of
    # the way from 104 to 208, at 168.
    thirds = {"landmarks": (0.0, 104.0, 208.0), "percentiles": (0.0, 30.0, 100.0)}
    assert nyul(row(8, 0, 10), **thirds).flatten().tolist() == [168, 0, 208]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_value_of_several_percentiles_becomes_the_middle_of_their_landmarks(
    dtype: torch.dtype,
) -> None:
    # Percentiles 0 and 50 of 0, 0, 0, 100 are both 0: the middle of 10 and 100.
    steps = {"landmarks": (10.0, 100.0, 200.0), "percentiles": (0.0, 50.0, 100.0)}
    made = nyul(row(0, 0, 100, 0, dtype=dtype), **steps)
    assert made.flatten().tolist() == [55, 55, 200, 55]
    assert nyul(row(7, 7, dtype=dtype), **steps).flatten().tolist() == [105, 105]


@pytest.mark.parametrize("percentiles", [(0.0, 50.0, 100.0), (10.0, 25.0, 90.0)])
def test_nyul_is_numpys_interpolation_between_numpys_percentiles(
    percentiles: tuple[float, ...],
) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 2, 5, 6)))
    made = nyul(pixels, landmarks=(1.0, 3.0, 4.0), percentiles=percentiles)
    for image, result in zip(pixels, made, strict=True):
        sources = np.percentile(image.numpy(), percentiles)
        inside = (image >= sources[0]) & (image <= sources[-1])
        expected = np.interp(image.numpy(), sources, [1.0, 3.0, 4.0])
        assert result[inside].numpy() == pytest.approx(expected[inside.numpy()], abs=1e-6)
        below = image < sources[0]
        slope = 2 / (sources[1] - sources[0])
        assert result[below].numpy() == pytest.approx(
            1 + slope * (image[below].numpy() - sources[0]), abs=1e-5
        )


def test_decimals_beyond_the_outer_percentiles_stay_finite() -> None:
    # Percentiles 1e-38 apart, and values of 3e38: the outer lines would leave float32.
    steep = row(-3e38, 0.0, 1e-38, 2e-38, 3e38, dtype=torch.float32)
    mapped = nyul(steep, landmarks=(10.0, 90.0, 200.0), percentiles=(25.0, 50.0, 75.0))
    assert mapped.flatten().tolist() == [-1e6, 10.0, 90.0, 200.0, 1e6]


def test_landmarks_beyond_the_bound_are_reached() -> None:
    image = row(0.0, 1.0, 2.0, dtype=torch.float32)
    mapped = nyul(image, landmarks=(0.0, 4e6), percentiles=(0.0, 50.0))
    assert mapped.flatten().tolist() == [0.0, 4e6, 4e6]


def test_bytes_differ_from_decimals_by_their_rounding_only() -> None:
    pixels = noise((20, 1, 6, 6), 3)
    step = partial(nyul, landmarks=LANDMARKS, percentiles=PERCENTILES)
    difference = step(pixels).float() - step(pixels.float()).clamp(0, 255)
    assert difference.abs().max() <= 0.5


@pytest.mark.parametrize("decimals", [False, True])
@pytest.mark.parametrize("name", STEPS)
@given(seed=st.integers(0, 10_000), records=st.integers(1, 7), position=st.integers(0, 6))
def test_what_an_image_becomes_depends_on_no_other_image(
    name: str, decimals: bool, seed: int, records: int, position: int
) -> None:
    step = STEPS[name]
    pixels = noise((records, 2, 3, 4), seed, decimals=decimals)
    index = position % records
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "BLOCK_VALUES", 50)  # two images at a time
        together = step(pixels)
    alone = step(pixels[index : index + 1])
    assert together.shape == pixels.shape
    assert together.dtype == alone.dtype
    assert torch.equal(together[index], alone[0])


@pytest.mark.parametrize("name", ["zscore", "nyul"])
def test_a_step_undoes_a_gain_and_an_offset(name: str) -> None:
    pixels = torch.from_numpy(np.random.default_rng(1).uniform(size=(5, 1, 8, 8))) * 100
    made = STEPS[name](pixels)
    assert torch.allclose(STEPS[name](0.6 * pixels + 9), made, atol=1e-4)


@pytest.mark.parametrize("name", STEPS)
def test_the_order_of_an_images_values_stays(name: str) -> None:
    for image in noise((10, 1, 5, 5), 8):
        order = image.flatten().argsort(stable=True)
        made = STEPS[name](image[None])[0].flatten()[order].double()
        assert bool((made.diff() >= 0).all())


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (3, 1, 4, 4, 4), (2, 3, 4, 4)])
def test_a_step_keeps_the_shape_and_leaves_the_records_alone(
    name: str, shape: tuple[int, ...]
) -> None:
    pixels = noise(shape, 5)
    before = pixels.clone()
    assert STEPS[name](pixels).shape == shape
    assert torch.equal(pixels, before)
