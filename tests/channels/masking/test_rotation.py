"""The public rotation of updates, and roundings that are held to a norm."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import hadamard as sylvester

from securefl.channels.masking.noise import padded
from securefl.channels.masking.rotation import Rotation, hadamard, rounded_within
from securefl.rng import Keystream, seeded_keystream

SESSION = bytes(range(16))


def normals(size: int, seed: int = 0) -> NDArray[np.float64]:
    return seeded_keystream(seed, "vector").normal(size)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 32, 64, 512, 1024])
def test_the_transform_is_the_matrix_of_sylvester(n: int) -> None:
    vector = normals(n)
    expected = sylvester(n) @ vector / math.sqrt(n)
    assert hadamard(vector.copy()) == pytest.approx(expected, abs=1e-12)


def test_the_transform_of_a_long_vector_is_its_own_inverse() -> None:
    # Longer than a tile, so that it goes through in parts.
    vector = normals(2**17)
    turned = hadamard(vector.copy())
    assert turned @ turned == pytest.approx(vector @ vector, rel=1e-12)
    assert np.abs(hadamard(turned) - vector).max() < 1e-11


@pytest.mark.parametrize(("d", "words"), [(1, 1), (2, 2), (3, 4), (650, 1024), (1024, 1024)])
def test_a_vector_is_padded_to_a_power_of_two_and_comes_back(d: int, words: int) -> None:
    assert padded(d) == words
    rotation = Rotation(SESSION, 3, d)
    turned = rotation.turned(normals(d))
    assert turned.shape == (words,)
    assert rotation.turned_back(turned) == pytest.approx(normals(d), abs=1e-12)


def test_a_rotation_keeps_lengths_and_sums() -> None:
    rotation = Rotation(SESSION, 0, 300)
    one, two = normals(300, 1), normals(300, 2)
    turned = rotation.turned(one)
    assert turned @ turned == pytest.approx(one @ one, rel=1e-12)
    total = turned + rotation.turned(two)
    assert rotation.turned_back(total) == pytest.approx(one + two, abs=1e-12)


def test_a_rotation_spreads_one_coordinate_over_all() -> None:
    vector = np.zeros(300)
    vector[17] = 5.0
    assert np.abs(Rotation(SESSION, 0, 300).turned(vector)) == pytest.approx(5 / math.sqrt(512))
    # Signs at random: else equal coordinates would add up in one.
    flat = Rotation(SESSION, 0, 512).turned(np.ones(512))
    assert np.abs(flat).max() < 7


def test_each_session_and_round_has_a_rotation_of_its_own() -> None:
    vector = normals(64)
    turned = [
        tuple(Rotation(session, round, 64).turned(vector))
        for session, round in [(SESSION, 0), (SESSION, 1), (b"another session!", 0)]
    ]
    assert len(set(turned)) == 3
    assert turned[0] == tuple(Rotation(SESSION, 0, 64).turned(vector))


def test_signs_come_from_the_hash_of_session_and_round() -> None:
    # By hand: SHA-256 of label, session and round; AES-256-CTR under it; bits from the highest on.
    import hashlib

    key = hashlib.sha256(b"securefl masking 2, rotation" + SESSION + bytes([7] + [0] * 7)).digest()
    first = Keystream(key).bytes(1)[0]
    signs = [-1 if first >> (7 - at) & 1 else 1 for at in range(8)]
    expected = sylvester(8) @ np.array(signs) / math.sqrt(8)
    assert Rotation(SESSION, 7, 8).turned(np.ones(8)) == pytest.approx(expected)


def test_roundings_go_up_or_down_without_bias() -> None:
    vector = np.array([0.25, -0.25, 3.0, -2.9]).repeat(20_000)
    rounded = rounded_within(vector, largest=10**9, stream=seeded_keystream(0, "rounding"))
    assert np.abs(rounded - vector).max() < 1
    means = rounded.reshape(4, -1).mean(axis=1)
    assert means == pytest.approx([0.25, -0.25, 3.0, -2.9], abs=4.9 * 0.5 / math.sqrt(20_000))
    assert set(rounded[40_000:60_000]) == {3.0}


def test_the_first_rounding_within_the_bound_is_taken() -> None:
    # The stream's draws: above one half, then below, so that .5 goes down first, then up.
    class Draws(Keystream):
        def __init__(self, *words: int) -> None:
            self.words = list(words)

        def bytes(self, size: int) -> bytes:
            """Returns one word, repeated."""
            return self.words.pop(0).to_bytes(4, "little") * (size // 4)

    vector = np.array([0.5, 1.5, -0.5])
    high, low = 2**31, 2**31 - 1
    assert rounded_within(vector, largest=6, stream=Draws(high, low, low, low)).tolist() == [
        0,
        1,
        -1,
    ]
    assert rounded_within(vector, largest=5, stream=Draws(low, high, low, low)).tolist() == [
        1,
        2,
        0,
    ]
    # 1 + 4 + 0 is above 3: the second is the first within the bound.
    draws = Draws(low, high, low, low)
    assert rounded_within(vector, largest=3, stream=draws).tolist() == [0, 1, -1]
    # All four are drawn, whichever is taken: time must not depend on records.
    assert not draws.words
    # None is within the bound: towards zero.
    assert rounded_within(vector, largest=2, stream=Draws(low, low, low, low)).tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_no_rounding_is_longer_than_the_bound(seed: int) -> None:
    # The worst fractions, and a bound that most roundings exceed.
    vector = np.floor(3 * normals(256, seed)) + 0.5
    largest = math.ceil(vector @ vector) + 40
    stream = seeded_keystream(seed, "rounding")
    for _ in range(20):
        rounded = rounded_within(vector, largest=largest, stream=stream)
        assert rounded @ rounded <= largest
