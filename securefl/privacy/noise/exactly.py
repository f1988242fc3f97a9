"""Exact comparisons of a uniform number with the probabilities of a discrete Gaussian.

A uniform number in [0, 1) has infinitely many bits. As many are drawn as a comparison takes, and
the probability is computed to as many digits. All are rational numbers or `decimal` exponentials,
which are rounded correctly.
"""

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction
from functools import lru_cache, partial

from securefl.rng import Keystream

_FIRST_DIGITS = 40
_MORE_BITS = 64
_MORE_DIGITS = 20  # above 64 bits, so that digits stay ahead of bits
# Digits beyond those that are asked for. They cover the roundings of some thousand terms.
_GUARD_DIGITS = 15


class Uniform:
    """A uniform number of which the first bits are drawn.

    Args:
        head: the bits so far, as an integer.
        bits: how many they are.
        stream: gives more of them.
    """

    def __init__(self, head: int, bits: int, stream: Keystream) -> None:
        self._head = head
        self._bits = bits
        self._stream = stream

    def is_below(self, number: Callable[[int], Decimal]) -> bool:
        """Returns whether the uniform number is below a real one.

        Args:
            number: digits -> the real number to within 10^-digits.
        """
        digits = _FIRST_DIGITS
        while True:
            unit = Fraction(1, 1 << self._bits)
            low = self._head * unit
            value = Fraction(number(digits))
            error = Fraction(1, 10**digits)
            if low + unit <= value - error:
                return True
            if low >= value + error:
                return False
            more = int.from_bytes(self._stream.bytes(_MORE_BITS // 8), "little")
            self._head = (self._head << _MORE_BITS) | more
            self._bits += _MORE_BITS
            digits += _MORE_DIGITS


class Level:
    """The probabilities of levels, and of their offsets, to any number of digits.

    Args:
        sigma: the parameter of the discrete Gaussian, exactly this float64.
        span_bits: of the span between two levels, a power of two.
    """

    def __init__(self, sigma: float, span_bits: int) -> None:
        self._double_variance = 2 * Fraction(sigma) ** 2
        self._span = 1 << span_bits
        self._sums = lru_cache(maxsize=16)(self._partial_sums)

    def level(self, uniform: Uniform) -> int:
        """Returns the first level whose cumulative probability is above a uniform number."""
        level = 0
        while not uniform.is_below(partial(self._cumulative, level)):
            level += 1
        return level

    def accepts(self, level: int, offset: int, coin: Uniform, *, before: Fraction) -> bool:
        """Returns whether a coin accepts an offset of a level that is not accepted yet.

        Args:
            level: of the proposal.
            offset: of the proposal.
            coin: a second coin.
            before: probability that a first coin has accepted this proposal, at most that of the
                whole acceptance.
        """
        start = level * self._span
        exponent = ((start + offset) ** 2 - start**2) / self._double_variance

        def chance(digits: int) -> Decimal:
            context = _context(digits + _GUARD_DIGITS)
            whole = Fraction(_exp_minus(exponent, digits + _GUARD_DIGITS))
            rest = (whole - before) / (1 - before)
            return context.divide(Decimal(rest.numerator), Decimal(rest.denominator))

        return coin.is_below(chance)

    def threshold(self, level: int, bits: int) -> int:
        """Returns the cumulative probability of a level in units of 2^-bits, to within one unit."""
        return int(Fraction(self._cumulative(level, _FIRST_DIGITS)) * (1 << bits))

    def _cumulative(self, level: int, digits: int) -> Decimal:
        """Returns the probability of this level or a lower one, to within 10^-digits."""
        sums = self._sums(digits)
        context = _context(digits + _GUARD_DIGITS)
        return context.divide(sums[min(level, len(sums) - 1)], sums[-1])

    def _partial_sums(self, digits: int) -> list[Decimal]:
        """Returns the sums of the levels' weights, up to weights that no digit shows.

        A span is at least a 128th of sigma. Where a weight is below 10^-40 the next one is then
        below .9 of it, so all weights behind it together are below ten times the weight.
        """
        context = _context(digits + _GUARD_DIGITS)
        smallest = Decimal(10) ** -(digits + 3)
        # exp(-k^2 a) = exp(-(k - 1)^2 a) exp(-(2 k - 1) a).
        first = _exp_minus(self._span**2 / self._double_variance, digits + _GUARD_DIGITS)
        ratio = first
        sums = [Decimal(1)]
        weight = Decimal(1)
        while weight > smallest:
            weight = context.multiply(weight, ratio)
            ratio = context.multiply(ratio, context.multiply(first, first))
            sums.append(context.add(sums[-1], weight))
        return sums


def _exp_minus(exponent: Fraction, digits: int) -> Decimal:
    """Returns exp(-exponent), of an exponent that is not negative, to within 10^-digits or so."""
    context = _context(digits)
    quotient = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    return context.exp(context.minus(quotient))


def _context(digits: int) -> Context:
    return Context(prec=digits, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
