"""Lower bounds on epsilon from one run whose canaries are each included by a fair coin."""

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from attacks.measures.epsilon import check_levels, largest_refuted

_LARGEST_MU = 10.0  # between Gaussians of deviation 1; more is not searched
_LEAST_LOG_P_VALUE = -700.0  # exp(-708) is the smallest normal float64

# True-positive rate -> the least false-positive rate that a claim allows with it.
TradeOff = Callable[[float], float]


def correct_guesses(scores: Tensor, inside: Tensor, guesses: int) -> int:
    """Returns how many guesses are right, half of them "inside" and half "outside".

    The highest scores are guessed to be inside, the lowest outside.

    Args:
        scores: (m,), higher = more like a member.
        inside: (m,) bool.
        guesses: even, in [0, m]; no guess is made on the canaries between.

    Raises:
        ValueError: guesses is odd or out of range, or a score is not a number.
    """
    if not 0 <= guesses <= len(scores) or guesses % 2:
        raise ValueError(f"guesses must be even and in [0, {len(scores)}], got {guesses}")
    if bool(scores.isnan().any()):
        raise ValueError("a score is not a number")
    order = scores.argsort(stable=True)
    half = guesses // 2
    lowest = order[:half]
    highest = order[len(order) - half :]  # not [-half:], which is everything for half = 0
    right_outside = int((~inside[lowest]).sum())
    right_inside = int(inside[highest].sum())
    return right_outside + right_inside


def one_run(
    canaries: int,
    guesses: int,
    correct: int,
    *,
    delta: float,
    confidence: float,
) -> float:
    """Returns the epsilon that correct guesses about one run's canaries prove; 0 for none.

    Args:
        canaries: m, each included by a fair coin.
        guesses: r, on the canaries with the most telling scores; r is fixed before looking.
        correct: v, in [0, guesses].
        delta: at which epsilon is proven, in [0, 1).
        confidence: that the true epsilon is no lower, in (0, 1).

    Raises:
        ValueError: not 0 <= correct <= guesses <= canaries, or a value is out of range.

    Source: Steinke, Nasr and Jagielski, NeurIPS 2023, theorem 5.2 (the p-value of appendix D).
    """
    # Importing scipy.stats takes a second, which other attacks need not wait.
    from scipy.stats import binom

    _check_guesses(canaries, guesses, correct)
    check_levels(delta, confidence)
    cost_of_delta = 2 * canaries * delta

    def excess(epsilon: float) -> float:
        right = 1 / (1 + math.exp(-epsilon))
        # below[i - 1]: the chance of correct - i to correct - 1 right guesses.
        fewer = np.arange(correct - 1, -1, -1)
        below = np.cumsum(binom.pmf(fewer, guesses, right))
        per_guess = below / np.arange(1, correct + 1)
        worst = float(per_guess.max(initial=0.0))
        tail = float(binom.sf(correct - 1, guesses, right))
        return tail + cost_of_delta * worst - (1 - confidence)

    return largest_refuted(excess)


def one_run_f(
    canaries: int,
    guesses: int,
    correct: int,
    *,
    least: TradeOff,
) -> float:
    """Returns the p-value of correct guesses about one run's canaries, under a trade-off.

    Args:
        canaries: m, each included by a fair coin.
        guesses: r, fixed before looking.
        correct: v, in [0, guesses].
        least: the claim: true-positive rate in [0, 1] -> the least false-positive rate that it
            allows. Convex, rising, the same both ways round.

    Raises:
        ValueError: not 0 <= correct <= guesses <= canaries.

    Source: Mahloujifar, Melis and Chaudhuri, Auditing f-differential privacy in one run, 2024,
        theorem 8 and algorithm 3, for two values per canary.
    """
    _check_guesses(canaries, guesses, correct)
    if correct == 0:
        return 1.0

    def possible(p_value: float) -> bool:
        # After step i, right and wrong bound the chances that a random canary is guessed rightly
        # (wrongly), while i or more guesses are right in all.
        right = p_value * correct / canaries
        wrong = p_value * (guesses - correct) / canaries
        for i in range(correct - 1, -1, -1):
            next_wrong = max(wrong, least(min(1.0, right)))
            right += i / (guesses - i) * (next_wrong - wrong)
            wrong = next_wrong
            # The share of canaries that are guessed at all is guesses / canaries.
            if right + wrong > guesses / canaries:
                return False
        return True

    if possible(1.0):
        return 1.0
    low = _LEAST_LOG_P_VALUE
    high = 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if possible(math.exp(middle)):
            low = middle
        else:
            high = middle
    return math.exp(high)


def one_run_mu(
    canaries: int,
    guesses: int,
    correct: int,
    *,
    confidence: float,
) -> float:
    """Returns a lower bound on the distance of two unit Gaussians, from one run's guesses.

    It is 0 where nothing is shown. It applies `one_run_f` to the trade-offs of Gaussians;
    `gaussian_mu` explains how an epsilon follows from it.
    """
    from scipy.special import ndtr, ndtri  # SciPy takes long to import

    check_levels(0.0, confidence)

    def excess(mu: float) -> float:
        def least(rate: float) -> float:
            return float(ndtr(ndtri(rate) - mu))

        return one_run_f(canaries, guesses, correct, least=least) - (1 - confidence)

    return largest_refuted(excess, limit=_LARGEST_MU, tolerance=1e-3)


def _check_guesses(canaries: int, guesses: int, correct: int) -> None:
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(
            f"needs 0 <= correct <= guesses <= canaries, got {correct}, {guesses} and {canaries}"
        )
