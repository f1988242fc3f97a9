"""From scores of gradient canaries to lower bounds on epsilon, and whether a claim survives them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import attacks as estimators
from securefl.audit.canaries import Canaries
from securefl.audit.knowledge import Knowledge
from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.privacy.accounting.profile import Profile
from securefl.privacy.events import SampledGaussian
from securefl.rng import Keystream

CONFIDENCE = 0.999  # of the verdict of an audit
LINES = 14  # that an audit can have: nine attacks and five of the mechanism itself
EACH = 1 - (1 - CONFIDENCE) / LINES  # of one of its lines
_HELD_OUT = 0.1  # of the canaries, to set thresholds
_THRESHOLDS = 10
_NO_SHIFT = 1e-9
_GUESSED = (0.02, 0.2)  # shares of the canaries that are guessed about, settled before looking


@dataclass(frozen=True)
class Claim:
    """What the target's ledger says: its events and how often, their epsilon at delta, and their whole profile."""

    spent: Mapping[SampledGaussian, int]
    epsilon: float
    delta: float
    profile: Profile


@dataclass(frozen=True)
class Bounds:
    """Lower bounds on epsilon at the claim's delta, by method.

    steinke, f_dp: hold for any canaries of one run (f_dp: of a mechanism that is Gaussian DP). clopper_pearson: for
    canaries that do not touch each other. gaussian: likewise, of a mechanism that is Gaussian DP; at_most is that
    method's upper end, of what this attack sees and of no other. ceiling: what steinke would be were every guess right.
    """

    steinke: float
    f_dp: float
    clopper_pearson: float
    gaussian: float
    at_most: float
    ceiling: float


def canary_scores(knowledge: Knowledge, canaries: Canaries) -> Tensor | None:
    """(m,) of each canary, higher = more like one that was in; None where nothing seen moves with them.

    The sum over rounds of where the target was seen to move; for who has the final model only, that model. Who sees all
    its updates by themselves takes out what its other records did to them, as the adversary of DP knows those.
    """
    moves = [sight.moved for sight in knowledge.moves if sight.moved is not None]
    if not moves:
        return None if knowledge.final is None else canaries.scores(knowledge.final)
    total = torch.stack([canaries.scores(moved) for moved in moves]).sum(dim=0)
    if not sees_all(knowledge, canaries):
        return total
    return total - torch.stack([canaries.scores(known) for known in canaries.others]).sum(dim=0)


def sees_all(knowledge: Knowledge, canaries: Canaries) -> bool:
    """Whether every update that the target sent is seen by itself."""
    return bool(canaries.others) and [sight.alone for sight in knowledge.moves] == [True] * len(
        canaries.others
    )


def bounds(
    scores: Tensor, inside: Tensor, stream: Keystream, *, delta: float, confidence: float
) -> Bounds:
    """What scores of canaries prove about epsilon at delta.

    Args:
        scores: (m,) of canaries that do not touch each other, higher = more like one that was in.
        inside: (m,) bool, decided by fair coins.
        stream: picks the canaries that set the thresholds.
        delta: of the claim.
        confidence: of each bound by itself.
    """
    left, m = 1 - confidence, len(scores)
    counts = _counts(m)
    correct = {count: estimators.correct_guesses(scores, inside, count) for count in counts}
    each = 1 - left / len(counts)
    shifts = [
        estimators.one_run_mu(m, count, right, confidence=each) for count, right in correct.items()
    ]
    tried = _tried(scores, inside, stream)
    each_of_those = 1 - left / len(tried)
    gaussians = [estimators.gaussian_mu(errors, confidence=each_of_those) for errors in tried]
    return Bounds(
        one_run_epsilon(scores, inside, delta=delta, confidence=confidence),
        epsilon_of(max(shifts), delta),
        max(
            estimators.clopper_pearson_epsilon(errors, delta=delta, confidence=each_of_those)
            for errors in tried
        ),
        epsilon_of(max(one.lower for one in gaussians), delta),
        epsilon_of(min(one.upper for one in gaussians), delta),
        max(estimators.one_run(m, count, count, delta=delta, confidence=each) for count in counts),
    )


def refutation(
    scores: Tensor, inside: Tensor, stream: Keystream, claim: Claim, *, confidence: float
) -> str | None:
    """What in the scores of canaries that do not touch each other the claim cannot explain; None where nothing.

    Guarantees:
        - A claim that is true is refuted with probability 1 - confidence at most.
    """
    half = (1 - confidence) / 2
    return one_run_refutation(
        scores, inside, claim, confidence=1 - half
    ) or _independent_refutation(scores, inside, stream, claim, confidence=1 - half)


def one_run_refutation(
    scores: Tensor, inside: Tensor, claim: Claim, *, confidence: float
) -> str | None:
    """The same of any records or canaries that were put in or left out by fair coins."""
    m, counts = len(scores), _counts(len(scores))
    left = (1 - confidence) / len(counts)
    for count in counts:
        right = estimators.correct_guesses(scores, inside, count)
        chance = estimators.one_run_f(m, count, right, least=claim.profile.least_false_positives)
        if chance < left:
            return f"{right} of {count} guesses are right, which the profile allows in {chance:.1g} of runs (f-DP)"
    return None


def one_run_epsilon(scores: Tensor, inside: Tensor, *, delta: float, confidence: float) -> float:
    """The epsilon at delta that scores prove of any records that were put in or left out by fair coins."""
    m, counts = len(scores), _counts(len(scores))
    each = 1 - (1 - confidence) / len(counts)
    found = {count: estimators.correct_guesses(scores, inside, count) for count in counts}
    return max(
        estimators.one_run(m, count, right, delta=delta, confidence=each)
        for count, right in found.items()
    )


def _independent_refutation(
    scores: Tensor, inside: Tensor, stream: Keystream, claim: Claim, *, confidence: float
) -> str | None:
    tried = _tried(scores, inside, stream)
    for errors in tried:
        rates = estimators.rates_at_most(errors, confidence=1 - (1 - confidence) / len(tried))
        allowed = claim.profile.most_true_positives(rates.alarms)
        if 1 - rates.missed > allowed:
            return (
                f"at a false-positive rate of {rates.alarms:.3g} or less {1 - rates.missed:.3g} or more are found, "
                f"the profile allows {allowed:.3g}"
            )
    return None


def epsilon_of(mu: float, delta: float) -> float:
    """The epsilon at delta of two unit Gaussians so far apart; inf where that is inf."""
    return math.inf if math.isinf(mu) and mu > 0 else exact_epsilon(max(mu, _NO_SHIFT), delta)


def _counts(m: int) -> list[int]:
    """How many guesses, even."""
    return [max(2, 2 * round(share * m / 2)) for share in _GUESSED]


def _tried(scores: Tensor, inside: Tensor, stream: Keystream) -> list[estimators.Errors]:
    """The errors of a few thresholds, set on canaries of which none counts."""
    order = torch.from_numpy(stream.permutation(len(scores)).copy())
    sets, tests = (
        order[: math.ceil(_HELD_OUT * len(scores))],
        order[math.ceil(_HELD_OUT * len(scores)) :],
    )
    places = (torch.arange(_THRESHOLDS, dtype=torch.float64) + 0.5) / _THRESHOLDS
    return [
        estimators.errors_at(scores[tests], inside[tests], float(threshold))
        for threshold in scores[sets].double().quantile(places)
    ]
