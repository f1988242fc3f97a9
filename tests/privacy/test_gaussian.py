"""The noise of DP releases: the sum of four draws, its variance, its shape."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from securefl.privacy.noise.gaussian import hardened_normal, hardened_normals
from securefl.rng import Keystream, seeded_keystream

# Share of seeds for which right noise fails one statistical test.
FALSE_ALARM = 1e-6
KEY = bytes(range(32))


def variance_is_right(draws: NDArray[np.float64], *, std: float) -> bool:
    """Tests the sum of squares over std^2: chi-square, with one degree of freedom a draw."""
    statistic = float(((draws / std) ** 2).sum())
    low = float(chi2.ppf(FALSE_ALARM / 2, draws.size))
    high = float(chi2.isf(FALSE_ALARM / 2, draws.size))
    return low < statistic < high


def kurtosis_is_three(draws: NDArray[np.float64]) -> bool:
    return bool(abs((draws**4).mean() - 3) < 4.9 * math.sqrt(96 / draws.size))


def test_noise_has_variance_one() -> None:
    assert variance_is_right(hardened_normal(50_001, seeded_keystream(1, "test")), std=1.0)


@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_the_variance_test_catches_a_scale_ten_percent_wrong(wrong: float) -> None:
    draws = hardened_normal(50_001, seeded_keystream(1, "test"))
    assert not variance_is_right(wrong * draws, std=1.0)


def test_noise_has_mean_zero_and_kurtosis_three() -> None:
    drawn = hardened_normal(200_000, seeded_keystream(2, "test"))
    assert abs(drawn.mean()) < 4.9 / math.sqrt(drawn.size)
    assert kurtosis_is_three(drawn)


def test_the_kurtosis_test_catches_the_sum_of_four_uniforms() -> None:
    four = seeded_keystream(2, "test").uniform(800_000).reshape(4, -1).sum(axis=0)
    assert not kurtosis_is_three((four - 2) * math.sqrt(3))


def test_a_coordinate_of_noise_is_the_sum_of_four_draws_over_two() -> None:
    # Four calls: within one call, two coordinates share a radius and an angle.
    stream = Keystream(KEY)
    draws = [stream.normal(3).tolist() for _ in range(4)]
    expected = [sum(draw[at] for draw in draws) / 2 for at in range(3)]
    assert hardened_normal(3, Keystream(KEY)).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_draw_is_spent_once() -> None:
    stream = Keystream(KEY)
    other = Keystream(KEY)
    hardened_normal(10, stream)
    for _ in range(4):
        other.normal(10)
    assert stream.bytes(16) == other.bytes(16)


def test_coordinates_of_noise_are_uncorrelated() -> None:
    drawn = hardened_normal(100_000, seeded_keystream(3, "test"))
    for lag in (1, 2, drawn.size // 4, drawn.size // 2):
        pairs = drawn[lag:] * drawn[:-lag]
        assert abs(pairs.mean()) < 4.9 / math.sqrt(pairs.size)


def test_noise_is_float64_of_the_size_asked_for() -> None:
    for size in (0, 1, 2, 5):
        drawn = hardened_normal(size, Keystream(KEY))
        assert drawn.shape == (size,)
        assert drawn.dtype == np.float64


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [1],
        [8],
        [1, 2, 3],
        [72, 8, 8192, 1, 9, 40_001, 7, 7],
        [16] * 40,
        [8191, 1, 1],
        [8192, 1],
    ],
    ids=str,
)
def test_the_noise_of_many_parameters_is_that_of_one_after_another(sizes: list[int]) -> None:
    together, one_by_one = (seeded_keystream(3, "noise") for _ in "ab")
    found = list(hardened_normals(sizes, together))
    expected = [hardened_normal(size, one_by_one) for size in sizes]
    assert [noise.size for noise in found] == sizes
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert together.bytes(16) == one_by_one.bytes(16)
