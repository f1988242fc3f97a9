"""Lower bounds on epsilon from what an attack on canaries gets right.

`one_run` and `one_run_f` hold for any canaries of one run, each put in or left out by a fair coin of its own;
`clopper_pearson_epsilon` and `gaussian_mu` need independent trials: one canary a run, or canaries that do not touch
each other, such as orthogonal gradients. `one_shot` is an estimate, and bounds nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm
from torch import Tensor

from attacks.measures.scores import Interval, clopper_pearson

_LARGEST = 60.0  # epsilon, and how far apart Gaussians are: beyond it nothing is to be told
_TAILS, _POINTS = 12.0, 200_001  # deviations and points of numerical integration
Numbers = NDArray[np.float64]
Least = Callable[
    [float], float
]  # true-positive rate -> the least false-positive rate that a claim allows with it


class Estimate(NamedTuple):
    """Where the cosines of canaries lie, in 1 / sqrt(d) of theirs without them, and the epsilon that looks like."""

    mean: float
    deviation: float
    epsilon: float


class Rates(NamedTuple):
    """Of members the share that is missed, of others the share that is taken for members."""

    missed: float
    alarms: float


class Errors(NamedTuple):
    """What a threshold does: members and others tried, members missed, others taken for members."""

    members: int
    others: int
    missed: int
    alarms: int


def errors_at(scores: Tensor, inside: Tensor, threshold: float) -> Errors:
    """The errors of calling every canary of a score >= threshold a member.

    Args:
        scores: (m,), higher = more like a member.
        inside: (m,) bool, which canaries took part.
        threshold: where to cut.
    """
    called = scores >= threshold
    members = int(inside.sum())
    return Errors(
        members, len(scores) - members, int((~called & inside).sum()), int((called & ~inside).sum())
    )


def correct_guesses(scores: Tensor, inside: Tensor, guesses: int) -> int:
    """How many are right when the highest half of the guesses is called inside, and the lowest outside.

    Args:
        scores: (m,), higher = more like a member.
        inside: (m,) bool.
        guesses: even, in [0, m]; the canaries between are left alone.

    Raises:
        ValueError: guesses is odd or out of range, or a score is not a number.
    """
    if not 0 <= guesses <= len(scores) or guesses % 2:
        raise ValueError(f"guesses must be even and in [0, {len(scores)}], got {guesses}")
    if bool(scores.isnan().any()):
        raise ValueError("a score is not a number")
    order, half = scores.argsort(stable=True), guesses // 2
    return int((~inside[order[:half]]).sum()) + int(inside[order[len(order) - half :]].sum())


def clopper_pearson_epsilon(errors: Errors, *, delta: float, confidence: float) -> float:
    """The epsilon that independent trials prove at delta; 0 where they prove none.

    Args:
        errors: of one threshold, chosen without these trials.
        delta: in [0, 1).
        confidence: that the true epsilon is not below, in (0, 1); half of what it leaves goes to each kind of error.

    Raises:
        ValueError: no member or no other was tried, or a value is out of range.

    Source: Kairouz, Oh and Viswanath, ICML 2015, theorem 2.1, both ways round; Nasr et al., IEEE S&P 2021, section V.
    """
    _check(delta, confidence)
    missed, alarms = rates_at_most(errors, confidence=confidence)
    found = [
        math.log((1 - delta - one) / other)
        for one, other in ((missed, alarms), (alarms, missed))
        if one < 1 - delta
    ]
    return max(0.0, *found) if found else 0.0


def gaussian_mu(errors: Errors, *, confidence: float) -> Interval:
    """How far apart two unit Gaussians are that can be told apart so well: between these two; lower is >= 0.

    An epsilon follows where the mechanism is known to be Gaussian DP: it is then that of the Gaussian mechanism with
    sensitivity over noise of this much. Of other mechanisms it says what two Gaussians would look the same.

    Args:
        errors: of independent trials at one threshold, chosen without them.
        confidence: that the true one is not below the lower, and likewise that it is not above the upper, in (0, 1).

    Raises:
        ValueError: no member or no other was tried, or confidence is out of range.

    Source: Dong, Roth and Su, JRSS B 2022, definition 2.1; Nasr et al., USENIX Security 2023, section 4.
    """
    _check(0.0, confidence)
    most = rates_at_most(errors, confidence=confidence)
    least = Rates(
        clopper_pearson(errors.missed, errors.members, confidence=confidence).lower,
        clopper_pearson(errors.alarms, errors.others, confidence=confidence).lower,
    )
    return Interval(max(0.0, _apart(most)), _apart(least))


def _apart(rates: Rates) -> float:
    return float(-ndtri(rates.alarms) - ndtri(rates.missed))


def rates_at_most(errors: Errors, *, confidence: float) -> Rates:
    """The highest rates of missed members and of false alarms that go with the errors, both at once at confidence."""
    if min(errors.members, errors.others) < 1:
        raise ValueError(
            f"members and others must be tried, got {errors.members} and {errors.others}"
        )
    return Rates(
        clopper_pearson(errors.missed, errors.members, confidence=confidence).upper,
        clopper_pearson(errors.alarms, errors.others, confidence=confidence).upper,
    )


def one_run(canaries: int, guesses: int, correct: int, *, delta: float, confidence: float) -> float:
    """The epsilon that so many correct guesses about the canaries of one run prove at delta; 0 where none.

    Args:
        canaries: m, each put in or left out by a fair coin.
        guesses: r of them, of the canaries whose scores say most; how many is settled before looking.
        correct: v, in [0, guesses].
        delta: in [0, 1).
        confidence: that the true epsilon is not below, in (0, 1).

    Raises:
        ValueError: not 0 <= correct <= guesses <= canaries, or a value is out of range.

    Source: Steinke, Nasr and Jagielski, NeurIPS 2023, theorem 5.2 (the p-value of its appendix D).
    """
    _check_guesses(canaries, guesses, correct)
    _check(delta, confidence)
    pays = 2 * canaries * delta

    def excess(epsilon: float) -> float:
        right = 1 / (1 + math.exp(-epsilon))
        below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, right))
        worst = float((below / np.arange(1, correct + 1)).max(initial=0.0))
        return float(binom.sf(correct - 1, guesses, right)) + pays * worst - (1 - confidence)

    return _last_refuted(excess)


def one_run_f(canaries: int, guesses: int, correct: int, *, least: Least) -> float:
    """How likely so many correct guesses about the canaries of one run are at most, under a trade-off: a p-value.

    Args:
        canaries: m, each put in or left out by a fair coin.
        guesses: r of them; how many is settled before looking.
        correct: v, in [0, guesses].
        least: the claim: rate of true positives in [0, 1] -> the least rate of false positives that can go with it.
            Convex, rising, the same both ways round.

    Raises:
        ValueError: not 0 <= correct <= guesses <= canaries.

    Source: Mahloujifar, Melis and Chaudhuri, Auditing f-differential privacy in one run, 2024, theorem 8 and
        algorithm 3, for two values a canary. Below it, right_i and wrong_i are the chances that a canary picked at
        random is guessed rightly, or wrongly, while i guesses or more are right in all.
    """
    _check_guesses(canaries, guesses, correct)
    if correct == 0:
        return 1.0

    def possible(tail: float) -> bool:
        right, wrong = tail * correct / canaries, tail * (guesses - correct) / canaries
        for i in range(correct - 1, -1, -1):
            more = max(wrong, least(min(1.0, right)))
            right, wrong = right + i / (guesses - i) * (more - wrong), more
            if right + wrong > guesses / canaries:
                return False
        return True

    if possible(1.0):
        return 1.0
    low, high = -700.0, 0.0  # of the logarithm
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if possible(math.exp(middle)) else (low, middle)
    return math.exp(high)


def one_run_mu(canaries: int, guesses: int, correct: int, *, confidence: float) -> float:
    """How far apart two unit Gaussians are at least, by the correct guesses of one run; 0 where nothing is shown.

    As `one_run_f` for every trade-off of Gaussians; see `gaussian_mu` for what it says of an epsilon.
    """
    _check(0.0, confidence)

    def excess(mu: float) -> float:
        chance = one_run_f(
            canaries, guesses, correct, least=lambda rate: float(ndtr(ndtri(rate) - mu))
        )
        return chance - (1 - confidence)

    return _last_refuted(excess, upto=10.0, to=1e-3)


def one_shot(cosines: Tensor, *, d: int, delta: float) -> Estimate:
    """What the cosines of canary updates make epsilon look like: an estimate, and no bound on anything.

    Canary clients send random unit vectors; the cosine of each with what the server released is N(0, 1/d) if it says
    nothing about it. Those that took part are taken for Gaussian, too, and both compared.

    Args:
        cosines: (k,), k >= 2, of canaries that took part.
        d: coordinates of an update, >= 1.
        delta: of the epsilon, in (0, 1).

    Raises:
        ValueError: fewer than two cosines, all the same, or a value is out of range.

    Source: Andrew et al., One-shot empirical privacy estimation for federated learning, ICLR 2024, algorithm 1; the
        epsilon of two Gaussians by numerical integration, the larger of both directions.
    """
    if len(cosines) < 2 or d < 1 or not 0 < delta < 1:
        raise ValueError(
            f"one_shot needs two cosines, d >= 1 and delta in (0, 1), got {len(cosines)}, d={d} and delta={delta}"
        )
    scaled = cosines.double() * math.sqrt(d)
    mean, deviation = float(scaled.mean()), float(scaled.std())
    if not deviation > 0:
        raise ValueError("one_shot needs cosines that differ")
    reach = _TAILS * max(1.0, deviation)
    values = np.linspace(min(0.0, mean) - reach, max(0.0, mean) + reach, _POINTS)
    seen, chance = norm.logpdf(values, mean, deviation), norm.logpdf(values)

    def excess(epsilon: float) -> float:
        over = [
            np.exp(one) * -np.expm1(np.minimum(0.0, epsilon + other - one))
            for one, other in _both(seen, chance)
        ]
        return delta - max(float(trapezoid(part, values)) for part in over)

    return Estimate(mean, deviation, _last_refuted(excess, to=1e-6))


def _both(one: Numbers, other: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    return (one, other), (other, one)


def _last_refuted(
    excess: Callable[[float], float], *, upto: float = _LARGEST, to: float = 1e-9
) -> float:
    """The largest value that is refuted: excess rises, and is above 0 where nothing is refuted."""
    if excess(0.0) >= 0:
        return 0.0
    if excess(upto) < 0:
        return upto
    return max(0.0, float(brentq(excess, 0.0, upto, xtol=to)) - to)


def _check(delta: float, confidence: float) -> None:
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be in [0, 1), got {delta}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")


def _check_guesses(canaries: int, guesses: int, correct: int) -> None:
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(
            f"needs 0 <= correct <= guesses <= canaries, got {correct}, {guesses} and {canaries}"
        )
