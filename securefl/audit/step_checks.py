"""Checks of the steps of DP-SGD from inside: who was in them, how each was clipped, the books."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import beta, hypergeom, norm
from torch import Tensor

from securefl.audit.checks import (
    APPROXIMATE,
    Check,
    Checked,
    Numbers,
    binomial_chances,
    drift,
    histogram,
    normal_chances,
    square_chances,
    worst,
)
from securefl.audit.evidence import Evidence
from securefl.audit.watched import DENSE, LENGTH, ONE, TENSORS, UNCLIPPED, WHOLE

OTHER_CLIPPINGS = (UNCLIPPED, WHOLE, TENSORS)  # a share of 1 along them is that clipping
GAINS = (LENGTH, ONE, DENSE)  # along these the clip itself is measured
MAX_OTHER_SHARE = 0.5  # of another clipping that may remain possible
MAX_ERROR_SHARE = 0.1  # by which a clip or a rate may remain wrong
MAX_MIXED_SHARE = 1e-3  # of a gradient: rounding in another batch changes it by less
MIN_SIZE_VARIANCE = 20.0  # of a batch's size, from which on it is nearly normal
MIN_MEETINGS = 50.0  # of records in two steps of a round: fewer would not show a shuffle
MAX_STEPS = 2000  # that are compared pair by pair
MAX_EXACT_PAIRS = 50  # of steps, the most extreme, whose exact chance is computed
TINY = 1e-300  # keeps a division by no variance finite


def clip_checks(evidence: Evidence, *, scale: float, confidence: float) -> Checked:
    """Returns the checks that every example was clipped by itself, over all tensors, to the clip.

    Args:
        evidence: of the steps.
        scale: booked standard deviation of the noise.
        confidence: that every interval covers.
    """
    # A gradient that depends on its batch is not one example's: clipping it would bound nothing.
    unmixed = float(evidence.mixed <= MAX_MIXED_SHARE)
    checks = [Check("a gradient changes with the others of its batch", unmixed)]
    directions = (*OTHER_CLIPPINGS, *GAINS)
    reach = -float(norm.ppf((1 - confidence) / 2 / len(directions)))
    unsettled: list[str] = []
    figure = ""
    for name in directions:
        along, lengths = _projections(evidence, name)
        checks += _looked_along(name, along, scale)
        share, error = _share(along, lengths, reach * scale)
        limit = MAX_OTHER_SHARE if name in OTHER_CLIPPINGS else MAX_ERROR_SHARE
        if not abs(share) + error < limit:
            unsettled.append(f"{name} could be {limit:g} off")
        if name == LENGTH:
            low, high = 1 + share - error, 1 + share + error
            figure = f"the clip is {low:.3f} to {high:.3f} of what was agreed"
    return Checked(checks, unsettled, figure)


def _projections(evidence: Evidence, name: str) -> tuple[Numbers, Numbers]:
    """The rest along a direction in every step that had one, and the direction's length."""
    along = np.array([x for round in evidence.rounds for x in round.along.get(name, [])])
    lengths = np.array([x for round in evidence.rounds for x in round.reach.get(name, [])])
    return along[lengths > 0], lengths[lengths > 0]


def _share(along: Numbers, lengths: Numbers, deviation: float) -> tuple[float, float]:
    """The share of a direction that is in the rest, by least squares, and its error."""
    power = float(np.square(lengths).sum())
    if power <= 0:
        return 0.0, math.inf
    return float(along @ lengths) / power, deviation / math.sqrt(power)


def _looked_along(name: str, along: Numbers, scale: float) -> list[Check]:
    """The mean and the variance of the rest along a direction."""
    squares = np.array([float(np.square(along / scale).sum())])
    degrees = float(max(1, len(along)))
    return [
        drift(f"the sum goes on along: {name}", along.tolist(), scale=scale),
        worst(f"the variance along: {name}", square_chances(squares, degrees)),
    ]


