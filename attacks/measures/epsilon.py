"""Lower bounds on epsilon from independent trials: one canary per run, or canaries apart.

Canaries that do not interact, such as orthogonal gradients, are independent within one run, too.
For any canaries of one run see `one_run.py`; `one_shot.py` estimates, and bounds nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from attacks.measures.scores import Interval, clopper_pearson

_LARGEST_EPSILON = 60.0  # as bad as none: searches stop here


class Rates(NamedTuple):
    """Error rates: members taken for non-members, and non-members taken for members."""

    missed: float
    alarms: float


class Errors(NamedTuple):
    """Errors of one threshold, out of the members and non-members that were tried."""

    members: int
    nonmembers: int
    missed: int
    alarms: int


def errors_at(scores: Tensor, inside: Tensor, threshold: float) -> Errors:
    """Returns the errors of calling every canary with score >= threshold a member.

    Args:
        scores: (m,), higher = more like a member.
        inside: (m,) bool, which canaries took part.
        threshold: lowest score that is called a member.
    """
    called = scores >= threshold
    members = int(inside.sum())
    missed = int((~called & inside).sum())
    alarms = int((called & ~inside).sum())
    return Errors(members, len(scores) - members, missed, alarms)


def clopper_pearson_epsilon(errors: Errors, *, delta: float, confidence: float) -> float:
    """Returns the epsilon that independent trials prove at delta; 0 where they prove none.

    Args:
        errors: of one threshold, chosen without these trials.
        delta: in [0, 1).
        confidence: that the true epsilon is no lower, in (0, 1). Half of 1 - confidence goes to
            each kind of error.

    Raises:
        ValueError: no member or no non-member was tried, or a value is out of range.

    Source: Kairouz, Oh and Viswanath, ICML 2015, theorem 2.1, both ways round; Nasr et al., IEEE
        S&P 2021, section V.
    """
    check_levels(delta, confidence)
    missed, alarms = rates_at_most(errors, confidence=confidence)
    bounds = [0.0]
    # Differential privacy is symmetric, so that each kind of error gives a bound.
    for first, second in ((missed, alarms), (alarms, missed)):
        if first < 1 - delta:
            bounds.append(math.log((1 - delta - first) / second))
    return max(bounds)


def gaussian_mu(errors: Errors, *, confidence: float) -> Interval:
    """Returns an interval for the distance of two unit Gaussians that are as distinguishable.

    An epsilon follows if the mechanism is known to be Gaussian DP: that of the Gaussian mechanism
    whose sensitivity over noise is this distance. For other mechanisms it only says which two
    Gaussians would look the same.

    Args:
        errors: of independent trials at one threshold, chosen without them.
        confidence: that the true distance is not below the lower end, and likewise that it is not
            above the upper end; in (0, 1).

    Returns:
        Its ends; the lower one is >= 0.

    Raises:
        ValueError: no member or no non-member was tried, or confidence is out of range.

    Source: Dong, Roth and Su, JRSS B 2022, definition 2.1; Nasr et al., USENIX Security 2023,
        section 4.
    """
    check_levels(0.0, confidence)
    highest = rates_at_most(errors, confidence=confidence)
    lowest = Rates(
        clopper_pearson(errors.missed, errors.members, confidence=confidence).lower,
        clopper_pearson(errors.alarms, errors.nonmembers, confidence=confidence).lower,
    )
    return Interval(max(0.0, _distance(highest)), _distance(lowest))


def _distance(rates: Rates) -> float:
    """Returns how far apart two unit Gaussians are that a threshold separates at these rates."""
    from scipy.special import ndtri  # SciPy takes long to import

    return float(-ndtri(rates.alarms) - ndtri(rates.missed))


def rates_at_most(errors: Errors, *, confidence: float) -> Rates:
    """Returns upper bounds on both error rates; they hold together at `confidence`."""
    if min(errors.members, errors.nonmembers) < 1:
        raise ValueError(
            f"members and non-members must be tried, got {errors.members} and {errors.nonmembers}"
        )
    return Rates(
        clopper_pearson(errors.missed, errors.members, confidence=confidence).upper,
        clopper_pearson(errors.alarms, errors.nonmembers, confidence=confidence).upper,
    )


def largest_refuted(
    excess: Callable[[float], float], *, limit: float = _LARGEST_EPSILON, tolerance: float = 1e-9
) -> float:
    """Returns the largest value that is refuted, rounded down by `tolerance`.

    Args:
        excess: rising function of the value, negative where the value is refuted.
        limit: largest value tried.
        tolerance: of the root.
    """
    # Importing scipy.optimize takes half a second, which other attacks need not wait.
    from scipy.optimize import brentq

    if excess(0.0) >= 0:
        return 0.0
    if excess(limit) < 0:
        return limit
    # The root may lie a tolerance too high; a bound must not.
    root = float(brentq(excess, 0.0, limit, xtol=tolerance))
    return max(0.0, root - tolerance)


def check_levels(delta: float, confidence: float) -> None:
    """Raises ValueError unless 0 <= delta < 1 and 0 < confidence < 1."""
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be in [0, 1), got {delta}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
