"""Verdicts: whether a claim holds, is violated or cannot be judged by what was measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

import attacks
from securefl.audit.bounds import (
    LINE_CONFIDENCE,
    Claim,
    bounds,
    one_run_epsilon,
    one_run_refutation,
    refutation,
)
from securefl.audit.lines import FALSE_POSITIVE_RATES, Line, Point, Share, Verdict
from securefl.audit.repertoire import MECHANISM
from securefl.rng import Keystream

MIN_RECORDS = 10  # members, and as many non-members, before anything is measured
POINT_CONFIDENCE = 0.95  # of the interval of a true-positive rate


@dataclass(frozen=True)
class Scored:
    """The scores of one attack.

    Attributes:
        attack: its name.
        scores: (n,) one a record, higher = more like a record that was trained on.
        inside: (n,) bool, the records that were trained on.
        finest: the lowest false-positive rate that the attack is good for.
    """

    attack: str
    scores: Tensor
    inside: Tensor
    finest: float = 0.0

    @property
    def members(self) -> Tensor:
        """Scores of the records that were trained on."""
        return self.scores[self.inside]

    @property
    def others(self) -> Tensor:
        """Scores of the records that were not."""
        return self.scores[~self.inside]


def membership_line(scored: Scored, claim: Claim | None, *, by_coins: bool) -> Line:
    """Returns the line of an attack on real records.

    Args:
        scored: the scores of the records.
        claim: None where the run makes none.
        by_coins: whether fair coins chose the members. Any other split can differ for reasons
            of its own, so that a difference between its halves refutes nothing.
    """
    if claim is None:
        why = "measured; there is no claim to hold it against"
        return _line(scored, claim, Verdict.UNCLAIMED, why)
    # Training and test records of a data set can differ without any leak.
    if not by_coins:
        why = (
            "the run's own split was not made by coins, so that no difference refutes the claim; "
            "audit the scenario"
        )
        return _line(scored, claim, Verdict.UNDECIDED, why)
    if min(len(scored.members), len(scored.others)) < MIN_RECORDS:
        return _line(scored, claim, Verdict.UNDECIDED, "too few records")
    epsilon = one_run_epsilon(
        scored.scores, scored.inside, delta=claim.delta, confidence=LINE_CONFIDENCE
    )
    refuted = one_run_refutation(scored.scores, scored.inside, claim, confidence=LINE_CONFIDENCE)
    if refuted is not None:
        return _line(scored, claim, Verdict.VIOLATED, refuted, epsilon)
    why = "no violation found, which says nothing about better attacks"
    return _line(scored, claim, Verdict.UNDECIDED, why, epsilon)


def canary_line(
    scored: Scored, claim: Claim, stream: Callable[[], Keystream], *, sight: str
) -> Line:
    """Returns the line of gradient canaries.

    Args:
        scored: the scores of the canaries.
        claim: of the target.
        stream: returns the stream that picks the canaries for setting thresholds, the same
            stream at every call.
        sight: what the adversary sees of the target, in words.
    """
    scores, inside = scored.scores, scored.inside
    # Two methods are tried and the better one is quoted, so that each gets half of the error.
    each = 1 - (1 - LINE_CONFIDENCE) / 2
    proven = bounds(scores, inside, stream(), delta=claim.delta, confidence=each)
    epsilon = max(proven.steinke, proven.clopper_pearson)
    refuted = refutation(scores, inside, stream(), claim, confidence=LINE_CONFIDENCE)
    if refuted is not None:
        return _line(scored, claim, Verdict.VIOLATED, refuted, epsilon)
    why = f"no violation found by {sight}; a fault too small to be seen there would not show"
    return _line(scored, claim, Verdict.UNDECIDED, why, epsilon)


def overall(lines: Iterable[Line]) -> Verdict:
    """Returns the verdict on the claim.

    It is violated where any line is. It holds where every line of `MECHANISM` holds, even if
    attacks from outside could not tell. Without a claim on any line there is none to judge.
    """
    verdicts = [(line.attack, line.verdict) for line in lines]
    if any(verdict is Verdict.VIOLATED for _, verdict in verdicts):
        return Verdict.VIOLATED
    holding = {attack for attack, verdict in verdicts if verdict is Verdict.HOLDS}
    if holding >= set(MECHANISM):
        return Verdict.HOLDS
    if all(verdict is Verdict.UNCLAIMED for _, verdict in verdicts):
        return Verdict.UNCLAIMED
    return Verdict.UNDECIDED


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Returns the gravest of some verdicts, at least one: violated, then undecided, then holds."""
    gravity = (Verdict.UNCLAIMED, Verdict.HOLDS, Verdict.UNDECIDED, Verdict.VIOLATED)
    return max(verdicts, key=gravity.index)


def _line(
    scored: Scored, claim: Claim | None, verdict: Verdict, why: str, epsilon: float | None = None
) -> Line:
    """The line with its figures, or without any where there are too few records."""
    members, others = scored.members, scored.others
    if min(len(members), len(others)) < MIN_RECORDS:
        few = (
            f"{len(members)} records that were trained on and {len(others)} that were not "
            "are too few"
        )
        undecided = Verdict.UNCLAIMED if claim is None else Verdict.UNDECIDED
        return Line(scored.attack, undecided, few)
    return Line(
        scored.attack,
        verdict,
        why,
        auc=attacks.auc(members, others),
        auc_error=attacks.auc_error(members, others),
        points=tuple(_point(scored, claim, rate) for rate in FALSE_POSITIVE_RATES),
        epsilon=epsilon,
        curve=attacks.roc(members, others),
        profile=None if claim is None else claim.profile,
    )


def _point(scored: Scored, claim: Claim | None, rate: float) -> Point:
    allowed = None if claim is None else claim.profile.most_true_positives(rate)
    # An attack that compares with a small population is no better than chance at so fine a rate.
    if rate < scored.finest:
        return Point(rate, None, allowed)
    operating = attacks.at_false_positive_rate(
        scored.members, scored.others, at=rate, confidence=POINT_CONFIDENCE
    )
    if operating is None:
        return Point(rate, None, allowed)
    share = Share(operating.true_positive_rate, operating.lower, operating.upper)
    return Point(rate, share, allowed)
