"""Encoded updates: the same words as any masked upload, but for updates beyond the largest norm."""

from typing import Any

import numpy as np
import pytest
import torch

from securefl.channels.masking.sketches.matrix import Matrix, centred
from securefl.channels.masking.sketches.words import ROOM, encoded_words
from securefl.channels.protocol import ClientUpdate
from securefl.rng import seeded_keystream
from tests.channels.masking.parties import HASH
from tests.channels.masking.sketches.parties import sketch_terms

N = 6
CLIP = 8.0
LARGEST = 4 / 3 * CLIP * N


def words_of(delta: torch.Tensor, weight: int = 1, **changes: Any) -> np.ndarray[Any, Any]:
    """Returns the encoded words as signed integers."""
    terms = sketch_terms(N, d=len(delta), **changes)
    update = ClientUpdate(delta, weight, None, HASH)
    words = encoded_words(update, weight, terms, stream=seeded_keystream(0, "rounding"))
    return words.view(np.int32).astype(np.int64)


def step(**changes: Any) -> float:
    return sketch_terms(N, **changes).code.step


def test_a_short_update_is_encoded_as_in_any_masked_upload() -> None:
    delta = torch.tensor([0.5, -8.0, 100.0, float("nan"), -float("inf")])
    levels = sketch_terms(N).code.levels  # type: ignore[union-attr]
    assert levels == (2**31 - 1) // (ROOM * N)
    expected = [round(0.5 / step()), -levels, levels, 0, -levels]
    assert words_of(delta).tolist() == expected


def test_a_long_update_is_brought_to_the_largest_norm_and_keeps_its_direction() -> None:
    delta = torch.tensor([3.0, -4.0]).repeat(5000)
    words = words_of(delta) * step()
    assert np.linalg.norm(delta) > 3 * LARGEST
    assert np.linalg.norm(words) == pytest.approx(LARGEST, rel=1e-6)
    assert words[0] / words[1] == pytest.approx(-3 / 4, rel=1e-6)


def test_an_update_of_the_largest_norm_is_left_as_it_is() -> None:
    coordinate = LARGEST / 100
    delta = torch.full((10_000,), coordinate)
    assert abs(words_of(0.999999 * delta)[0] * step() - 0.999999 * coordinate) < step()
    assert words_of(2 * delta)[0] * step() == pytest.approx(coordinate, rel=1e-6)


def test_the_norm_counts_clipped_coordinates_and_the_weight() -> None:
    # Beyond the clip, a coordinate counts as the clip: 100 of them have norm 80 > 64.
    delta = torch.full((100,), 1e6)
    assert words_of(delta)[0] * step() == pytest.approx(LARGEST / 10, rel=1e-6)
    # At half of the largest weight the norm is 40, below 64.
    weights = dict.fromkeys(range(N), 2)
    words = words_of(delta, 2, weights=weights, max_weight=4)
    assert words[0] * step() == pytest.approx(4.0, rel=1e-6)


def test_what_is_not_finite_never_decides_the_norm_alone() -> None:
    delta = torch.full((10_000,), float("inf"))
    delta[0] = float("nan")
    words = words_of(delta) * step()
    assert words[0] == 0
    assert np.linalg.norm(words) == pytest.approx(LARGEST, rel=1e-6)


def test_the_sketch_of_the_longest_update_does_not_wrap_around() -> None:
    words = words_of(torch.full((20_000,), 1e6))
    matrix = Matrix(b"a" * 32, size=1024, d=20_000)
    sketch = np.array(centred(matrix.sketch(words.astype(np.uint32))), dtype=np.float64)
    # Its coordinates have a standard deviation of 2^31 / 8.49: the norm is as it should be.
    assert np.sqrt(np.mean(sketch**2)) == pytest.approx(2**31 / 8.485, rel=0.08)
    assert np.abs(sketch).max() < 2**31 * 0.6
