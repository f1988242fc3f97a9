"""Discrete Gaussian noise: integers x with probability proportional to exp(-x^2 / 2 sigma^2).

A draw is sign * (level * span + offset). The span is a power of two near sigma / 100, or 1.
The level has probability proportional to exp(-(level * span)^2 / 2 sigma^2), by a table. The offset
is uniform below the span, and the draw is accepted with probability

    exp(-((level * span + offset)^2 - (level * span)^2) / 2 sigma^2).

A first coin accepts as often as that probability is at least, whatever level and offset. A second
one, which most proposals do not need, accepts the rest.

A uniform number is compared with real numbers. Floating point decides where the two are far apart,
and `exactly` decides the rest, so that no comparison is ever wrong.

Source: Canonne, Kamath and Steinke, NeurIPS 2020, section 5, for exact rejection from a simpler
distribution; Karney, ACM Transactions on Mathematical Software 2016, for level and offset.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.noise.exactly import Level, Uniform
from securefl.rng import BLOCK, Keystream

# An offset is then exact in float64, and a draw fits 64 bits.
MAX_SIGMA = 2.0**50
# How many times the span fits into sigma, as a power of two: 64 to 128 times.
_SPAN_BITS = 6
# The low bit of a 64-bit word is the sign; the rest is the uniform number of the level.
_LEVEL_BITS = 63
_COIN_BITS = 64
# Bits of the first coin: the low ones of a word whose high bits are the offset.
_FIRST_COIN_BITS = 16
# Units of 2^-63 around a threshold, and of 2^-64 around an acceptance probability, that are decided
# exactly. A threshold is off by one unit, and a probability by less than 2^20: 30 roundings of
# 2^-53 in a number below 1, over one that is at least 1 / 20.
_LEVEL_MARGIN = 2**20
_COIN_MARGIN = 2**24
# The high bits of a word by which most levels are looked up.
_GUIDE_BITS = 16
_UNDECIDED = -1


def discrete_gaussian(size: int, *, sigma: float, stream: Keystream) -> NDArray[np.int64]:
    """Returns (size,) independent draws from the discrete Gaussian of mean 0.

    Args:
        size: number of draws.
        sigma: its parameter, in (0, 2^50]; for a small one the variance is below sigma^2.
        stream: makes the noise.

    Raises:
        ValueError: sigma is outside its range.

    Guarantees:
        - Exact: if the stream's bits are uniform, each integer has its probability, without error.
        - How long a draw takes does not depend on its value. The number of proposals before an
          accepted one is independent of it, and about one in 2^30 takes an exact decision.
        - The same stream gives the same draws on every machine.
    """
    if not (math.isfinite(sigma) and 0 < sigma <= MAX_SIGMA):
        raise ValueError(f"sigma of discrete noise must be in (0, 2^50], got {sigma}")
    proposal = _proposal(float(sigma))
    draws = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        # A few more than are missing: some proposals are rejected.
        count = min(BLOCK, size - filled + (size - filled) // 8 + 8)
        accepted = proposal.accepted(count, stream)[: size - filled]
        draws[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return draws


@dataclass(frozen=True)
class _Proposal:
    """The proposals for one sigma.

    Args:
        sigma: the parameter.
        span_bits: of the span, a power of two.
        edges: ascending words of 63 bits. A word with 2 k edges below it, or equal to it, stands
            for level k. With an odd number of edges it is too close to call.
        guide: the highest bits of a word -> its level, or _UNDECIDED.
        last: the last level that the edges decide.
        quick: first coins below this accept, up to the last level.
    """

    sigma: float
    span_bits: int
    edges: NDArray[np.uint64]
    guide: NDArray[np.int16]
    last: int
    quick: int

    def accepted(self, count: int, stream: Keystream) -> NDArray[np.int64]:
        """Returns the accepted ones of `count` proposals."""
        words = stream.integers(count)
        level = self._levels(words, stream)
        negative = (words & np.uint64(1)).view(np.int64)
        if self.span_bits == 0:
            # Of the two zeros only one counts.
            is_kept = (level != 0) | (negative == 0)
            magnitude = level
        else:
            more = stream.integers(count)
            offset = (more >> np.uint64(64 - self.span_bits)).view(np.int64)
            is_kept = (more & np.uint64((1 << _FIRST_COIN_BITS) - 1)) < self.quick
            is_kept &= level <= self.last
            (undecided,) = np.nonzero(~is_kept)
            is_kept[undecided] = self._second_coins(level[undecided], offset[undecided], stream)
            magnitude = (level << self.span_bits) + offset
            is_kept &= (magnitude != 0) | (negative == 0)
        draws: NDArray[np.int64] = (magnitude ^ -negative) + negative
        kept: NDArray[np.int64] = draws[is_kept]
        return kept

    def _levels(self, words: NDArray[np.uint64], stream: Keystream) -> NDArray[np.int64]:
        """Returns the level (n,) of each word (n,)."""
        high = (words >> np.uint64(64 - _GUIDE_BITS)).view(np.int64)
        level = self.guide.take(high).astype(np.int64)
        (near,) = np.nonzero(level < 0)
        if len(near):
            numbers = words[near] >> np.uint64(1)
            passed = np.searchsorted(self.edges, numbers, side="right")
            level[near] = passed // 2
            for at in near[passed % 2 == 1]:
                level[at] = self._exact.level(Uniform(int(words[at]) >> 1, _LEVEL_BITS, stream))
        return level

    def _second_coins(
        self, level: NDArray[np.int64], offset: NDArray[np.int64], stream: Keystream
    ) -> NDArray[np.bool_]:
        """Returns whether each proposal (n,) that the first coin left open is accepted."""
        coins = stream.integers(len(level))
        # The exponent is offset (level span + offset / 2) / sigma^2.
        part = offset * (1 / self.sigma)
        exponent = level * (-(2.0**self.span_bits) / self.sigma)
        exponent -= 0.5 * part
        exponent *= part
        first = self.quick / 2.0**_FIRST_COIN_BITS
        ahead = (np.exp(exponent) - first) * (2.0**_COIN_BITS / (1 - first))
        ahead -= coins
        accepts: NDArray[np.bool_] = ahead > 0
        is_open = np.abs(ahead) <= _COIN_MARGIN
        # There the first coin was not asked.
        is_far = level > self.last
        for at in np.flatnonzero(is_open | is_far):
            coin = Uniform(int(coins[at]), _COIN_BITS, stream)
            before = Fraction(0 if is_far[at] else self.quick, 1 << _FIRST_COIN_BITS)
            accepts[at] = self._exact.accepts(int(level[at]), int(offset[at]), coin, before=before)
        return accepts

    @property
    def _exact(self) -> Level:
        return _exact(self.sigma, self.span_bits)


@lru_cache(maxsize=32)
def _exact(sigma: float, span_bits: int) -> Level:
    return Level(sigma, span_bits)


@lru_cache(maxsize=32)
def _proposal(sigma: float) -> _Proposal:
    """Returns the table of the levels, which takes milliseconds."""
    span_bits = max(0, math.frexp(sigma)[1] - 1 - _SPAN_BITS)
    exact = _exact(sigma, span_bits)
    edges: list[int] = []
    level = 0
    while True:
        threshold = exact.threshold(level, _LEVEL_BITS)
        # What lies behind two margins that touch is left to exact decisions.
        if edges and threshold - _LEVEL_MARGIN <= edges[-1]:
            break
        edges += [max(0, threshold - _LEVEL_MARGIN), threshold + _LEVEL_MARGIN]
        level += 1
    edges.pop()
    table = np.array(edges, dtype=np.uint64)
    last = len(edges) // 2
    return _Proposal(sigma, span_bits, table, _guide(table), last, _quick(sigma, span_bits, last))


def _quick(sigma: float, span_bits: int, last: int) -> int:
    """Returns a number of first coins that accept no level up to the last one too often."""
    span = 2.0**span_bits
    # A float64 exponential is right to within far less than one coin.
    least = math.exp(-(span / sigma) * (span / sigma) * (last + 0.5))
    return max(0, math.floor(least * (1 << _FIRST_COIN_BITS)) - 1)


def _guide(edges: NDArray[np.uint64]) -> NDArray[np.int16]:
    """Returns the level of all words with the same high bits, or _UNDECIDED."""
    width = 1 << (_LEVEL_BITS - _GUIDE_BITS)
    first = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) * np.uint64(width)
    passed = np.searchsorted(edges, first, side="right")
    passed_by_last = np.searchsorted(edges, first + np.uint64(width - 1), side="right")
    is_one_level = (passed == passed_by_last) & (passed % 2 == 0)
    levels: NDArray[np.int16] = np.where(is_one_level, passed // 2, _UNDECIDED).astype(np.int16)
    return levels
