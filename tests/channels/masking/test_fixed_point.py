"""Fixed point: words by hand, oracles in integers and fractions, no wrap-around, no bias."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from securefl.channels.masking.fixed_point import MAX_LEVELS, FixedPoint
from securefl.rng import Keystream, seeded_keystream

Rounding = Literal["nearest", "stochastic"]

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
DEVIATIONS = (
    4.9  # standard errors: one seed in a million fails a right rounding; the seeds here are fixed
)
KEY = bytes(range(32))
FLOAT = Fraction(1, 2**51)  # four float64 roundings, relative: the arithmetic's own error

rings = pytest.mark.parametrize("ring", [16, 32, 64])
roundings = pytest.mark.parametrize("rounding", get_args(Rounding))


class Fixed(Keystream):
    """A keystream that repeats the same 32-bit words for ever."""

    def __init__(self, *words: int) -> None:
        self._words = words

    def bytes(self, size: int) -> bytes:
        """Returns the words, little-endian, repeated to `size` bytes."""
        block = b"".join(n.to_bytes(4, "little") for n in self._words)
        return (block * (size // len(block) + 1))[:size]


class Unread(Keystream):
    """A keystream that must not be read."""

    def __init__(self) -> None:
        pass

    def bytes(self, size: int) -> bytes:
        """Fails: nothing may be drawn."""
        raise AssertionError(f"{size} bytes were read")


def encoded(
    code: FixedPoint,
    values: Sequence[float] | NDArray[Any],
    *,
    scale: float = 1.0,
    stream: Keystream | None = None,
) -> NDArray[Any]:
    out = np.full(len(values), 77, dtype=code.word)
    code.encode(
        np.array(values, dtype=np.float32), scale=scale, stream=stream or Keystream(KEY), out=out
    )
    return out


def signed(words: NDArray[Any]) -> list[int]:
    """Returns words read in two's complement, as Python integers."""
    top = 1 << (8 * words.dtype.itemsize)
    return [word - top if 2 * word >= top else word for word in words.tolist()]


def hundred(rounding: Rounding = "nearest") -> FixedPoint:
    """Returns a code of clip 1 and a hundred levels: 327 * 100 < 2^15."""
    return FixedPoint(ring=16, clip=1.0, rounding=rounding, most=327)


def test_the_numbers_of_levels_are_those_worked_by_hand() -> None:
    def levels(ring: int, most: int) -> int:
        return FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=most).levels

    assert [levels(16, most) for most in (1, 2, 3, 327, 328, 128)] == [
        32767,
        16383,
        10922,
        100,
        99,
        255,
    ]
    assert [levels(32, most) for most in (1, 2, 128)] == [2**31 - 1, 2**30 - 1, 2**24 - 1]
    assert [levels(64, most) for most in (1, 2**19 - 1, 2**19, 2**20)] == [2**44] * 2 + [
        2**44 - 1,
        2**43 - 1,
    ]


def test_step_and_bound_are_those_worked_by_hand() -> None:
    code = FixedPoint(ring=16, clip=2.0, rounding="nearest", most=327)
    assert (code.step, code.bound(1), code.bound(3)) == pytest.approx(
        (0.02, 0.02 * 0.5078125, 0.06 * 0.5078125), rel=1e-15
    )
    code = FixedPoint(ring=16, clip=2.0, rounding="stochastic", most=327)
    assert (code.step, code.bound(1), code.bound(3)) == pytest.approx(
        (0.02, 0.02 * 1.0078125, 0.06 * 1.0078125), rel=1e-15
    )


def test_a_word_is_little_endian_and_of_the_rings_size() -> None:
    codes = [FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=1) for ring in (16, 32, 64)]
    assert [code.word.str for code in codes] == ["<u2", "<u4", "<u8"]


def test_the_nearest_words_are_those_worked_by_hand() -> None:
    # In hundredths 12.5 goes to 12, 37.5 to 38 and 62.5 to 62: halves go to the even side.
    values = [
        0.0,
        0.25,
        0.125,
        -0.125,
        0.375,
        -0.375,
        0.625,
        0.336,
        0.334,
        -0.336,
        -0.334,
        1.0,
        -1.0,
        0.004,
        -0.004,
    ]
    expected = [0, 25, 12, -12, 38, -38, 62, 34, 33, -34, -33, 100, -100, 0, 0]
    assert signed(encoded(hundred(), values, stream=Unread())) == expected
    assert encoded(hundred(), [-1.0, -0.25]).tolist() == [65_436, 65_511]


