"""Noise on counts: integers, of the right variance, whatever the counts are."""

import math

import numpy as np
import pytest

from securefl.privacy.noise.gaussian import hardened_normal
from securefl.privacy.noise.integers import noisy_counts
from securefl.rng import seeded_keystream
from tests.privacy.test_gaussian import variance_is_right


def test_noise_is_rounded_and_added_once() -> None:
    counts = np.array([0, 7, 1000, 3], dtype=np.int64)
    normals = hardened_normal(4, seeded_keystream(1, "test")).tolist()
    noisy = noisy_counts(counts, std=12.5, stream=seeded_keystream(1, "test"))
    expected = [count + round(12.5 * z) for count, z in zip(counts.tolist(), normals, strict=True)]
    assert noisy.tolist() == expected
    assert noisy.dtype == np.int64


def test_the_noise_does_not_depend_on_the_counts() -> None:
    # Neighbouring counts give the same distribution, moved by a whole number.
    few = np.zeros(500, dtype=np.int64)
    many = few + 123_456_789
    noise = noisy_counts(few, std=3.0, stream=seeded_keystream(2, "test"))
    moved = noisy_counts(many, std=3.0, stream=seeded_keystream(2, "test"))
    assert np.array_equal(noise, moved - many)
    assert noise.min() < 0 < noise.max()


@pytest.mark.parametrize("std", [1.0, 30.0])
def test_the_variance_is_that_of_rounded_noise(std: float) -> None:
    # Rounding adds a twelfth, to within 1e-8 at a deviation of 1.
    zeros = np.zeros(50_001, dtype=np.int64)
    noise = noisy_counts(zeros, std=std, stream=seeded_keystream(3, "test")).astype(np.float64)
    assert variance_is_right(noise, std=math.sqrt(std**2 + 1 / 12))
    assert not variance_is_right(1.1 * noise, std=math.sqrt(std**2 + 1 / 12))


@pytest.mark.parametrize("std", [0.0, -3.0, math.nan, math.inf, 2.0**24 + 1])
def test_noise_without_a_usable_deviation_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match=r"must have a deviation in \(0, 2\^24\]"):
        noisy_counts(np.zeros(2, dtype=np.int64), std=std, stream=seeded_keystream(4, "test"))
