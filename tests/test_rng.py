"""The keystream and its draws: known answers, an ECB oracle, chi-square tests."""

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from securefl.rng import BLOCK, Keystream, seeded_keystream, system_keystream

deterministic = settings(derandomize=True, max_examples=40, deadline=None, database=None)
# Share of seeds for which a right generator fails one statistical test.
FALSE_ALARM = 1e-6
KEY = bytes(range(32))


class Fixed(Keystream):
    """A keystream that repeats the same 64-bit integers forever."""

    def __init__(self, *integers: int) -> None:
        super().__init__(KEY)
        self._integers = integers

    def _next(self, size: int) -> memoryview:
        """Returns the integers, little-endian, repeated to `size` bytes."""
        block = b"".join(n.to_bytes(8, "little") for n in self._integers)
        return memoryview(block * (size // len(block) + 1))[:size]


def chi_square_is_plausible(statistic: float, *, freedom: int) -> bool:
    low = float(chi2.ppf(FALSE_ALARM / 2, freedom))
    high = float(chi2.isf(FALSE_ALARM / 2, freedom))
    return low < statistic < high


def variance_is_right(draws: NDArray[np.float64], *, std: float) -> bool:
    """Tests the sum of squares over std^2: chi-square, with one degree of freedom a draw."""
    return chi_square_is_plausible(float(((draws / std) ** 2).sum()), freedom=draws.size)


def bins_are_even(counts: NDArray[np.int64]) -> bool:
    expected = counts.sum() / counts.size
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return chi_square_is_plausible(statistic, freedom=counts.size - 1)


def test_the_bytes_are_aes_256_ctr_from_counter_zero() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, key 0: AES of counter 1
    # is the tag of test case 13, AES of counter 2 the ciphertext of test case 14, and AES of
    # counter 0 its hash key H.
    expected = (
        "dc95c078a2408989ad48a21492842087"
        + "530f8afbc74536b9a963b4f1c4cb738b"
        + "cea7403d4d606b6e074ec5d3baf39d18"
    )
    assert Keystream(bytes(32)).bytes(48).hex() == expected


@pytest.mark.parametrize("key", [KEY, bytes(32), b"\xff" * 32])
def test_the_bytes_are_ecb_of_big_endian_counter_blocks(key: bytes) -> None:
    # Past 255, so that the carry shows.
    blocks = b"".join(counter.to_bytes(16, "big") for counter in range(300))
    oracle = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)  # noqa: S305
    assert Keystream(key).bytes(len(blocks)) == oracle


@deterministic
@given(st.lists(st.integers(0, 70), max_size=6))
def test_small_reads_in_a_row_are_one_large_read(sizes: list[int]) -> None:
    stream = Keystream(KEY)
    assert b"".join(stream.bytes(size) for size in sizes) == Keystream(KEY).bytes(sum(sizes))


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
def test_a_key_that_is_not_32_bytes_is_refused_without_being_shown(length: int) -> None:
    with pytest.raises(ValueError, match=f"^a keystream needs a key of 32 bytes, got {length}$"):
        Keystream(b"\xab" * length)


def test_the_same_key_gives_the_same_numbers_of_every_kind() -> None:
    first, second = Keystream(KEY), Keystream(KEY)
    assert np.array_equal(first.integers(5), second.integers(5))
    assert np.array_equal(first.uniform(5), second.uniform(5))
    assert np.array_equal(first.normal(5), second.normal(5))
    assert np.array_equal(first.bernoulli(5, probability=0.5), second.bernoulli(5, probability=0.5))
    assert np.array_equal(first.permutation(5), second.permutation(5))
    assert first.torch_generator().initial_seed() == second.torch_generator().initial_seed()
    assert first.bytes(9) == second.bytes(9)


def test_integers_are_the_bytes_little_endian() -> None:
    data = Keystream(KEY).bytes(24)
    expected = [int.from_bytes(data[at : at + 8], "little") for at in (0, 8, 16)]
    assert Keystream(KEY).integers(3).tolist() == expected


def test_uniforms_reach_one_and_never_zero() -> None:
    # The smallest draw is 2^-53: a zero would make the logarithm of a normal infinite.
    lowest, highest, next_to_lowest = 0, 2**64 - 1, 2**11
    assert Fixed(lowest, highest, next_to_lowest).uniform(3).tolist() == [2.0**-53, 1.0, 2.0**-52]
    assert Fixed(2**11 - 1, 2**63).uniform(2).tolist() == [2.0**-53, 0.5 + 2.0**-53]


def test_uniforms_fill_their_bins_evenly() -> None:
    drawn = seeded_keystream(1, "test").uniform(200_000)
    assert drawn.min() > 0
    assert drawn.max() <= 1
    assert bins_are_even(np.histogram(drawn, bins=100, range=(0.0, 1.0))[0])


def test_the_bin_test_catches_a_slope_of_ten_percent() -> None:
    drawn = seeded_keystream(1, "test").uniform(200_000) ** 1.1
    assert not bins_are_even(np.histogram(drawn, bins=100, range=(0.0, 1.0))[0])


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_normals_are_the_formula_of_box_and_muller(size: int) -> None:
    half = math.ceil(size / 2)
    drawn = Keystream(KEY).uniform(2 * half).tolist()
    radius = [math.sqrt(-2 * math.log(u)) for u in drawn[:half]]
    turn = [2 * math.pi * u for u in drawn[half:]]
    cosines = [r * math.cos(a) for r, a in zip(radius, turn, strict=True)]
    sines = [r * math.sin(a) for r, a in zip(radius, turn, strict=True)]
    assert Keystream(KEY).normal(size) == pytest.approx(
        (cosines + sines)[:size], rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("size", [2 * BLOCK - 1, 2 * BLOCK + 1, 5 * BLOCK + 3])
def test_a_normal_does_not_depend_on_the_blocks_that_it_is_computed_in(size: int) -> None:
    half = math.ceil(size / 2)
    stream = Keystream(KEY)
    radius = np.sqrt(-2 * np.log(stream.uniform(half)))
    turn = 2 * math.pi * stream.uniform(half)
    expected = np.concatenate([radius * np.cos(turn), radius * np.sin(turn)])[:size]
    other = Keystream(KEY)
    assert other.normal(size) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    # What comes next is the same, too, also where an odd number of bytes came before.
    assert other.bytes(9) == stream.bytes(9)
    assert other.normal(size).tolist() == stream.normal(size).tolist()


def test_normals_are_added_to_what_is_there() -> None:
    total = np.arange(5.0)
    Keystream(KEY).add_normal(total)
    assert np.array_equal(total, np.arange(5.0) + Keystream(KEY).normal(5))


def test_normals_are_the_same_bits_for_every_processor_that_torch_knows() -> None:
    lines = "from tests.test_rng import KEY; from securefl.rng import Keystream; import hashlib; "
    lines += "print(hashlib.sha256(Keystream(KEY).normal(30_001).tobytes()).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", lines],
            env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for capability in ("default", "avx2")
    }
    assert len(digests) == 1


