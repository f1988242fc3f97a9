"""Discrete Gaussian noise: its exact probabilities, at every scale, and no comparison left open."""

import math
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from securefl.privacy.noise import discrete
from securefl.privacy.noise.discrete import MAX_SIGMA, discrete_gaussian
from securefl.rng import Keystream, seeded_keystream
from tests.privacy.test_gaussian import FALSE_ALARM

# Enough that a scale one percent wrong is caught at this rate of false alarms.
DRAWS = 1_000_000
MIN_EXPECTED = 10.0
BINS = 100
MAX_SIGMA_OF_SINGLE_VALUES = 10.0

SIGMAS = [0.3, 1.0, 4.0, 1000.0]
LARGE = [1.3 * 2.0**20, 1.9 * 2.0**40, 2.0**50]


def draws(size: int, sigma: float, seed: int = 0) -> NDArray[np.int64]:
    return discrete_gaussian(size, sigma=sigma, stream=seeded_keystream(seed, "test"))


def chi_square_is_right(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> bool:
    """Tests counts (n,) against shares (n,) that add up to 1."""
    expected = shares * counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic < float(chi2.isf(FALSE_ALARM, len(counts) - 1))


def fits(numbers: NDArray[np.int64], sigma: float) -> bool:
    """Tests numbers against the exact probabilities, integers of neighbouring values in one bin."""
    reach = math.ceil(12 * sigma) + 1
    weights = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    cumulative = np.cumsum(weights / weights.sum())
    # A bin ends where enough is in it, and where enough is left. Of a wide distribution a hundred
    # bins are enough; more of them would hide a wrong scale.
    least = 1 / BINS if sigma > MAX_SIGMA_OF_SINGLE_VALUES else MIN_EXPECTED / len(numbers)
    ends = [-1]
    shares = []
    for at, total in enumerate(cumulative):
        before = cumulative[ends[-1]] if ends[-1] >= 0 else 0.0
        if total - before >= least and 1 - total >= least:
            shares.append(total - before)
            ends.append(at)
    shares.append(1 - cumulative[ends[-1]])
    bins = np.searchsorted(np.array(ends[1:]) - reach, numbers, side="left")
    return chi_square_is_right(np.bincount(bins, minlength=len(shares)), np.array(shares))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_draws_have_the_probabilities_of_the_discrete_gaussian(sigma: float) -> None:
    assert fits(draws(DRAWS, sigma), sigma)


@pytest.mark.parametrize("wrong", [0.99, 1.01])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_test_catches_a_scale_one_percent_wrong(sigma: float, wrong: float) -> None:
    assert not fits(draws(DRAWS, sigma * wrong), sigma)


def test_the_test_catches_a_rounded_continuous_gaussian() -> None:
    # Its variance is larger by a twelfth, and its share of zeros .90 instead of .99.
    rounded = np.rint(0.3 * seeded_keystream(0, "test").normal(DRAWS)).astype(np.int64)
    assert not fits(rounded, 0.3)


@pytest.mark.parametrize("missing", [0, 1, 7])
def test_the_test_catches_a_value_that_is_never_drawn(missing: int) -> None:
    numbers = draws(DRAWS, 4.0)
    assert not fits(numbers[numbers != missing], 4.0)


@pytest.mark.parametrize("sigma", LARGE)
def test_large_draws_have_the_quantiles_of_a_normal(sigma: float) -> None:
    # The two differ by less than exp(-2 pi^2 sigma^2). A span is many bins wide, so a gap where
    # level and offset meet would be seen.
    numbers = draws(DRAWS, sigma) / sigma
    ends = norm.ppf(np.arange(1, 1000) / 1000)
    counts = np.bincount(np.searchsorted(ends, numbers), minlength=1000)
    assert chi_square_is_right(counts, np.full(1000, 0.001))
    wrong = np.bincount(np.searchsorted(ends, 1.02 * numbers), minlength=1000)
    assert not chi_square_is_right(wrong, np.full(1000, 0.001))


@pytest.mark.parametrize("sigma", [128.0, *LARGE])
def test_the_last_digits_of_large_draws_are_uniform(sigma: float) -> None:
    digits = draws(DRAWS, sigma) % 8
    assert chi_square_is_right(np.bincount(digits, minlength=8), np.full(8, 1 / 8))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 127.9, 128.0, 1000.0])
def test_no_draw_tells_of_the_next(sigma: float) -> None:
    numbers = draws(200_001, sigma).astype(np.float64)
    correlation = float(np.corrcoef(numbers[:-1], numbers[1:])[0, 1])
    assert abs(correlation) < 4.9 / math.sqrt(200_000)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.5, 200.0, 1e6, 1.7 * 2.0**49])
