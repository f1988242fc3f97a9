"""Secret sharing: polynomials by hand, a Lagrange oracle, the secrecy of fewer shares, refusals."""

import itertools
import secrets
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from securefl.channels.masking.shamir import P, reconstruct, share, value_of

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
# Share of runs in which right shares fail the one test that draws from the system's CSPRNG.
FALSE_ALARM = 1e-9
SECRET = bytes(range(32))
EXTREMES = {
    "zero": bytes(32),
    "all 0xff": b"\xff" * 32,
    "top bit": b"\x80" + bytes(31),
    "one": bytes(31) + b"\1",
}
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


def typed(value: int) -> bytes:
    return value.to_bytes(33, "big")


def interpolated(points: Mapping[int, int], at: int) -> int:
    """Returns the lowest polynomial through the points at x, by Lagrange in fractions: slowly."""
    total = 0
    for x, y in points.items():
        above = below = 1
        for other in points:
            if other != x:
                above *= at - other
                below *= x - other
        total += y * above * pow(below, P - 2, P)
    return total % P


def passes_miller_rabin(n: int) -> bool:
    """False proves n composite; True is wrong for a share of at most 4^-20 of the bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in PRIMES:
        power = pow(base, odd, n)
        if power not in (1, n - 1) and all(
            (power := power * power % n) != n - 1 for _ in range(twos - 1)
        ):
            return False
    return True


def test_miller_rabin_here_tells_primes_from_composites() -> None:
    assert [n for n in range(73, 120, 2) if passes_miller_rabin(n)] == [
        73,
        79,
        83,
        89,
        97,
        101,
        103,
        107,
        109,
        113,
    ]
    assert passes_miller_rabin(2**255 - 19)
    assert not passes_miller_rabin((2**61 - 1) * (2**89 - 1))
    assert not passes_miller_rabin(3215031751)  # a strong pseudoprime to the bases 2, 3, 5 and 7


def test_the_modulus_is_the_smallest_prime_above_256_bits() -> None:
    assert P == 2**256 + 297
    assert [n for n in range(2**256, P + 1) if passes_miller_rabin(n)] == [P]


def test_a_parabola_worked_by_hand_meets_the_axis_at_its_secret() -> None:
    # 7 + 5 x + 3 x^2 is 15, 29, 49 and 75 at 1, 2, 3 and 4; any three of them give 7.
    dealt = {1: typed(15), 2: typed(29), 3: typed(49), 4: typed(75)}
    for chosen in itertools.combinations(dealt, 3):
        assert reconstruct({x: dealt[x] for x in chosen}) == bytes(31) + b"\7"


def test_a_falling_line_worked_by_hand_wraps_at_the_prime() -> None:
    # 7 - x is 0 at 7 and -1, that is p - 1, at 8.
    assert reconstruct({7: typed(0), 8: typed(P - 1)}) == bytes(31) + b"\7"
    assert reconstruct({3: typed(4), 2**31 - 1: typed(P + 7 - (2**31 - 1))}) == bytes(31) + b"\7"


def test_typed_shares_of_a_32_byte_secret_give_it() -> None:
    # 00 01 .. 1f, then the coefficients c0ffee 00 .. 00 and p - 1, at 1, 3 and 2^31 - 1.
    dealt = {
        1: "00c100f0030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1e",
        3: "004300cc030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1bc4",
        2**31 - 1: "003f0114030405060708090a0b0c0d0e0f1011121314151616d81919ac27a79047",
    }
    assert reconstruct({x: bytes.fromhex(dealt[x]) for x in dealt}) == SECRET


def test_shares_are_the_polynomial_with_the_drawn_coefficients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = {"left": [5, 3]}

    def draw(below: int) -> int:
        assert below == P
        return drawn["left"].pop(0)

    monkeypatch.setattr(secrets, "randbelow", draw)
    dealt = share(bytes(31) + b"\7", threshold=3, points=[1, 4, 2, 2**31 - 1])
    far = 7 + 5 * (2**31 - 1) + 3 * (2**31 - 1) ** 2
    assert dealt == [typed(15), typed(75), typed(29), typed(far)]
    assert drawn["left"] == []  # one coefficient fewer than the threshold


def test_shares_of_large_coefficients_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda below: below - 1)
    # 7 - x - x^2 is 5, 1 and -5 at 1, 2 and 3.
    assert share(bytes(31) + b"\7", threshold=3, points=[1, 2, 3]) == [
        typed(5),
        typed(1),
        typed(P - 5),
    ]


@deterministic
@given(st.data(), st.binary(min_size=32, max_size=32), st.integers(1, 9))
def test_any_threshold_of_the_shares_give_the_secret(
    data: st.DataObject, secret: bytes, n: int
) -> None:
    points = data.draw(st.lists(st.integers(1, 2**31 - 1), min_size=n, max_size=n, unique=True))
    threshold = data.draw(st.integers(1, n))
    dealt = dict(zip(points, share(secret, threshold=threshold, points=points), strict=True))
    assert all(
        len(dealt_share) == 33 and int.from_bytes(dealt_share, "big") < P
        for dealt_share in dealt.values()
    )
    chosen = data.draw(st.permutations(points))[:threshold]
    assert reconstruct({x: dealt[x] for x in chosen}) == secret
    values = {x: int.from_bytes(dealt[x], "big") for x in chosen}
    assert interpolated(values, 0) == int.from_bytes(secret, "big")
    assert all(interpolated(values, x) == int.from_bytes(dealt[x], "big") for x in points)


@pytest.mark.parametrize("threshold", [2, 3, 5, 8])
def test_one_share_fewer_gives_something_else(threshold: int) -> None:
    # By chance one run in 2^256 would find the secret.
    points = range(1, threshold + 1)
    dealt = dict(zip(points, share(SECRET, threshold=threshold, points=points), strict=True))
    for missing in points:
        assert reconstruct({x: dealt[x] for x in points if x != missing}) != SECRET


@deterministic
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(2, 6))
def test_with_one_share_fewer_every_secret_is_still_possible(
    first: bytes, second: bytes, threshold: int
) -> None:
    points = range(1, threshold + 1)
    dealt = dict(zip(points, share(SECRET, threshold=threshold, points=points), strict=True))
    held = {x: value_of(dealt[x]) for x in points[:-1]}
    for claimed in (first, second, SECRET):
        last = interpolated({0: int.from_bytes(claimed, "big"), **held}, threshold)
        assert (
            reconstruct({**{x: typed(y) for x, y in held.items()}, threshold: typed(last)})
            == claimed
        )


def spreads_evenly(values: list[int]) -> bool:
    """Returns the chi-square over 64 equal parts of the field."""
    counts = np.bincount([64 * value // P for value in values], minlength=64)
    expected = len(values) / 64
    return bool(((counts - expected) ** 2 / expected).sum() < chi2.isf(FALSE_ALARM, 63))


@pytest.mark.parametrize("secret", EXTREMES.values(), ids=EXTREMES)
def test_one_share_alone_is_spread_evenly_over_the_field(secret: bytes) -> None:
    first = [value_of(share(secret, threshold=2, points=[1, 2])[0]) for _ in range(3_000)]
    assert spreads_evenly(first)
    assert not spreads_evenly([value * 9 // 10 for value in first])
    assert not spreads_evenly(
        [value if value < P // 2 else value - P // 200 for value in first] + [0] * 300
    )


def test_every_call_draws_fresh_coefficients_and_each_its_own() -> None:
    coefficients = set()
    for _ in range(20):
        y = [value_of(dealt_share) for dealt_share in share(SECRET, threshold=3, points=[1, 2, 3])]
        second = (y[2] - 2 * y[1] + y[0]) * pow(2, -1, P) % P
        first = (y[1] - y[0] - 3 * second) % P
        coefficients |= {first, second}
    assert len(coefficients) == 40


def test_a_threshold_of_one_deals_the_secret_itself() -> None:
    assert share(SECRET, threshold=1, points=[4, 9]) == [b"\0" + SECRET] * 2
    assert reconstruct({9: b"\0" + SECRET}) == SECRET


@pytest.mark.parametrize("secret", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("threshold", [1, 2, 4])
def test_secrets_at_the_ends_of_their_range_come_back_whole(secret: bytes, threshold: int) -> None:
    points = (1, 2, 77, 2**31 - 1)
    dealt = dict(zip(points, share(secret, threshold=threshold, points=points), strict=True))
    for chosen in itertools.combinations(points, threshold):
        assert reconstruct({x: dealt[x] for x in chosen}) == secret


def test_the_order_of_the_points_does_not_matter_and_no_set_is_taken_for_another() -> None:
    # Twice, so that the second time round every set of weights comes out of the cache.
    points = (1, 2, 3, 5, 8)
    dealt = dict(zip(points, share(SECRET, threshold=3, points=points), strict=True))
    for _ in range(2):
        for chosen in itertools.permutations(points, 3):
            assert reconstruct({x: dealt[x] for x in chosen}) == SECRET
        for pair in itertools.permutations(points, 2):
            result = interpolated({x: value_of(dealt[x]) for x in pair}, 0)
            expected = result.to_bytes(32, "big") if result < 2**256 else None
            assert reconstruct({x: dealt[x] for x in pair}) == expected != SECRET


@pytest.mark.parametrize("bit", [0, 1, 100, 255])
def test_a_wrong_share_gives_another_secret_or_none(bit: int) -> None:
    points = (1, 2, 3)
    dealt = dict(zip(points, share(SECRET, threshold=3, points=points), strict=True))
    for x in points:
        wrong = value_of(dealt[x]) ^ 1 << bit
        if wrong < P:
            assert reconstruct({**dealt, x: typed(wrong)}) != SECRET


def test_shares_at_each_others_points_give_another_secret() -> None:
    first, second = share(SECRET, threshold=2, points=[1, 2])
    assert reconstruct({1: second, 2: first}) != SECRET


@pytest.mark.parametrize("value", [2**256, 2**256 + 1, P - 1])
def test_a_result_of_more_than_256_bits_is_none(value: int) -> None:
    # Constant polynomials, then lines that rise and fall to it.
    assert reconstruct({1: typed(value)}) is None
    assert reconstruct({1: typed(value), 5: typed(value)}) is None
    assert reconstruct({1: typed((value + 3) % P), 2: typed((value + 6) % P)}) is None
    assert reconstruct({1: typed(value - 3), 2: typed(value - 6)}) is None


def test_the_largest_result_of_256_bits_is_a_secret() -> None:
    assert reconstruct({1: typed(2**256 - 1)}) == b"\xff" * 32
    assert reconstruct({1: typed(2**256), 2: typed(2**256 + 1)}) == b"\xff" * 32


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_secret_of_another_length_is_refused_without_being_shown(length: int) -> None:
    with pytest.raises(ValueError, match=f"^a secret takes 32 bytes, got {length}$"):
        share(b"\xab" * length, threshold=1, points=[1, 2])


@pytest.mark.parametrize("threshold", [-1, 0, 4])
def test_a_threshold_below_one_or_above_the_number_of_points_is_refused(threshold: int) -> None:
    with pytest.raises(ValueError, match=f"^the threshold must be 1 to 3, got {threshold}$"):
        share(SECRET, threshold=threshold, points=[1, 2, 3])
    assert len(share(SECRET, threshold=3, points=[1, 2, 3])) == 3


@pytest.mark.parametrize("points", [[], [1, 1], [1, 2, 3, 2]], ids=str)
def test_no_points_or_a_point_twice_is_refused(points: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^points must be distinct, and at least one$"):
        share(SECRET, threshold=1, points=points)


@pytest.mark.parametrize("point", [-1, 0, 2**31, P, P + 1])
def test_a_point_out_of_range_is_refused_by_both_sides(point: int) -> None:
    # The secret lies at 0; p and p + 1 are 0 and 1 again.
    with pytest.raises(ValueError, match=r"^a point must be 1 to 2\^31 - 1"):
        share(SECRET, threshold=1, points=[1, point])
    with pytest.raises(ValueError, match=r"^a point must be 1 to 2\^31 - 1"):
        reconstruct({1: typed(1), point: typed(2)})


def test_no_shares_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^points must be distinct, and at least one$"):
        reconstruct({})


@pytest.mark.parametrize("length", [0, 1, 32, 34])
def test_a_share_of_another_length_is_refused(length: int) -> None:
    for refuse in (value_of, lambda wrong: reconstruct({1: typed(1), 2: wrong})):
        with pytest.raises(ValueError, match=r"^a share is 33 bytes and below the prime$"):
            refuse(bytes(length))


@pytest.mark.parametrize("value", [P, P + 1, 2**257, 2**264 - 1])
def test_a_share_of_the_prime_or_more_is_refused(value: int) -> None:
    # The same element would have two encodings.
    for refuse in (value_of, lambda wrong: reconstruct({1: typed(1), 2: wrong})):
        with pytest.raises(ValueError, match=r"^a share is 33 bytes and below the prime$"):
            refuse(typed(value))


def test_a_share_is_read_big_endian_up_to_the_prime() -> None:
    assert [value_of(typed(value)) for value in (0, 1, 258, P - 1)] == [0, 1, 258, P - 1]
    assert value_of(bytes(31) + b"\1\2") == 258