def test_the_clip_comes_before_the_scale_and_the_rounding_last() -> None:
    # 1.5, 2 and 3 are clipped to 1 and then halved; 25 * 0.5 is rounded once, to 12.
    values = [1.5, 2.0, 3.0, 1.0, 0.98, -1.5, -3.0, -0.98, 0.25]
    assert signed(encoded(hundred(), values, scale=0.5)) == [50, 50, 50, 50, 49, -50, -50, -49, 12]
    assert signed(encoded(hundred(), [1.0, -1.0, 50.0, -50.0], scale=0.01)) == [1, -1, 1, -1]
    assert signed(encoded(hundred(), [1.0, -7.0, 0.5], scale=0.254)) == [25, -25, 13]


def test_a_clipped_and_scaled_number_between_levels_is_rounded_at_random_too() -> None:
    # 100 * 0.375 is 37.5: up at the lowest draw, down at the highest; downwards -37.5 likewise.
    for values in ([1.0, -1.0], [9.0, -9.0]):
        assert signed(encoded(hundred("stochastic"), values, scale=0.375, stream=Fixed(0))) == [
            38,
            -37,
        ]
        assert signed(
            encoded(hundred("stochastic"), values, scale=0.375, stream=Fixed(2**32 - 1))
        ) == [37, -38]


@rings
def test_negative_numbers_are_twos_complement_of_the_rings_size(ring: int) -> None:
    code = FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=3)
    assert encoded(code, [-1.0, -code.step, 0.0, code.step]).tolist() == [
        2**ring - code.levels,
        2**ring - 1,
        0,
        1,
    ]


@rings
def test_negative_words_are_decoded_as_negative_numbers(ring: int) -> None:
    code = FixedPoint(ring=ring, clip=3.0, rounding="nearest", most=5)
    total = np.array([0, 1, 2**ring - 1, 2 ** (ring - 1) - 1, 2 ** (ring - 1), 7], dtype=code.word)
    expected = [0.0, 1.0, -1.0, float(2 ** (ring - 1) - 1), -float(2 ** (ring - 1)), 7.0]
    decoded = code.decode(total)
    assert decoded.dtype == np.float64
    assert decoded.tolist() == [value * code.step for value in expected]
    assert total.tolist()[2] == 2**ring - 1  # left as it was


def test_a_sum_that_cannot_be_written_is_decoded_too() -> None:
    code = hundred()
    assert code.decode(np.frombuffer(b"\x64\0\x9c\xff", dtype=code.word)).tolist() == [1.0, -1.0]


@rings
@roundings
def test_what_lies_on_a_level_is_exact(ring: int, rounding: Rounding) -> None:
    # The step is a power of two, so that levels and float32 meet.
    levels = FixedPoint(ring=ring, clip=1.0, rounding=rounding, most=5).levels
    code = FixedPoint(ring=ring, clip=levels * 2.0**-8, rounding=rounding, most=5)
    assert code.step == 2.0**-8
    grid = [n for n in (0, 1, -1, 2, 77, -1000, 5000, -6553, 6553) if abs(n) <= levels]
    assert len(grid) == 9
    for stream in (Fixed(0), Fixed(2**32 - 1), Keystream(KEY)):
        words = encoded(code, [n * 2.0**-8 for n in grid], stream=stream)
        assert signed(words) == grid
        assert code.decode(words).tolist() == [n * 2.0**-8 for n in grid]


@rings
@roundings
@pytest.mark.parametrize("clip", [0.1, 1.0, 7.3, 1e-3, 1e6])
def test_what_lies_beyond_the_clip_is_exactly_the_clip(
    ring: int, rounding: Rounding, clip: float
) -> None:
    code = FixedPoint(ring=ring, clip=clip, rounding=rounding, most=4)
    largest = float(np.finfo(np.float32).max)
    words = encoded(code, [1.001 * clip, -1.001 * clip, 1e9, -1e9, largest, -largest])
    assert signed(words) == [code.levels, -code.levels] * 3
    assert code.decode(words).tolist() == pytest.approx([clip, -clip] * 3, rel=1e-15)


@rings
@roundings
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 100, 128])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_full_sum_at_the_clip_does_not_wrap_around(
    ring: int, rounding: Rounding, n: int, sign: int
) -> None:
    code = FixedPoint(ring=ring, clip=1.0, rounding=rounding, most=n)
    stream, total = Keystream(KEY), np.zeros(3, dtype=code.word)
    for _ in range(n):
        total += encoded(code, [sign * 2.0] * 3, stream=stream)
    assert signed(total) == [sign * n * code.levels] * 3
    assert code.decode(total).tolist() == pytest.approx([float(sign * n)] * 3, rel=1e-14)


