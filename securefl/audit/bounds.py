"""Lower bounds on epsilon from scores of gradient canaries, and tests whether a claim survives."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import attacks as estimators
from securefl.audit.canaries import Canaries
from securefl.audit.knowledge import Knowledge
from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.privacy.accounting.profile import Profile
from securefl.privacy.events import Counts
from securefl.rng import Keystream

CONFIDENCE = 0.999  # of the verdict of an audit
MAX_LINES = 14  # of an audit: nine attacks, and five properties of the mechanism itself
# The doubt of one audit is shared evenly by its lines (Bonferroni).
LINE_CONFIDENCE = 1 - (1 - CONFIDENCE) / MAX_LINES
HELD_OUT_SHARE = 0.1  # of the canaries, which set thresholds and then do not count
THRESHOLDS = 10
# Shares of the canaries that are guessed about. They are settled before anybody looks: the best
# of many shares, chosen afterwards, would need a correction for all of them.
GUESSED_SHARES = (0.02, 0.2)
MIN_SHIFT = 1e-9  # between two Gaussians, for which an epsilon can still be computed


@dataclass(frozen=True)
class Claim:
    """The claim that a client's ledger makes.

    Attributes:
        spent: event -> how often.
        epsilon: at delta.
        delta: of the claim.
        profile: epsilon at every delta.
    """

    spent: Counts
    epsilon: float
    delta: float
    profile: Profile


@dataclass(frozen=True)
class Bounds:
    """Bounds on epsilon at the claim's delta, by method.

    Attributes:
        steinke: lower bound, for any canaries of one run.
        f_dp: lower bound, likewise, if the mechanism is Gaussian DP.
        clopper_pearson: lower bound, for canaries that do not touch each other.
        gaussian: lower bound, likewise, if the mechanism is Gaussian DP.
        at_most: upper end of `gaussian`: of this attack's sight, and of no other attack's.
        ceiling: the `steinke` that right guesses only would give.
    """

    steinke: float
    f_dp: float
    clopper_pearson: float
    gaussian: float
    at_most: float
    ceiling: float


def canary_scores(knowledge: Knowledge, canaries: Canaries) -> Tensor | None:
    """Returns a score for each canary, higher = more like one that was in.

    The score sums, over the rounds, how far the target was seen to move along the canary. An
    adversary that has nothing but the final model takes that model. One that sees all updates of
    the target by themselves subtracts what the other records did to them: the adversary of
    differential privacy knows all records but one. So does one that sees sums under noise that is
    added to whole sums, and updates of the other clients with it.

    Returns:
        (m,); None where nothing is seen that moves with the canaries.
    """
    moves = [sight.moved for sight in knowledge.moves if sight.moved is not None]
    if not moves:
        return None if knowledge.final is None else canaries.scores(knowledge.final)
    total = torch.stack([canaries.scores(moved) for moved in moves]).sum(dim=0)
    if sees_all(knowledge, canaries):
        own = [canaries.scores(update) for update in canaries.others]
        return total - torch.stack(own).sum(dim=0)
    if canaries.known:
        return total - _known_of_sums(knowledge, canaries)
    return total


def _known_of_sums(knowledge: Knowledge, canaries: Canaries) -> Tensor:
    """Returns (m,), what sums hold at the canaries except for these and noise of the sums.

    It is 0 for a sum whose weights are unknown.
    """
    known = torch.zeros(len(canaries), dtype=torch.float64)
    for sight in knowledge.moves:
        for client, count in (sight.counts or {}).items():
            known -= count * canaries.signs * canaries.known[client][sight.round]
    return known


def sees_all(knowledge: Knowledge, canaries: Canaries) -> bool:
    """Whether every update that the target sent is seen by itself."""
    alone = [sight.alone for sight in knowledge.moves]
    return bool(canaries.others) and alone == [True] * len(canaries.others)


def bounds(
    scores: Tensor, inside: Tensor, stream: Keystream, *, delta: float, confidence: float
) -> Bounds:
    """Returns what scores of canaries prove about epsilon.

    Args:
        scores: (m,) of canaries that do not touch each other, higher = more like one that was in.
        inside: (m,) bool, decided by fair coins.
        stream: picks the canaries that set the thresholds.
        delta: of the claim.
        confidence: of each bound by itself.
    """
    doubt, m = 1 - confidence, len(scores)
    counts = _guess_counts(m)
    # Each method takes the best of several tries, which share its doubt (Bonferroni).
    by_count = 1 - doubt / len(counts)
    correct = {count: estimators.correct_guesses(scores, inside, count) for count in counts}
    shifts = [
        estimators.one_run_mu(m, count, right, confidence=by_count)
        for count, right in correct.items()
    ]
    trials = _errors_at_thresholds(scores, inside, stream)
    by_threshold = 1 - doubt / len(trials)
    gaussians = [estimators.gaussian_mu(errors, confidence=by_threshold) for errors in trials]
    return Bounds(
        steinke=one_run_epsilon(scores, inside, delta=delta, confidence=confidence),
        f_dp=epsilon_of(max(shifts), delta),
        clopper_pearson=max(
            estimators.clopper_pearson_epsilon(errors, delta=delta, confidence=by_threshold)
            for errors in trials
        ),
        gaussian=epsilon_of(max(shift.lower for shift in gaussians), delta),
        at_most=epsilon_of(min(shift.upper for shift in gaussians), delta),
        ceiling=max(
            estimators.one_run(m, count, count, delta=delta, confidence=by_count)
            for count in counts
        ),
    )


def refutation(
    scores: Tensor, inside: Tensor, stream: Keystream, claim: Claim, *, confidence: float
) -> str | None:
    """Returns what the claim cannot explain in the scores of canaries; None where nothing.

    Guarantees:
        - A true claim is refuted with probability 1 - confidence at most, if the canaries do not
          touch each other.
    """
    half = (1 - confidence) / 2
    by_guesses = one_run_refutation(scores, inside, claim, confidence=1 - half)
    if by_guesses is not None:
        return by_guesses
    return _rates_refutation(scores, inside, stream, claim, confidence=1 - half)


def one_run_refutation(
    scores: Tensor, inside: Tensor, claim: Claim, *, confidence: float
) -> str | None:
    """Like `refutation`, for arbitrary records included by independent fair coin flips.

    Source: Mahloujifar et al. 2024 (f-DP in one run).
    """
    m, counts = len(scores), _guess_counts(len(scores))
    doubt = (1 - confidence) / len(counts)
    for count in counts:
        right = estimators.correct_guesses(scores, inside, count)
        chance = estimators.one_run_f(m, count, right, least=claim.profile.least_false_positives)
        if chance < doubt:
            return (
                f"{right} of {count} guesses are right, "
                f"which the profile allows in {chance:.1g} of runs (f-DP)"
            )
    return None


def one_run_epsilon(scores: Tensor, inside: Tensor, *, delta: float, confidence: float) -> float:
    """Returns the epsilon that scores prove of records included by independent fair coin flips.

    Source: Steinke et al., NeurIPS 2023.
    """
    m, counts = len(scores), _guess_counts(len(scores))
    by_count = 1 - (1 - confidence) / len(counts)
    correct = {count: estimators.correct_guesses(scores, inside, count) for count in counts}
    return max(
        estimators.one_run(m, count, right, delta=delta, confidence=by_count)
        for count, right in correct.items()
    )


def _rates_refutation(
    scores: Tensor, inside: Tensor, stream: Keystream, claim: Claim, *, confidence: float
) -> str | None:
    """A threshold at which more canaries are found than the profile allows; None without one."""
    trials = _errors_at_thresholds(scores, inside, stream)
    for errors in trials:
        rates = estimators.rates_at_most(errors, confidence=1 - (1 - confidence) / len(trials))
        allowed = claim.profile.most_true_positives(rates.alarms)
        if 1 - rates.missed > allowed:
            return (
                f"at a false-positive rate of {rates.alarms:.3g} or less "
                f"{1 - rates.missed:.3g} or more are found, the profile allows {allowed:.3g}"
            )
    return None


def epsilon_of(mu: float, delta: float) -> float:
    """Returns the epsilon at delta of two unit Gaussians mu apart; inf where mu is inf."""
    if math.isinf(mu) and mu > 0:
        return math.inf
    return exact_epsilon(max(mu, MIN_SHIFT), delta)


def _guess_counts(m: int) -> list[int]:
    """The numbers of guesses; even, half of them that a canary was in and half that it was not."""
    return [max(2, 2 * round(share * m / 2)) for share in GUESSED_SHARES]


def _errors_at_thresholds(
    scores: Tensor, inside: Tensor, stream: Keystream
) -> list[estimators.Errors]:
    """The errors of a few thresholds, each set on canaries that do not count afterwards.

    A threshold set on the canaries that it is tested with would fit them better than others.
    """
    order = torch.from_numpy(stream.permutation(len(scores)).copy())
    held_out = math.ceil(HELD_OUT_SHARE * len(scores))
    setting, testing = order[:held_out], order[held_out:]
    places = (torch.arange(THRESHOLDS, dtype=torch.float64) + 0.5) / THRESHOLDS
    return [
        estimators.errors_at(scores[testing], inside[testing], float(threshold))
        for threshold in scores[setting].double().quantile(places)
    ]
