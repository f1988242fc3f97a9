"""How well scores tell members from others; a higher score is more like a member."""

import math
from typing import NamedTuple

import torch
from scipy.special import betainccinv, betaincinv
from torch import Tensor


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    lower: float
    upper: float


class Roc(NamedTuple):
    """What the thresholds reach, from none called a member to all; k - 1 distinct scores."""

    false_positive: Tensor  # (k,) share of the others at or above the threshold
    true_positive: Tensor  # (k,) share of the members at or above the threshold
    thresholds: Tensor  # (k,) falling; the first is infinite


class Operating(NamedTuple):
    """One threshold, what it reaches, and the interval of its true-positive rate."""

    threshold: float
    false_positive_rate: float
    true_positive_rate: float
    lower: float
    upper: float


def clopper_pearson(successes: int, trials: int, *, confidence: float) -> Interval:
    """The two-sided exact interval of a chance, from how often it came true.

    Args:
        successes: times that it came true, 0 to trials.
        trials: times that it was tried, >= 1.
        confidence: least chance that the interval covers, between 0 and 1, both excluded.

    Returns:
        Its ends: 0 below if it never came true, 1 above if it always did.

    Raises:
        ValueError: trials < 1, successes outside of 0 to trials, or confidence outside of (0, 1).

    Source: Clopper and Pearson, Biometrika 1934; as quantiles of the beta distribution.
    """
    if trials < 1:
        raise ValueError(f"clopper_pearson needs trials >= 1, got trials={trials}")
    if not 0 <= successes <= trials:
        raise ValueError(
            f"clopper_pearson needs 0 <= successes <= {trials}, got successes={successes}"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"clopper_pearson needs 0 < confidence < 1, got confidence={confidence}")
    tail, failures = (1 - confidence) / 2, trials - successes
    lower = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    upper = float(betainccinv(successes + 1, failures, tail)) if failures else 1.0
    return Interval(lower, upper)


def roc(members: Tensor, others: Tensor) -> Roc:
    """The rates of every rule "score >= threshold", from (0, 0) to (1, 1).

    Args:
        members: (a,) floats, a >= 1.
        others: (b,) floats, b >= 1.

    Returns:
        (k,) float64 each, k - 1 distinct scores: a point for each, and one for an infinite threshold.

    Raises:
        ValueError: scores are not 1-D, are empty, hold no floats or are not finite.

    Guarantees:
        - Equal scores move together: every point is reached by its threshold, and no other point is.
    """
    members, others = _sorted(members, others)
    distinct = torch.unique(torch.cat([members, others])).flip(0)
    thresholds = torch.cat([distinct.new_tensor([math.inf]), distinct])
    return Roc(_at_least(others, thresholds), _at_least(members, thresholds), thresholds)


def auc(members: Tensor, others: Tensor) -> float:
    """The chance that a member's score is above another's, equal scores counted a half.

    Args:
        members: (a,) floats, a >= 1.
        others: (b,) floats, b >= 1.

    Returns:
        The area under the ROC curve: 1 if all members lie above, .5 where scores tell nothing.

    Raises:
        ValueError: scores are not 1-D, are empty, hold no floats or are not finite.

    Source: Mann and Whitney, Annals of Mathematical Statistics 1947; U / (a b), by sorting.
    """
    members, others = _sorted(members, others)
    return int(_twice_above(members, others).sum()) / (2 * len(members) * len(others))


def auc_error(members: Tensor, others: Tensor) -> float:
    """The standard error of the AUC.

    Args:
        members: (a,) floats, a >= 2.
        others: (b,) floats, b >= 2.

    Returns:
        The square root of DeLong's variance; 0 where the scores separate perfectly, which is no proof of perfection.

    Raises:
        ValueError: scores are not 1-D, fewer than two, hold no floats or are not finite.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988, with placements by sorting. Convention: the sample
        variance of the placements, divisors a - 1 and b - 1, as in the source.
    """
    members, others = _sorted(members, others)
    if min(len(members), len(others)) < 2:
        raise ValueError(
            f"auc_error needs two members and others, got {len(members)} and {len(others)}"
        )
    of_members = _twice_above(members, others).double() / (2 * len(others))  # (a,)
    of_others = _twice_above(others, members).double() / (
        2 * len(members)
    )  # (b,) the AUC turned round: same variance
    return math.sqrt(float(of_members.var() / len(members) + of_others.var() / len(others)))


def at_false_positive_rate(
    members: Tensor, others: Tensor, *, at: float, confidence: float
) -> Operating | None:
    """The threshold with the most true positives at no more than a rate of false ones; None if not measured.

    Args:
        members: (a,) floats, a >= 1.
        others: (b,) floats, b >= 1.
        at: the most false positives as a share of the others, above 0, up to 1.
        confidence: that of the interval of the true-positive rate, between 0 and 1.

    Returns:
        The threshold ("score >= threshold"), both its rates and the Clopper-Pearson interval of its true-positive rate;
        of thresholds with as many true positives that with the fewest false ones, an infinite one if there are none.
        None with fewer than 1 / at others, where not one false alarm would be allowed to happen.

    Raises:
        ValueError: at outside of (0, 1], confidence outside of (0, 1), or scores as in roc.

    Guarantees:
        - false_positive_rate <= at, without interpolation.
        - The interval covers the chance of the members alone: the threshold is taken as given, though it was chosen on
          these scores. That the false-positive rate on fresh others is as low is not covered.
    """
    if not 0 < at <= 1:
        raise ValueError(f"at_false_positive_rate needs 0 < at <= 1, got at={at}")
    if not 0 < confidence < 1:
        raise ValueError(
            f"at_false_positive_rate needs 0 < confidence < 1, got confidence={confidence}"
        )
    curve = roc(members, others)
    if 1 / len(others) > at:
        return None
    allowed = curve.true_positive[
        curve.false_positive <= at
    ]  # rises, and so does the other: the last is the most
    place = int(torch.searchsorted(allowed, allowed[-1]))  # the first of equals
    true_positives = round(float(allowed[place]) * len(members))
    return Operating(
        float(curve.thresholds[place]),
        float(curve.false_positive[place]),
        float(allowed[place]),
        *clopper_pearson(true_positives, len(members), confidence=confidence),
    )


def _sorted(members: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, rising; ValueError unless they are finite scores."""
    for name, scores in (("members", members), ("others", others)):
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(f"{name} must be 1-D and not empty, got shape {tuple(scores.shape)}")
        if not scores.is_floating_point():
            raise ValueError(f"{name} must be floats, got {scores.dtype}")
        if not bool(torch.isfinite(scores).all()):
            raise ValueError(
                f"{name} must be finite, got {int((~torch.isfinite(scores)).sum())} that are not finite"
            )
    return members.double().sort().values, others.double().sort().values


def _at_least(scores: Tensor, thresholds: Tensor) -> Tensor:
    """(k,) the share of sorted scores at or above each threshold."""
    return (len(scores) - torch.searchsorted(scores, thresholds)).double() / len(scores)


def _twice_above(scores: Tensor, sorted_others: Tensor) -> Tensor:
    """(a,) twice the number of others below every score, and once that of those equal to it."""
    return torch.searchsorted(sorted_others, scores) + torch.searchsorted(
        sorted_others, scores, right=True
    )