@deterministic
@given(st.sampled_from([16, 32, 64]), st.data())
def test_the_levels_are_the_most_that_a_full_sum_can_hold(ring: int, data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 2 ** (ring - 1) - 1) | st.integers(1, 5000))
    levels = FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=most).levels
    assert 1 <= most * levels < 2 ** (ring - 1)
    assert most * (levels + 1) >= 2 ** (ring - 1) or levels == 2**44


@rings
def test_the_first_sum_that_the_ring_cannot_hold_is_refused(ring: int) -> None:
    last = 2 ** (ring - 1) - 1
    assert FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=last).levels == 1
    with pytest.raises(
        ValueError, match=rf"^a ring of 2\^{ring} holds no sum of {last + 1} clients$"
    ):
        FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=last + 1)


@pytest.mark.parametrize("most", [0, -1, -(2**20)])
def test_a_sum_of_nobody_is_refused(most: int) -> None:
    with pytest.raises(ValueError, match=rf"^a ring of 2\^16 holds no sum of {most} clients$"):
        FixedPoint(ring=16, clip=1.0, rounding="nearest", most=most)


@pytest.mark.parametrize("ring", [0, 8, 24, 63, 128, -16])
def test_a_ring_of_another_size_is_refused(ring: int) -> None:
    with pytest.raises(ValueError, match=f"^ring must be 16, 32 or 64, got {ring}$"):
        FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=1)


@pytest.mark.parametrize("clip", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])
def test_a_clip_that_is_not_a_positive_number_is_refused(clip: float) -> None:
    with pytest.raises(ValueError, match=f"^clip must be a positive number, got {clip}$"):
        FixedPoint(ring=32, clip=clip, rounding="nearest", most=1)


@pytest.mark.parametrize("rounding", ["up", "", "Nearest"])
def test_an_unknown_rounding_is_refused(rounding: Any) -> None:
    with pytest.raises(
        ValueError, match=f"^rounding must be nearest or stochastic, got {rounding!r}$"
    ):
        FixedPoint(ring=32, clip=1.0, rounding=rounding, most=1)


@roundings
@pytest.mark.parametrize("scale", [0.0, -0.5, -1.0, 1.0000001, 2.0, math.nan, math.inf])
def test_a_scale_outside_zero_and_one_is_refused(rounding: Rounding, scale: float) -> None:
    with pytest.raises(ValueError, match=rf"^scale must be in \(0, 1\], got {scale}$"):
        encoded(hundred(rounding), [0.5], scale=scale)


@roundings
@pytest.mark.parametrize(
    ("wrong", "sent"), [(math.nan, 0.0), (math.inf, 100.0), (-math.inf, -100.0)]
)
@pytest.mark.parametrize("at", [0, 1, 32_767, 32_768, 65_536, 65_539])
def test_a_number_that_is_not_finite_is_sent_as_zero_or_clipped_and_its_neighbours_as_they_are(
    rounding: Rounding, wrong: float, sent: float, at: int
) -> None:
    values = np.full(65_540, 7.0, dtype=np.float32)
    usual = values.copy()
    values[at], usual[at] = wrong, sent
    assert np.array_equal(
        encoded(hundred(rounding), values, scale=0.5), encoded(hundred(rounding), usual, scale=0.5)
    )


@roundings
def test_an_empty_update_is_empty(rounding: Rounding) -> None:
    code = hundred(rounding)
    assert encoded(code, []).size == 0
    assert code.decode(np.zeros(0, dtype=code.word)).size == 0


def exact(values: NDArray[np.float32], *, scale: float, clip: float) -> list[Fraction]:
    """Returns the values clipped and scaled, without any rounding."""
    limit = Fraction(clip)
    return [max(-limit, min(limit, Fraction(float(value)))) * Fraction(scale) for value in values]