def test_exact_decisions_are_those_of_floating_point(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = draws(100, sigma).tolist()
    proposal = discrete._proposal(sigma)
    undecided = replace(
        proposal,
        edges=np.zeros(1, dtype=np.uint64),
        guide=np.full_like(proposal.guide, discrete._UNDECIDED),
    )
    # Nothing is then decided by floating point: no level, and no second coin.
    monkeypatch.setattr(discrete, "_proposal", lambda sigma: undecided)
    monkeypatch.setattr(discrete, "_COIN_MARGIN", 2**80)
    assert draws(100, sigma).tolist() == usual


@pytest.mark.parametrize("sigma", [0.3, 5.5, 20.0, 1.7 * 2.0**49])
def test_almost_every_comparison_is_decided_by_floating_point(sigma: float) -> None:
    proposal = discrete._proposal(sigma)
    widths = np.diff(proposal.edges)[::2]
    assert (widths == 2 * discrete._LEVEL_MARGIN).all()
    # What lies beyond the last edge is the tail.
    assert 2**63 - int(proposal.edges[-1]) < 64 * discrete._LEVEL_MARGIN
    assert len(proposal.edges) * discrete._LEVEL_MARGIN / 2**63 < 2**-31


class Words(Keystream):
    """A keystream of given 64-bit words."""

    def __init__(self, *words: int) -> None:
        self.words = list(words)

    def integers(self, size: int) -> NDArray[np.uint64]:
        """Returns the next words."""
        taken, self.words = self.words[:size], self.words[size:]
        return np.array(taken, dtype=np.uint64)


def chance_of(level: int, offset: int, sigma: float, span: int) -> Fraction:
    """Returns the probability of acceptance, in rational numbers, to 20 digits."""
    start = level * span
    exponent = Fraction((start + offset) ** 2 - start**2) / (2 * Fraction(sigma) ** 2)
    return Fraction(sum((-exponent) ** n / math.factorial(n) for n in range(20)))


PROPOSALS = [(0, 1), (0, 2047), (3, 2047), (40, 1000), (300, 2047)]


@pytest.mark.parametrize(("level", "offset"), PROPOSALS)
def test_a_second_coin_accepts_the_rest_of_the_probability(level: int, offset: int) -> None:
    sigma = 200_000.0
    proposal = discrete._proposal(sigma)
    assert 1 << proposal.span_bits == 2048
    first = Fraction(proposal.quick, 2**16)
    rest = (chance_of(level, offset, sigma, 2048) - first) / (1 - first)
    coin = int(rest * 2**64)
    for by, is_accepted in [(-(2**26), True), (2**26, False), (-9, True), (9, False)]:
        # Far from the probability floating point decides, near to it the exact comparison.
        accepts = proposal._second_coins(np.array([level]), np.array([offset]), Words(coin + by))
        assert accepts.tolist() == [is_accepted], by


def test_the_first_coin_is_not_asked_beyond_the_table() -> None:
    # The table ends at level 2. Level 300 has a threshold; the words below it are that level.
    sigma = 200_000.0
    usual = discrete._proposal(sigma)
    short = replace(usual, last=2, quick=discrete._quick(sigma, usual.span_bits, 2))
    word = (int(usual.edges[2 * 300]) - 10) << 1
    offset = 2047
    chance = int(chance_of(300, offset, sigma, 2048) * 2**64)
    assert chance < short.quick << 48
    more = offset << (64 - usual.span_bits)  # the first coin is 0
    for by, numbers in [(-9, [300 * 2048 + offset]), (9, []), (2**50, [])]:
        assert short.accepted(1, Words(word, more, chance + by)).tolist() == numbers
    # Within the table the first coin is enough.
    assert usual.accepted(1, Words(word | 1, more)).tolist() == [-(300 * 2048 + offset)]


@pytest.mark.parametrize("sigma", [128.0, 255.9, 1e6, 2.0**50])
def test_a_first_coin_accepts_no_proposal_too_often(sigma: float) -> None:
    proposal = discrete._proposal(sigma)
    span = 1 << proposal.span_bits
    start = proposal.last * span
    # The largest offset of the last level is accepted least often; exactly, in rational numbers.
    exponent = Fraction((start + span) ** 2 - start**2) / (2 * Fraction(sigma) ** 2)
    chance = 1 - exponent + exponent**2 / 2 - exponent**3 / 6
    assert Fraction(proposal.quick, 2**16) <= chance <= Fraction(proposal.quick + 4, 2**16)
    assert proposal.quick < 0.95 * 2**16


def test_a_tiny_sigma_draws_zeros() -> None:
    assert not draws(10_000, 1e-3).any()
    assert not draws(3, 1e-300).any()


def test_a_number_of_draws_is_what_was_asked_for() -> None:
    for size in (0, 1, 7, 8192, 8193, 20_000):
        numbers = draws(size, 3.0)
        assert numbers.shape == (size,)
        assert numbers.dtype == np.int64


def test_the_same_stream_gives_the_same_draws() -> None:
    # Typed in from this sampler: streams of released runs must not change.
    key = bytes(range(32))
    small = discrete_gaussian(12, sigma=2.0, stream=Keystream(key))
    large = discrete_gaussian(4, sigma=1e6, stream=Keystream(key))
    assert small.tolist() == [2, -1, 3, 0, 2, 1, 0, 1, 0, -2, 3, -3]
    assert large.tolist() == [1334346, -676649, 1632296, 308762]


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 1.01 * MAX_SIGMA])
def test_a_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"sigma of discrete noise must be in \(0, 2\^50\]"):
        draws(1, sigma)


def test_a_draw_takes_well_below_half_a_microsecond() -> None:
    draws(1000, 3e5)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        draws(100_000, 3e5)
        best = min(best, time.process_time() - start)
    assert best / 100_000 < 0.5e-6
