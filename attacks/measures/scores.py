"""How well scores separate members from non-members; a higher score is more like a member."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.checks import check_finite


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    lower: float
    upper: float


class Roc(NamedTuple):
    """Error rates of each threshold, from no member called to all; k - 1 distinct scores."""

    false_positive: Tensor  # (k,) share of the non-members at or above the threshold
    true_positive: Tensor  # (k,) share of the members at or above the threshold
    thresholds: Tensor  # (k,) falling; the first is infinite


class Operating(NamedTuple):
    """One threshold, its error rates, and the interval of its true-positive rate."""

    threshold: float
    false_positive_rate: float
    true_positive_rate: float
    lower: float
    upper: float


def clopper_pearson(successes: int, trials: int, *, confidence: float) -> Interval:
    """Returns the exact two-sided interval of a probability, from counted successes.

    Args:
        successes: 0 to trials.
        trials: >= 1.
        confidence: least chance that the interval covers, in (0, 1).

    Returns:
        Its ends: the lower is 0 without a success, the upper is 1 without a failure.

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
    tail = (1 - confidence) / 2
    failures = trials - successes
    from scipy.special import betainccinv, betaincinv  # SciPy takes long to import

    lower = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    upper = float(betainccinv(successes + 1, failures, tail)) if failures else 1.0
    return Interval(lower, upper)


def roc(members: Tensor, nonmembers: Tensor) -> Roc:
    """Returns the error rates of every rule "score >= threshold", from (0, 0) to (1, 1).

    Args:
        members: (a,) floats, a >= 1.
        nonmembers: (b,) floats, b >= 1.

    Returns:
        (k,) float64 each, for k - 1 distinct scores: one point per score, and one for an infinite
        threshold.

    Raises:
        ValueError: scores are not 1-D, are empty, hold no floats or are not finite.

    Guarantees:
        - Equal scores move together: each point is reached by its threshold, and there are no
          points between.
    """
    members, nonmembers = _sorted(members, nonmembers)
    distinct = torch.unique(torch.cat([members, nonmembers])).flip(0)
    thresholds = torch.cat([distinct.new_tensor([math.inf]), distinct])
    return Roc(_at_least(nonmembers, thresholds), _at_least(members, thresholds), thresholds)


def auc(members: Tensor, nonmembers: Tensor) -> float:
    """Returns the chance that a member's score exceeds a non-member's; ties count a half.

    Args:
        members: (a,) floats, a >= 1.
        nonmembers: (b,) floats, b >= 1.

    Returns:
        The area under the ROC curve: 1 if all members lie above, 0.5 if scores say nothing.

    Raises:
        ValueError: scores are not 1-D, are empty, hold no floats or are not finite.

    Source: Mann and Whitney, Annals of Mathematical Statistics 1947; U / (a b), by sorting.
    """
    members, nonmembers = _sorted(members, nonmembers)
    twice_wins = int(_twice_above(members, nonmembers).sum())
    return twice_wins / (2 * len(members) * len(nonmembers))


def auc_error(members: Tensor, nonmembers: Tensor) -> float:
    """Returns the standard error of the AUC.

    Args:
        members: (a,) floats, a >= 2.
        nonmembers: (b,) floats, b >= 2.

    Returns:
        The square root of DeLong's variance. It is 0 where the scores separate perfectly, which
        proves no perfection.

    Raises:
        ValueError: scores are not 1-D, fewer than two, hold no floats or are not finite.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988, with placements by sorting.
        Convention: the sample variance of the placements, divisors a - 1 and b - 1, as there.
    """
    members, nonmembers = _sorted(members, nonmembers)
    a = len(members)
    b = len(nonmembers)
    if min(a, b) < 2:
        raise ValueError(f"auc_error needs two members and two non-members, got {a} and {b}")
    member_placements = _twice_above(members, nonmembers).double() / (2 * b)  # (a,)
    # These are placements of the AUC turned round, which has the same variance.
    nonmember_placements = _twice_above(nonmembers, members).double() / (2 * a)  # (b,)
    variance = member_placements.var() / a + nonmember_placements.var() / b
    return math.sqrt(float(variance))


def at_false_positive_rate(
    members: Tensor,
    nonmembers: Tensor,
    *,
    at: float,
    confidence: float,
) -> Operating | None:
    """Returns the best threshold at a limited false-positive rate; None if not measurable.

    Args:
        members: (a,) floats, a >= 1.
        nonmembers: (b,) floats, b >= 1.
        at: the largest false-positive rate allowed, above 0, up to 1.
        confidence: of the interval of the true-positive rate, in (0, 1).

    Returns:
        The threshold ("score >= threshold") with the most true positives; of several, the one
        with the fewest false positives. It is infinite if none is allowed. With it come both its
        rates and the Clopper-Pearson interval of its true-positive rate. None with fewer than
        1 / at non-members, where not a single false alarm would be allowed.

    Raises:
        ValueError: at outside of (0, 1], confidence outside of (0, 1), or scores as in roc.

    Guarantees:
        - false_positive_rate <= at, without interpolation.
        - The interval covers the sampling of members only. It takes the threshold as given,
          though it was chosen on these scores. It does not promise that the false-positive rate
          on fresh non-members is as low.
    """
    if not 0 < at <= 1:
        raise ValueError(f"at_false_positive_rate needs 0 < at <= 1, got at={at}")
    if not 0 < confidence < 1:
        raise ValueError(
            f"at_false_positive_rate needs 0 < confidence < 1, got confidence={confidence}"
        )
    curve = roc(members, nonmembers)
    if 1 / len(nonmembers) > at:
        return None
    # Both rates rise along the curve: the last allowed point has the most true positives,
    # and the first point that equals it has the fewest false ones.
    few_alarms = curve.false_positive <= at
    allowed = curve.true_positive[few_alarms]
    place = int(torch.searchsorted(allowed, allowed[-1]))
    true_positives = round(float(allowed[place]) * len(members))
    interval = clopper_pearson(true_positives, len(members), confidence=confidence)
    return Operating(
        float(curve.thresholds[place]),
        float(curve.false_positive[place]),
        float(allowed[place]),
        *interval,
    )


def _sorted(members: Tensor, nonmembers: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both in float64, ascending; raises ValueError unless they are finite scores."""
    check_finite("members", members, (-1,))
    check_finite("nonmembers", nonmembers, (-1,))
    return members.double().sort().values, nonmembers.double().sort().values


def _at_least(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Returns the share (k,) of the sorted scores at or above each threshold."""
    below = torch.searchsorted(scores, thresholds)
    return (len(scores) - below).double() / len(scores)


def _twice_above(scores: Tensor, rivals: Tensor) -> Tensor:
    """Returns twice the number of sorted rivals below each score, plus the number of equals."""
    below = torch.searchsorted(rivals, scores)
    at_or_below = torch.searchsorted(rivals, scores, right=True)
    return below + at_or_below  # (a,)