@rings
@roundings
@deterministic
@given(data=st.data())
def test_a_sum_is_off_by_at_most_the_bound(
    ring: int, rounding: Rounding, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 6))
    code = FixedPoint(ring=ring, clip=data.draw(st.floats(1e-3, 1e3)), rounding=rounding, most=n)
    number = st.floats(-2, 2, width=32).map(lambda share: share * code.clip)
    total, expected, stream = np.zeros(4, dtype=code.word), [Fraction(0)] * 4, Keystream(KEY)
    for _ in range(n):
        values = np.array(data.draw(st.lists(number, min_size=4, max_size=4)), dtype=np.float32)
        scale = data.draw(st.floats(0.01, 1))
        total += encoded(code, values, scale=scale, stream=stream)
        expected = [
            a + b for a, b in zip(expected, exact(values, scale=scale, clip=code.clip), strict=True)
        ]
    allowed = Fraction(code.bound(n))
    decoded = [Fraction(number) for number in code.decode(total).tolist()]
    assert all(
        abs(value - truth) <= allowed for value, truth in zip(decoded, expected, strict=True)
    )


@rings
@roundings
def test_the_bound_is_not_idle(ring: int, rounding: Rounding) -> None:
    # Of many coordinates one comes within a tenth of it.
    scale = 0.618034
    code = FixedPoint(ring=ring, clip=1.0, rounding=rounding, most=2048)
    values = (2 * seeded_keystream(1, "test").uniform(2_000) - 1).astype(np.float32)
    off = [
        abs(Fraction(value) - right)
        for value, right in zip(
            code.decode(encoded(code, values, scale=scale)).tolist(),
            exact(values, scale=scale, clip=1.0),
            strict=True,
        )
    ]
    assert max(off) > 0.9 * Fraction(code.bound(1))


@rings
@roundings
@pytest.mark.parametrize("length", [32_767, 32_768, 32_769, 65_536, 65_543])
def test_long_updates_are_the_slow_loop_in_whole_numbers(
    ring: int, rounding: Rounding, length: int
) -> None:
    code = FixedPoint(ring=ring, clip=1.5, rounding=rounding, most=9)
    values = (4 * seeded_keystream(2, "test").uniform(length) - 2).astype(np.float32)
    drawn = Keystream(KEY).bytes(4 * length)
    expected = []
    for at, value in enumerate(values.tolist()):
        level = min(max(value * (0.9 / code.step), -code.levels * 0.9), code.levels * 0.9)
        if rounding == "nearest":
            expected.append(round(level) % 2**ring)
        else:
            draw = int.from_bytes(drawn[4 * at : 4 * at + 4], "little")
            expected.append(
                (math.floor(level) + (draw < (level - math.floor(level)) * 2.0**32)) % 2**ring
            )
    assert encoded(code, values, scale=0.9).tolist() == expected


def test_a_coordinate_goes_up_where_its_draw_is_strictly_below_its_fraction() -> None:
    # Steps of one: 0.5 goes up at 2^31 - 1 and not at 2^31; a whole number never goes up.
    code = FixedPoint(ring=16, clip=100.0, rounding="stochastic", most=327)
    values = [0.5, 0.5, -0.5, -0.5, 3.0, -3.0, 7.25, 7.25, -7.25, -7.25]
    stream = Fixed(
        2**31 - 1, 2**31, 2**31 - 1, 2**31, 0, 0, 2**30 - 1, 2**30, 3 * 2**30 - 1, 3 * 2**30
    )
    assert signed(encoded(code, values, stream=stream)) == [1, 0, 0, -1, 3, -3, 8, 7, -7, -8]


def rounds_without_bias(up: float, draws: int, *, fraction: float) -> bool:
    return abs(up - fraction) < DEVIATIONS * math.sqrt(fraction * (1 - fraction) / draws)


@rings
@pytest.mark.parametrize("level", [0.25, 3.75, -0.25, -3.75, 10.5, -10.96875])
def test_stochastic_rounding_is_right_on_average(ring: int, level: float) -> None:
    levels = FixedPoint(ring=ring, clip=1.0, rounding="stochastic", most=1).levels
    code = FixedPoint(ring=ring, clip=float(levels), rounding="stochastic", most=1)  # steps of one
    draws, below = 100_000, math.floor(level)
    words = np.array(signed(encoded(code, [level] * draws, stream=seeded_keystream(3, "test"))))
    assert set(words.tolist()) == {below, below + 1}
    assert rounds_without_bias(float((words - below).mean()), draws, fraction=level - below)
    assert not rounds_without_bias(0.0, draws, fraction=level - below)  # always down
    assert not rounds_without_bias(1.0, draws, fraction=level - below)  # always up
    assert not rounds_without_bias(
        0.9 * float((words - below).mean()), draws, fraction=level - below
    )