def batch_checks(evidence: Evidence, *, rate: float, confidence: float) -> Checked:
    """Returns the checks that every record was in every step with this probability, independently.

    Args:
        evidence: of the steps.
        rate: booked probability.
        confidence: that the interval of the rate covers.
    """
    records = evidence.rounds[0].records
    if any(round.records != records for round in evidence.rounds):
        return Checked([], ["the number of records changed"], "")
    rounds = [_inclusions(round.members, records) for round in evidence.rounds]
    inclusions = torch.cat(rounds).numpy()  # (steps, records)
    if rate >= 1:
        complete = Check("a record was left out of a step that takes all", float(inclusions.all()))
        return Checked([complete], [], "every record was in every step")
    sizes = inclusions.sum(axis=1).astype(np.float64)
    by_record = inclusions.sum(axis=0)
    variance = records * rate * (1 - rate)  # of the size of a batch
    total = np.array([sizes.sum()])
    checks = [
        worst("the number of inclusions", binomial_chances(total, inclusions.size, rate)),
        worst("the size of a batch", binomial_chances(sizes, records, rate)),
        worst(
            "the inclusions of a record",
            binomial_chances(by_record.astype(np.float64), len(inclusions), rate),
        ),
        histogram("the inclusions of records", by_record, len(inclusions), rate),
        _spread(sizes, records * rate, variance),
        _by_round(rounds, rate),
        *_meetings(inclusions, sizes, [len(steps) for steps in rounds]),
    ]
    low, high = _rate_interval(float(sizes.sum()), inclusions.size, confidence)
    figure = f"records came {low / rate:.3f} to {high / rate:.3f} times as often as was booked"
    unsettled = []
    if not (low > (1 - MAX_ERROR_SHARE) * rate and high < (1 + MAX_ERROR_SHARE) * rate):
        unsettled.append(figure)
    if variance < MIN_SIZE_VARIANCE:
        unsettled.append("batches are too small to tell chance from a fixed size")
    pairs = sum(len(steps) * (len(steps) - 1) // 2 for steps in rounds)
    if pairs and pairs * records * rate**2 < MIN_MEETINGS:
        unsettled.append(
            "records meet too seldom in two steps of a round to tell chance from a shuffle"
        )
    return Checked(checks, unsettled, figure)


def _rate_interval(count: float, trials: int, confidence: float) -> tuple[float, float]:
    """The Clopper-Pearson interval of a probability."""
    half = (1 - confidence) / 2
    low = beta.ppf(half, count, trials - count + 1)
    high = beta.isf(half, count + 1, trials - count)
    return float(low), float(high)


def _inclusions(members: Sequence[Tensor], records: int) -> Tensor:
    """(steps, records) bool; True where a record was in a step."""
    inclusions = torch.zeros(len(members), records, dtype=torch.bool)
    for step, chosen in enumerate(members):
        inclusions[step, chosen] = True
    return inclusions


def _spread(sizes: Numbers, mean: float, variance: float) -> Check:
    """Whether batch sizes vary as chance makes them vary."""
    what = "the spread of batch sizes"
    if variance < MIN_SIZE_VARIANCE:
        return Check(what, 1.0)
    statistic = np.array([float(np.square(sizes - mean).sum()) / variance])
    return worst(what, square_chances(statistic, float(len(sizes))), factor=APPROXIMATE)


def _by_round(rounds: Sequence[Tensor], rate: float) -> Check:
    """Whether the number of steps of a round that a record was in is binomial.

    Shuffled batches have each record once a round, which no count over the whole run shows.
    """
    steps = len(rounds[0])
    counts = [inclusions.sum(dim=0) for inclusions in rounds if len(inclusions) == steps]
    what = "the inclusions of records in a round"
    return histogram(what, torch.cat(counts).numpy(), steps, rate)


def _meetings(inclusions: Numbers, sizes: Numbers, steps: Sequence[int]) -> list[Check]:
    """Whether two steps share as many records as chance gives them, their sizes given."""
    inclusions, sizes = inclusions[:MAX_STEPS], sizes[:MAX_STEPS]
    records, matrix = inclusions.shape[1], torch.from_numpy(inclusions).float()
    common = (matrix @ matrix.T).double().numpy()  # (steps, steps)
    # Two sets of these sizes, drawn independently: a hypergeometric number in common.
    mean = np.outer(sizes, sizes) / records
    variance = mean * np.outer(records - sizes, records - sizes) / (records * max(1, records - 1))
    round_of_step = np.repeat(np.arange(len(steps)), steps)[:MAX_STEPS]
    pairs = np.triu(np.ones_like(common, dtype=bool), 1) & (variance > 0)
    in_one_round = pairs & (round_of_step[:, None] == round_of_step[None, :])
    kinds = {
        "two steps of a round": in_one_round,
        "steps of different rounds": pairs & ~in_one_round,
    }
    checks = []
    for kind, chosen in kinds.items():
        difference = float((common - mean)[chosen].sum())
        deviation = math.sqrt(max(float(variance[chosen].sum()), TINY))
        z = np.array([difference / deviation if chosen.any() else 0.0])
        what = f"the records that {kind} have in common"
        checks.append(worst(what, normal_chances(z), factor=APPROXIMATE))
    checks.append(_strangest_pair(common, mean, variance, pairs, sizes, records))
    return checks


def _strangest_pair(
    common: Numbers, mean: Numbers, variance: Numbers, pairs: Numbers, sizes: Numbers, records: int
) -> Check:
    """The two steps with the strangest number of records in common.

    Exact chances take long, so that they are computed for the most extreme pairs only.
    """
    what = "the records that two steps have in common"
    if not pairs.any():
        return Check(what, 1.0)
    deviations = np.abs(common - mean) / np.sqrt(np.maximum(variance, TINY))
    order = np.argsort(np.where(pairs, deviations, 0.0), axis=None)
    first, second = np.unravel_index(order[-MAX_EXACT_PAIRS:], common.shape)
    shared, one, other = common[first, second], sizes[first], sizes[second]
    low = hypergeom.cdf(shared, records, one, other)
    high = hypergeom.sf(shared - 1, records, one, other)
    least = float(np.minimum(1.0, 2 * np.minimum(low, high)).min())
    return Check(what, min(1.0, least * int(pairs.sum())))


def book_checks(evidence: Evidence, *, steps: int, moved: Sequence[Tensor]) -> Checked:
    """Returns the checks that all steps were booked, and that nothing else left.

    Args:
        evidence: of the steps.
        steps: booked.
        moved: one a round: the update (d,) that was seen to leave.
    """
    taken = sum(round.steps for round in evidence.rounds)
    same = len(moved) == len(evidence.rounds) and all(
        _is_same(update, round.change) for update, round in zip(moved, evidence.rounds, strict=True)
    )
    checks = [
        Check(f"{taken} steps were taken and {steps} booked", float(taken <= steps)),
        Check("the update that left is not the one that the steps made", float(same)),
    ]
    return Checked(checks, [], f"{taken} steps, of {steps} booked")


def _is_same(update: Tensor, change: Tensor) -> bool:
    """Whether an update is the change of the weights, up to the rounding of their difference."""
    size = max(1e-3, float(change.abs().max()))
    return torch.allclose(update, change, rtol=1e-4, atol=1e-6 * size)