def test_the_largest_normal_is_finite() -> None:
    assert Fixed(0).normal(2)[0] == pytest.approx(math.sqrt(2 * 53 * math.log(2)))


def test_normals_have_variance_one() -> None:
    assert variance_is_right(seeded_keystream(1, "test").normal(50_001), std=1.0)


@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_the_variance_test_catches_a_scale_ten_percent_wrong(wrong: float) -> None:
    assert not variance_is_right(wrong * seeded_keystream(1, "test").normal(50_001), std=1.0)


def test_normals_have_mean_zero_no_skew_and_kurtosis_three() -> None:
    drawn = seeded_keystream(2, "test").normal(200_000)
    root = math.sqrt(drawn.size)
    # 4.9 standard errors: one seed in a million.
    assert abs(drawn.mean()) < 4.9 * 1 / root
    assert abs((drawn**3).mean()) < 4.9 * math.sqrt(15) / root
    assert abs((drawn**4).mean() - 3) < 4.9 * math.sqrt(96) / root


def test_the_two_halves_of_the_normals_are_uncorrelated() -> None:
    # They share radii and angles, so cosine taken twice would make them equal.
    first, second = seeded_keystream(3, "test").normal(100_000).reshape(2, -1)
    assert abs((first * second).mean()) < 4.9 / math.sqrt(first.size)
    assert abs((first**2 * second**2).mean() - 1) < 4.9 * math.sqrt(8) / math.sqrt(first.size)


