"""The field of 2^127 - 1: its prime, one encoding an element, uniform draws, refusals."""

import hashlib
import secrets

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from securefl.channels.masking.sketches.field import (
    ELEMENT_BYTES,
    P,
    centred,
    dot,
    expanded,
    packed,
    random_elements,
    unpacked,
    value_at,
)
from securefl.errors import ProtocolError

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
# Share of runs in which right draws fail the one test that uses the system's CSPRNG.
FALSE_ALARM = 1e-9
SEED = bytes(range(32))


def is_mersenne_prime(exponent: int) -> bool:
    """The test of Lucas and Lehmer, which is exact for odd prime exponents."""
    modulus = 2**exponent - 1
    term = 4
    for _ in range(exponent - 2):
        term = (term * term - 2) % modulus
    return term == 0


def test_the_modulus_is_prime() -> None:
    assert P == 2**127 - 1
    assert is_mersenne_prime(127)
    assert [e for e in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31) if is_mersenne_prime(e)] == [
        3,
        5,
        7,
        13,
        17,
        19,
        31,
    ]


# Bytes


def test_elements_are_packed_little_endian() -> None:
    data = packed([1, 258, P - 1])
    assert data.hex() == "01" + 15 * "00" + "0201" + 14 * "00" + "fe" + 14 * "ff" + "7f"
    assert unpacked(data, 3) == [1, 258, P - 1]
    assert unpacked(packed([2**64 - 1, 2**64]), 2) == [2**64 - 1, 2**64]


@deterministic
@given(st.lists(st.integers(0, P - 1), max_size=9))
def test_unpacking_gives_what_was_packed(elements: list[int]) -> None:
    data = packed(elements)
    assert len(data) == ELEMENT_BYTES * len(elements)
    assert unpacked(data, len(elements)) == elements


@pytest.mark.parametrize("length", [0, 15, 31, 33, 48])
def test_another_length_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match=r"^2 field elements take 32 bytes$"):
        unpacked(bytes(length), 2)


@pytest.mark.parametrize("integer", [P, P + 1, 2**127, 2**128 - 1], ids=hex)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_integer_of_the_prime_or_more_is_refused(integer: int, place: int) -> None:
    # The same element would have two encodings.
    integers = [5, 6, 7]
    integers[place] = integer
    with pytest.raises(ProtocolError, match=r"^a field element is not below the prime$"):
        unpacked(packed(integers), 3)


# Draws


def test_a_seed_expands_to_127_bits_of_every_16_bytes_of_shake_256() -> None:
    label = b"securefl masking 1, field elements of a seed"
    stream = hashlib.shake_256(label + SEED).digest(48)
    by_hand = [int.from_bytes(stream[16 * i : 16 * i + 16], "little") % 2**127 for i in range(3)]
    assert expanded(SEED, 3) == by_hand
    assert [f"{element:032x}" for element in by_hand] == [
        "5e2136b2c2a4b79a189077812e5ebb3d",
        "7d87f9c840c004f4614166354752f2d8",
        "04952dd1660d8fc53f7208fd334606ca",
    ]


def test_a_longer_expansion_begins_with_the_shorter_one_and_seeds_differ() -> None:
    assert expanded(SEED, 0) == []
    assert expanded(SEED, 100)[:7] == expanded(SEED, 7)
    assert not set(expanded(SEED, 100)) & set(expanded(SEED[::-1], 100))
    assert len(set(expanded(SEED, 100))) == 100


ALL_ONES = b"\xff" * 16  # 127 bits of it are p, which is no element
STREAM = ALL_ONES + packed([7]) + ALL_ONES + ALL_ONES + packed([9, 2**127 + 11, 13])


def test_an_expansion_skips_the_prime_itself_and_ignores_the_top_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Crafted:
        def __init__(self, seed: bytes) -> None:
            assert seed.endswith(SEED)

        def digest(self, length: int) -> bytes:
            return STREAM[:length]

    monkeypatch.setattr(hashlib, "shake_256", Crafted)
    assert expanded(SEED, 4) == [7, 9, 11, 13]


def test_a_random_draw_skips_the_prime_itself_and_ignores_the_top_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    position = {"next": 0}

    def drawn(length: int) -> bytes:
        start = position["next"]
        position["next"] += length
        return STREAM[start : start + length]

    monkeypatch.setattr(secrets, "token_bytes", drawn)
    assert random_elements(4) == [7, 9, 11, 13]
    assert position["next"] == len(STREAM)


def spreads_evenly(elements: list[int]) -> bool:
    """Returns the chi-square over 64 equal parts of the field."""
    counts = np.bincount([64 * element // P for element in elements], minlength=64)
    expected = len(elements) / 64
    return bool(((counts - expected) ** 2 / expected).sum() < chi2.isf(FALSE_ALARM, 63))


def test_draws_are_spread_evenly_over_the_field() -> None:
    for elements in (random_elements(6400), expanded(SEED, 6400)):
        assert spreads_evenly(elements)
        assert not spreads_evenly([element * 9 // 10 for element in elements])
        assert all(0 <= element < P for element in elements)


def test_every_draw_is_fresh() -> None:
    assert len({element for _ in range(20) for element in random_elements(5)}) == 100


# Arithmetic


def test_the_upper_half_of_the_field_stands_for_negative_integers() -> None:
    half = 2**126 - 1
    assert [centred(element) for element in (0, 1, half, half + 1, P - 1)] == [
        0,
        1,
        half,
        -half,
        -1,
    ]


@deterministic
@given(st.integers(-(2**126 - 1), 2**126 - 1))
def test_centring_gives_back_an_integer_of_either_sign(integer: int) -> None:
    assert centred(integer % P) == integer


def test_a_parabola_worked_by_hand() -> None:
    # 7 + 5 x + 3 x^2
    assert [value_at([7, 5, 3], x) for x in (0, 1, 2, 3, 4)] == [7, 15, 29, 49, 75]
    assert value_at([], 4) == 0
    assert value_at([P - 1, P - 1], 2) == P - 3
    assert value_at([0, 0, 1], 2**31 - 1) == (2**31 - 1) ** 2


def test_a_dot_product_worked_by_hand() -> None:
    assert dot([2, 3, P - 1], [10, 100, 5]) == 315
    assert dot([P - 1], [P - 1]) == 1
    assert dot([], []) == 0
    assert dot([1], [-1]) == P - 1
