"""Verdicts: what was measured beside what is claimed, and whether the claim holds, is violated, or cannot be told."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor

import attacks
from securefl.audit.bounds import (
    EACH,
    Claim,
    bounds,
    one_run_epsilon,
    one_run_refutation,
    refutation,
)
from securefl.privacy.accounting.profile import Profile
from securefl.rng import Keystream

RATES = (0.01, 0.001)  # of false positives
_FINE = 4  # column of the finest rate, which is left out where nothing was measured at it
_FEWEST = 10  # records of a kind
_NO_AUC = "-"
SIZE, FRESH, CLIP = "size of the noise", "freshness of the noise", "clipping of each example"
BATCHES, BOOKS = "Poisson batches", "booked steps"
MECHANISM = (SIZE, FRESH, CLIP, BATCHES, BOOKS)  # each has to hold before a claim is said to hold
HEAD = (
    "verdict",
    "attack",
    "AUC",
    "TPR at 1 % FPR / claimed",
    "TPR at .1 % FPR / claimed",
    "epsilon >=",
)


class Stand(Enum):
    """How a claim stands after a measurement."""

    HOLDS = "holds"
    UNCLAIMED = "no claim"
    UNTOLD = "cannot tell"
    VIOLATED = "violated"


MEANINGS = {
    Stand.HOLDS: "holds: noise, clipping, batches and steps were all measured, and none failed",
    Stand.UNCLAIMED: "no claim: nothing was promised",
    Stand.UNTOLD: "cannot tell: nothing is refuted, and the measurement leaves room for a fault",
    Stand.VIOLATED: "violated: a true claim would give this in fewer than one audit in a thousand",
}


@dataclass(frozen=True)
class Point:
    """True positives found at a rate of false positives, and the most that the claim allows there (None: no claim)."""

    rate: float
    found: attacks.Operating | None
    allowed: float | None


@dataclass(frozen=True)
class Line:
    """One attack of one adversary: the verdict with its reason, and what was measured, None where nothing was.

    epsilon is a lower bound at `EACH`; curve are the true and false positives of every threshold, profile bounds
    them by the claim.
    """

    attack: str
    stand: Stand
    why: str
    auc: float | None = None
    auc_error: float | None = None
    points: tuple[Point, ...] = ()
    epsilon: float | None = None
    curve: attacks.Roc | None = None
    profile: Profile | None = None


def membership_line(
    attack: str,
    scores: Tensor,
    inside: Tensor,
    claim: Claim | None,
    *,
    by_coins: bool,
    finest: float = 0.0,
) -> Line:
    """The verdict on an attack against real records.

    Args:
        attack: its name.
        scores: (n,) of the records.
        inside: (n,) bool, which were trained on.
        claim: None where none is made.
        by_coins: whether fair coins decided it; a split that somebody made can differ in other ways.
        finest: the least rate of false positives that the attack is good for.
    """
    if claim is None:
        stand, why, proven = Stand.UNCLAIMED, "measured; there is no claim to hold it against", None
    elif not by_coins:
        why = "the run's own split was not made by coins, so that no difference refutes the claim; audit the scenario"
        stand, proven = Stand.UNTOLD, None
    elif min(int(inside.sum()), int((~inside).sum())) < _FEWEST:
        stand, why, proven = Stand.UNTOLD, "too few records", None
    else:
        proven = one_run_epsilon(scores, inside, delta=claim.delta, confidence=EACH)
        refuted = one_run_refutation(scores, inside, claim, confidence=EACH)
        stand = Stand.UNTOLD if refuted is None else Stand.VIOLATED
        why = refuted or "no violation found, which says nothing about better attacks"
    return _line(attack, scores, inside, claim, stand, why, proven, finest)


def canary_line(
    attack: str,
    scores: Tensor,
    inside: Tensor,
    claim: Claim,
    stream: Callable[[], Keystream],
    *,
    seen: str,
) -> Line:
    """The verdict on gradient canaries.

    Args:
        attack: its name.
        scores: (m,) of the canaries.
        inside: (m,) bool, which took part.
        claim: what they are held against.
        stream: gives the stream that picks the canaries which set thresholds, the same one at every call.
        seen: what the adversary sees of the target, in words.
    """
    found = bounds(scores, inside, stream(), delta=claim.delta, confidence=1 - (1 - EACH) / 2)
    proven = max(found.steinke, found.clopper_pearson)
    refuted = refutation(scores, inside, stream(), claim, confidence=EACH)
    if refuted is not None:
        return _line(attack, scores, inside, claim, Stand.VIOLATED, refuted, proven)
    why = f"no violation found by {seen}; a fault too small to be seen there would not show"
    return _line(attack, scores, inside, claim, Stand.UNTOLD, why, proven)


def told(lines: Sequence[Line]) -> Iterator[str]:
    """The lines as a table, then the reasons for their verdicts, each once."""
    rows = [HEAD, *map(_row, lines)]
    told = [
        at
        for at in range(len(HEAD))
        if at != _FINE or any(line.points and line.points[-1].found for line in lines)
    ]
    widths = {at: max(len(row[at]) for row in rows) for at in told}
    for row in rows:
        yield "  ".join(f"{row[at]:<{widths[at]}}" for at in told).rstrip()
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        reasons.setdefault((line.stand.value, line.why), []).append(line.attack)
    for (stand, why), names in reasons.items():
        yield f"{stand} ({', '.join(names)}): {why}"


def _row(line: Line) -> tuple[str, ...]:
    error = "" if line.auc_error is None else f" ± {line.auc_error:.3f}"
    found = {point.rate: point for point in line.points}
    return (
        line.stand.value,
        line.attack,
        _NO_AUC if line.auc is None else f"{line.auc:.3f}{error}",
        *(_told_point(found.get(rate)) for rate in RATES),
        "" if line.epsilon is None else f"{line.epsilon:.3g}",
    )


def facts(line: Line) -> dict[str, Any]:
    """A line for JSON."""
    points = [
        {
            "false_positive_rate": point.rate,
            "true_positive_rate": point.found and point.found.true_positive_rate,
            "interval": point.found and [point.found.lower, point.found.upper],
            "allowed": point.allowed,
        }
        for point in line.points
    ]
    return {
        "attack": line.attack,
        "auc": line.auc,
        "auc_error": line.auc_error,
        "points": points,
        "epsilon": line.epsilon,
        "verdict": line.stand.value,
        "why": line.why,
        "told": list(_row(line)),
    }


def overall(lines: Sequence[Line]) -> Stand:
    """Returns violated where any line is; holds where every line of `MECHANISM` holds; else cannot tell."""
    if any(line.stand is Stand.VIOLATED for line in lines):
        return Stand.VIOLATED
    if {line.attack for line in lines if line.stand is Stand.HOLDS} >= set(MECHANISM):
        return Stand.HOLDS
    if all(line.stand is Stand.UNCLAIMED for line in lines):
        return Stand.UNCLAIMED
    return Stand.UNTOLD


def _line(
    attack: str,
    scores: Tensor,
    inside: Tensor,
    claim: Claim | None,
    stand: Stand,
    why: str,
    proven: float | None = None,
    finest: float = 0.0,
) -> Line:
    members, others = scores[inside], scores[~inside]
    if min(len(members), len(others)) < _FEWEST:
        few = f"{len(members)} records that were trained on and {len(others)} that were not are too few"
        return Line(attack, Stand.UNCLAIMED if claim is None else Stand.UNTOLD, few)
    return Line(
        attack,
        stand,
        why,
        attacks.auc(members, others),
        attacks.auc_error(members, others),
        tuple(_point(members, others, rate, claim, measured=rate >= finest) for rate in RATES),
        proven,
        attacks.roc(members, others),
        None if claim is None else claim.profile,
    )


def _point(
    members: Tensor, others: Tensor, rate: float, claim: Claim | None, *, measured: bool
) -> Point:
    found = (
        attacks.at_false_positive_rate(members, others, at=rate, confidence=0.95)
        if measured
        else None
    )
    return Point(rate, found, None if claim is None else claim.profile.most_true_positives(rate))


def _told_point(point: Point | None) -> str:
    """Measured, with its interval; after the stroke the most that the claim allows."""
    if point is None:
        return ""
    allowed = "" if point.allowed is None else f" / {point.allowed:.3f}"
    if point.found is None:
        return f"too few records{allowed}"
    return f"{point.found.true_positive_rate:.3f} [{point.found.lower:.3f}, {point.found.upper:.3f}]{allowed}"