def test_probability_zero_never_and_probability_one_always_comes_true() -> None:
    stream = Fixed(0, 2**64 - 1)
    assert not stream.bernoulli(10, probability=0.0).any()
    assert stream.bernoulli(10, probability=1.0).all()


def test_a_coin_is_true_strictly_below_probability_times_2_to_the_64() -> None:
    assert Fixed(2**62 - 1, 2**62).bernoulli(2, probability=0.25).tolist() == [True, False]
    assert Fixed(0, 1).bernoulli(2, probability=2.0**-64).tolist() == [True, False]
    assert Fixed(0, 1).bernoulli(2, probability=1.9 * 2.0**-64).tolist() == [True, False]
    assert not Fixed(0).bernoulli(2, probability=2.0**-65).any()


def rate_is_right(coins: NDArray[np.bool_], *, probability: float) -> bool:
    error = math.sqrt(probability * (1 - probability) / coins.size)
    return abs(float(coins.mean()) - probability) < 4.9 * error


@pytest.mark.parametrize("probability", [0.01, 0.5, 0.97])
def test_coins_come_true_at_their_rate(probability: float) -> None:
    coins = seeded_keystream(4, "test").bernoulli(500_000, probability=probability)
    assert coins.dtype == np.bool_
    assert rate_is_right(coins, probability=probability)
    assert not rate_is_right(coins, probability=0.9 * probability)


@pytest.mark.parametrize("probability", [-0.1, 1.0000001, math.nan, math.inf])
def test_a_probability_outside_zero_and_one_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got"):
        Keystream(KEY).bernoulli(3, probability=probability)


@deterministic
@given(st.integers(0, 200), st.integers(0, 10**6))
def test_a_permutation_holds_every_integer_once(size: int, seed: int) -> None:
    drawn = seeded_keystream(seed, "test").permutation(size)
    assert drawn.dtype == np.int64
    assert sorted(drawn.tolist()) == list(range(size))


def test_all_orders_of_four_come_equally_often() -> None:
    stream = seeded_keystream(5, "test")
    orders = [tuple(stream.permutation(4).tolist()) for _ in range(12_000)]
    counts = np.array([orders.count(order) for order in sorted(set(orders))])
    assert counts.size == 24
    assert bins_are_even(counts)


def test_equal_draws_keep_their_order() -> None:
    assert Fixed(7).permutation(4).tolist() == [0, 1, 2, 3]


def test_draws_of_size_zero_use_up_nothing() -> None:
    stream = Keystream(KEY)
    assert (stream.integers(0).size, stream.uniform(0).size, stream.normal(0).size) == (0, 0, 0)
    assert (stream.bernoulli(0, probability=0.5).size, stream.permutation(0).size) == (0, 0)
    assert stream.bytes(4) == Keystream(KEY).bytes(4)


def test_a_torch_generator_is_seeded_by_the_high_63_bits() -> None:
    assert Fixed(2**64 - 1).torch_generator().initial_seed() == 2**63 - 1
    assert Fixed(2).torch_generator().initial_seed() == 1
    drawn = [
        torch.rand(3, generator=Keystream(key).torch_generator()) for key in (KEY, KEY, bytes(32))
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_seeded_key_is_the_hash_of_its_name() -> None:
    # Typed out, so that run folders of an older version replay bit for bit.
    key = hashlib.sha256(b"securefl/7/noise/2/13").digest()
    assert seeded_keystream(7, "noise", 2, 13).bytes(32) == Keystream(key).bytes(32)


def test_seed_purpose_and_path_each_name_another_stream() -> None:
    streams = [
        seeded_keystream(1, "noise", 2, 3),
        seeded_keystream(2, "noise", 2, 3),
        seeded_keystream(1, "poisson", 2, 3),
        seeded_keystream(1, "noise", 3, 3),
        seeded_keystream(1, "noise", 2, 4),
        seeded_keystream(1, "noise", 3, 2),
        seeded_keystream(1, "noise", 23),
        seeded_keystream(1, "noise", 2),
        seeded_keystream(1, "noise"),
        seeded_keystream(12, "noise", 3),
    ]
    assert len({stream.bytes(16) for stream in streams}) == len(streams)


def test_system_keystreams_differ() -> None:
    assert len({system_keystream().bytes(16) for _ in range(50)}) == 50
