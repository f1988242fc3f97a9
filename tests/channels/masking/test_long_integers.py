"""Long integers: digits and carries by hand, and Python's integers as the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from securefl.channels.masking.long_integers import (
    LONG,
    LongIntegers,
    add_long,
    subtract_long,
)
from securefl.channels.masking.stream import CHUNK_BYTES, add_masks, by_ctr
from securefl.rng import seeded_keystream

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
RING = 2**128
KEY = bytes(range(32))
CODE = LongIntegers(3)
STREAM = seeded_keystream(0, "unread")
# Half of all numbers lie where something carries or borrows.
numbers = st.one_of(
    st.integers(0, RING - 1),
    st.sampled_from([0, 1, 2**16, 2**64 - 1, 2**64, 2**127, RING - 2**64, RING - 1]),
)
pairs = st.lists(st.tuples(numbers, numbers), max_size=6)


def words(values: list[int]) -> NDArray[np.void]:
    """Returns integers as words of the ring."""
    return np.array([(value % 2**64, value >> 64) for value in values], dtype=LONG)


def integers(total: NDArray[np.void]) -> list[int]:
    return [int(low) + (int(high) << 64) for low, high in total.tolist()]


def digits(values: list[int]) -> NDArray[np.float32]:
    return np.array(
        [value >> (16 * place) & 0xFFFF for value in values for place in range(8)], dtype=np.float32
    )


def encoded(values: NDArray[np.float32], *, scale: float = 1.0) -> NDArray[np.void]:
    out = words([77] * (len(values) // 8))
    CODE.encode(values, scale=scale, stream=STREAM, out=out)
    return out


@deterministic
@given(pairs)
def test_addition_and_subtraction_are_those_of_integers_modulo_the_ring(
    drawn: list[tuple[int, int]],
) -> None:
    first, second = [a for a, _ in drawn], [b for _, b in drawn]
    total = words(first)
    add_long(total, words(second))
    assert integers(total) == [(a + b) % RING for a, b in drawn]
    subtract_long(total, words(second))
    assert integers(total) == first
    subtract_long(total, words(second))
    assert integers(total) == [(a - b) % RING for a, b in drawn]


@deterministic
@given(st.lists(numbers, max_size=6))
def test_digits_come_back_from_the_words(values: list[int]) -> None:
    made = encoded(digits(values))
    assert integers(made) == values
    back = CODE.decode(made)
    assert back.dtype == np.float64
    assert back.tolist() == digits(values).tolist()


def test_a_word_is_sixteen_bytes_lowest_first() -> None:
    made = encoded(digits([0x1122_3344_5566_7788_99AA_BBCC_DDEE_FF01]))
    assert made.tobytes().hex() == "01ffeeddccbbaa998877665544332211"
    assert CODE.word.itemsize == 16


def test_what_is_no_digit_becomes_the_nearest_one() -> None:
    values = [np.nan, np.inf, -np.inf, -1.0, 65_536.0, 2.4, 2.6, 65_535.0]
    made = encoded(np.array(values, dtype=np.float32))
    assert CODE.decode(made).tolist() == [0, 65_535, 0, 0, 65_535, 2, 3, 65_535]


def test_integers_carry_no_weights_and_a_sum_has_clients() -> None:
    with pytest.raises(ValueError, match=r"without weights, got a scale of 0\.5"):
        encoded(digits([1]), scale=0.5)
    with pytest.raises(ValueError, match="at least one client, got 0"):
        LongIntegers(0)


@pytest.mark.parametrize("m", [0, 3, CHUNK_BYTES // 16 + 2])
def test_masks_are_added_with_their_carries_over_chunks(m: int) -> None:
    vector = words([0] * m)
    add_masks(vector, plus=[KEY])
    # A chunk holds as many of its bytes as words of any other size.
    stream = bytearray(16 * m + CHUNK_BYTES)
    for chunk in range(2):
        part = memoryview(bytearray(CHUNK_BYTES + 16))
        by_ctr(KEY)(chunk, CHUNK_BYTES, part)
        stream[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES] = part[:CHUNK_BYTES]
    assert vector.tobytes() == bytes(stream[: 16 * m])
    mask = integers(vector)
    add_masks(vector, plus=[KEY])
    assert integers(vector) == [2 * word % RING for word in mask]
    add_masks(vector, minus=[KEY, KEY, KEY])
    assert integers(vector) == [-word % RING for word in mask]
    other = words([5] * m)
    add_masks(other, plus=[KEY, bytes(32)], minus=[bytes(32), KEY])
    assert integers(other) == [5] * m