def test_two_coordinates_are_rounded_independently() -> None:
    code = FixedPoint(ring=16, clip=32767.0, rounding="stochastic", most=1)
    up = np.array(signed(encoded(code, [0.5] * 100_000, stream=seeded_keystream(4, "test")))) - 0.5
    for lag in (1, 2, 16, 50_000):
        pairs = up[:-lag] * up[lag:]
        assert abs(pairs.mean()) < DEVIATIONS * 0.25 / math.sqrt(pairs.size)


def test_the_blocks_of_a_long_update_are_rounded_by_different_draws() -> None:
    words = encoded(
        FixedPoint(ring=16, clip=32767.0, rounding="stochastic", most=1), [0.5] * 131_072
    )
    assert len({block.tobytes() for block in words.reshape(8, -1)}) == 8


def test_the_stream_decides_stochastic_rounding() -> None:
    code, values = hundred("stochastic"), [0.333, -0.777, 0.005] * 50
    first, second = (encoded(code, values, stream=Keystream(KEY)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, encoded(code, values, stream=Keystream(bytes(32))))


def test_stochastic_rounding_reads_four_bytes_a_coordinate() -> None:
    stream, fresh = Keystream(KEY), Keystream(KEY)
    encoded(hundred("stochastic"), [0.5] * 65_541, stream=stream)
    fresh.bytes(4 * 65_541)
    assert stream.bytes(16) == fresh.bytes(16)


@roundings
def test_the_update_itself_is_left_as_it_was(rounding: Rounding) -> None:
    code, values = hundred(rounding), np.array([0.333, 5.0, -5.0], dtype=np.float32)
    before = values.copy()
    code.encode(values, scale=0.5, stream=Keystream(KEY), out=np.zeros(3, dtype=code.word))
    assert np.array_equal(values, before)


@roundings
def test_words_are_written_where_they_lie(rounding: Rounding) -> None:
    code, whole = hundred(rounding), np.full(12, 77, dtype="<u2")
    code.encode(
        np.array([1.0, -1.0, 2.0], dtype=np.float32),
        scale=1.0,
        stream=Keystream(KEY),
        out=whole[1:12:4],
    )
    assert signed(whole[1:12:4]) == [100, -100, 100]
    assert np.count_nonzero(whole == 77) == 9


# --- folded sums


def circle(ring: int, near: int, reach: int = 2000) -> NDArray[Any]:
    """Returns words that follow each other on the ring, around one of them."""
    word = np.dtype(f"<u{ring // 8}")
    return np.array([(near + k) % 2**ring for k in range(-reach, reach + 1)], dtype=word)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("ring", [16, 32, 64])
def test_folded_words_that_are_neighbours_on_the_ring_are_read_as_neighbours(
    ring: int, quarter: int
) -> None:
    near = quarter * 2 ** (ring - 2)
    words = circle(ring, near)
    levels = FixedPoint(ring, 1.0, "nearest", most=4, folded=True).levels
    folded = FixedPoint(ring, float(levels), "nearest", most=4, folded=True)
    assert folded.step == 1.0
    steps = np.diff(folded.decode(words))
    # Around a quarter of the ring float64 holds every 2^9th word of 64 bits.
    close = 1.0 if ring < 64 or quarter % 2 == 0 else 1024.0
    assert float(np.abs(steps).max()) <= close
    assert float(np.abs(folded.decode(words)).max()) <= 2 ** (ring - 2)
    if quarter == 2:
        plain = FixedPoint(ring, 1.0, "nearest", most=4)
        assert float(np.abs(np.diff(plain.decode(words)) / plain.step).max()) >= 2 ** (ring - 1)


@pytest.mark.parametrize("ring", [16, 32, 64])
def test_folded_sums_of_honest_clients_are_read_as_they_are(ring: int) -> None:
    most = 5
    code = FixedPoint(ring, 2.0, "nearest", most=most, folded=True)
    assert code.levels == min((2 ** (ring - 2) - 1) // most, MAX_LEVELS)
    integers = np.array([0, 1, -1, most * code.levels, -most * code.levels])
    words = integers.astype(np.dtype(f"<i{ring // 8}")).view(code.word)
    assert code.decode(words).tolist() == (integers * code.step).tolist()
    assert words.tolist() == [number % 2**ring for number in integers.tolist()]


def test_folding_is_part_of_what_clients_agree_on() -> None:
    folded, plain = (FixedPoint(32, 1.0, "nearest", most=2, folded=on) for on in (True, False))
    assert folded.to_json() == [*plain.to_json(), 0, MAX_LEVELS, "folded"]
