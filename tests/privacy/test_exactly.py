"""Exact comparisons: more bits only where they are needed, and probabilities by an oracle."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest

from securefl.privacy.noise.exactly import Level, Uniform
from securefl.rng import Keystream


class Bits(Keystream):
    """A keystream of given 64-bit words, each to be read once."""

    def __init__(self, *words: int) -> None:
        self.words = list(words)

    def bytes(self, size: int) -> bytes:
        """Returns the next word."""
        return self.words.pop(0).to_bytes(size, "little")


FIVES = 0x5555555555555555  # a third is .0101... in binary


def third(digits: int) -> Decimal:
    with localcontext() as context:
        context.prec = digits + 5
        return Decimal(1) / Decimal(3)


@pytest.mark.parametrize(("head", "is_below"), [(FIVES - 1, True), (FIVES + 1, False)])
def test_bits_that_decide_are_not_followed_by_more(head: int, is_below: bool) -> None:
    assert Uniform(head, 64, Bits()).is_below(third) is is_below


@pytest.mark.parametrize("last", [FIVES - 1, FIVES + 1])
@pytest.mark.parametrize("more", [1, 2, 5])
def test_bits_that_agree_with_a_number_are_followed_by_more(more: int, last: int) -> None:
    stream = Bits(*[FIVES] * (more - 1), last)
    assert Uniform(FIVES, 64, stream).is_below(third) is (last < FIVES)
    assert not stream.words


def test_a_uniform_number_keeps_the_bits_that_it_drew() -> None:
    stream = Bits(FIVES - 1)
    uniform = Uniform(FIVES, 64, stream)
    assert uniform.is_below(third)
    assert uniform.is_below(third)


def test_a_number_that_is_met_exactly_is_not_above() -> None:
    # The interval of the head begins at the number: [1/2, 1/2 + 2^-64).
    half = Uniform(1 << 63, 64, Bits(1))
    assert not half.is_below(lambda digits: Decimal("0.5"))
    assert Uniform((1 << 63) - 1, 64, Bits(5)).is_below(lambda digits: Decimal("0.5"))


@pytest.mark.parametrize("by", ["5e-41", "-5e-41"])
def test_a_number_within_the_error_of_an_end_is_not_decided_yet(by: str) -> None:
    # One half and a little: the first 40 digits do not show on which side the number lies.
    with localcontext() as context:
        context.prec = 60
        number = Decimal("0.5") + Decimal(by)
    zeros = Uniform(1 << 63, 64, Bits(0, 0, 0))
    assert zeros.is_below(lambda digits: number) is (number > Decimal("0.5"))
    ones = Uniform((1 << 63) - 1, 64, Bits(*[2**64 - 1] * 3))
    assert ones.is_below(lambda digits: number) is (number > Decimal("0.5"))


def weight(start: int, sigma: float) -> Decimal:
    """Returns exp(-start^2 / 2 sigma^2) by a series, to 60 digits."""
    with localcontext() as context:
        context.prec = 120
        exponent = Fraction(start) ** 2 / (2 * Fraction(sigma) ** 2)
        if exponent > 200:
            return Decimal(0)
        x = Decimal(exponent.numerator) / Decimal(exponent.denominator)
        term = total = Decimal(1)
        n = 1
        while term > Decimal("1e-100"):
            term *= x / n
            total += term
            n += 1
        return 1 / total


@pytest.mark.parametrize(("sigma", "span_bits"), [(0.3, 0), (3.7, 0), (12.0, 1), (1000.5, 7)])
def test_thresholds_are_the_cumulative_probabilities(sigma: float, span_bits: int) -> None:
    span = 1 << span_bits
    weights = [weight(level * span, sigma) for level in range(130)]
    with localcontext() as context:
        context.prec = 80
        total = sum(weights, Decimal(0))
        for level in range(12):
            exact = sum(weights[: level + 1]) / total * 2**63
            assert abs(Level(sigma, span_bits).threshold(level, 63) - exact) <= 1


def test_a_level_is_the_first_whose_cumulative_probability_is_above() -> None:
    exact = Level(3.7, 0)
    for level in range(6):
        threshold = exact.threshold(level, 63)
        assert exact.level(Uniform(threshold - 2, 63, Bits())) == level
        assert exact.level(Uniform(threshold + 2, 63, Bits())) == level + 1


def test_an_offset_is_accepted_as_often_as_the_ratio_of_weights() -> None:
    # Level 3 of span 128 begins at 384; offset 50 is at 434.
    exact = Level(1000.5, 7)
    with localcontext() as context:
        context.prec = 80
        chance = int(weight(434, 1000.5) / weight(384, 1000.5) * 2**64)
    never = Fraction(0)
    assert exact.accepts(3, 50, Uniform(chance - 1, 64, Bits()), before=never)
    assert not exact.accepts(3, 50, Uniform(chance + 1, 64, Bits()), before=never)
    # Offset 0 is accepted whatever the coin.
    assert exact.accepts(3, 0, Uniform(2**64 - 1, 64, Bits(5)), before=never)


def test_a_second_coin_accepts_what_the_first_one_left() -> None:
    exact = Level(1000.5, 7)
    with localcontext() as context:
        context.prec = 80
        whole = weight(434, 1000.5) / weight(384, 1000.5)
        rest = int((whole - Decimal("0.75")) / Decimal("0.25") * 2**64)
    before = Fraction(3, 4)
    assert exact.accepts(3, 50, Uniform(rest - 1, 64, Bits()), before=before)
    assert not exact.accepts(3, 50, Uniform(rest + 1, 64, Bits()), before=before)
