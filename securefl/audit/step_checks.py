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
    # Every direction has an interval of its own, with two ends: all of them share the doubt.
    doubt = 1 - confidence
    tail = doubt / 2 / len(directions)
    reach = -float(norm.ppf(tail))  # in standard deviations
    unsettled: list[str] = []
    figure = ""
    for name in directions:
        along, lengths = _projections(evidence, name)
        checks += _looked_along(name, along, scale)
        share, error = _share(along, lengths, reach * scale)
        limit = MAX_OTHER_SHARE if name in OTHER_CLIPPINGS else MAX_ERROR_SHARE
        largest = abs(share) + error
        # Written as "not <": a share that is not a number is unsettled as well.
        if not largest < limit:
            unsettled.append(f"{name} could be {limit:g} off")
        if name == LENGTH:
            clip = 1 + share  # over the agreed one
            low = clip - error
            high = clip + error
            figure = f"the clip is {low:.3f} to {high:.3f} of what was agreed"
    return Checked(checks, unsettled, figure)


def _projections(evidence: Evidence, name: str) -> tuple[Numbers, Numbers]:
    """The rest along a direction in every step that had one, and the direction's length."""
    along: list[float] = []
    lengths: list[float] = []
    for round in evidence.rounds:
        along += round.along.get(name, [])
        lengths += round.reach.get(name, [])
    length_by_step = np.array(lengths)  # (steps,)
    # A direction of length 0 has no unit vector, so that the rest along it says nothing.
    has_direction = length_by_step > 0
    along_by_step = np.array(along)  # (steps,)
    return along_by_step[has_direction], length_by_step[has_direction]


def _share(along: Numbers, lengths: Numbers, deviation: float) -> tuple[float, float]:
    """The share of a direction that is in the rest, by least squares, and its error."""
    power = float(np.square(lengths).sum())
    if power <= 0:
        return 0.0, math.inf
    share = float(along @ lengths) / power
    error = deviation / math.sqrt(power)
    return share, error


def _looked_along(name: str, along: Numbers, scale: float) -> list[Check]:
    """The mean and the variance of the rest along a direction."""
    in_units = along / scale
    sum_of_squares = float(np.square(in_units).sum())
    degrees = float(max(1, len(along)))
    chances = square_chances(np.array([sum_of_squares]), degrees)
    return [
        drift(f"the sum goes on along: {name}", along.tolist(), scale=scale),
        worst(f"the variance along: {name}", chances),
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
        all_in = float(inclusions.all())
        complete = Check("a record was left out of a step that takes all", all_in)
        return Checked([complete], [], "every record was in every step")
    steps_by_round = [len(inclusions_of_round) for inclusions_of_round in rounds]
    steps = len(inclusions)
    sizes = inclusions.sum(axis=1).astype(np.float64)  # (steps,)
    by_record = inclusions.sum(axis=0)  # (records,)
    total = sizes.sum()
    mean_size = records * rate
    variance = mean_size * (1 - rate)  # of the size of a batch
    total_chances = binomial_chances(np.array([total]), inclusions.size, rate)
    size_chances = binomial_chances(sizes, records, rate)
    record_chances = binomial_chances(by_record.astype(np.float64), steps, rate)
    checks = [
        worst("the number of inclusions", total_chances),
        worst("the size of a batch", size_chances),
        worst("the inclusions of a record", record_chances),
        histogram("the inclusions of records", by_record, steps, rate),
        _spread(sizes, mean_size, variance),
        _by_round(rounds, rate),
        *_meetings(inclusions, sizes, steps_by_round),
    ]
    low, high = _rate_interval(float(total), inclusions.size, confidence)
    figure = f"records came {low / rate:.3f} to {high / rate:.3f} times as often as was booked"
    unsettled = []
    lowest_right = (1 - MAX_ERROR_SHARE) * rate
    highest_right = (1 + MAX_ERROR_SHARE) * rate
    if not (low > lowest_right and high < highest_right):
        unsettled.append(figure)
    if variance < MIN_SIZE_VARIANCE:
        unsettled.append("batches are too small to tell chance from a fixed size")
    if _meets_too_seldom(steps_by_round, records, rate):
        unsettled.append(
            "records meet too seldom in two steps of a round to tell chance from a shuffle"
        )
    return Checked(checks, unsettled, figure)


def _meets_too_seldom(steps_by_round: Sequence[int], records: int, rate: float) -> bool:
    """Whether the pairs of steps share too few records; no, where no round has two steps."""
    pairs = sum(math.comb(steps, 2) for steps in steps_by_round)
    expected_meetings = pairs * records * rate**2
    return pairs > 0 and expected_meetings < MIN_MEETINGS


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
    sum_of_squares = float(np.square(sizes - mean).sum())
    statistic = sum_of_squares / variance
    degrees = float(len(sizes))
    chances = square_chances(np.array([statistic]), degrees)
    return worst(what, chances, factor=APPROXIMATE)


def _by_round(rounds: Sequence[Tensor], rate: float) -> Check:
    """Whether the number of steps of a round that a record was in is binomial.

    Shuffled batches have each record once a round, which no count over the whole run shows.
    """
    steps = len(rounds[0])
    # Counts over rounds of different lengths do not have one distribution.
    equally_long = [inclusions for inclusions in rounds if len(inclusions) == steps]
    counts = [inclusions.sum(dim=0) for inclusions in equally_long]  # (records,) each
    all_counts = torch.cat(counts).numpy()
    return histogram("the inclusions of records in a round", all_counts, steps, rate)


def _meetings(inclusions: Numbers, sizes: Numbers, steps: Sequence[int]) -> list[Check]:
    """Whether two steps share as many records as chance gives them, their sizes given."""
    inclusions = inclusions[:MAX_STEPS]
    sizes = sizes[:MAX_STEPS]
    records = inclusions.shape[1]
    matrix = torch.from_numpy(inclusions).float()
    common = (matrix @ matrix.T).double().numpy()  # (steps, steps)
    # Two sets of these sizes, drawn independently: a hypergeometric number in common.
    mean = np.outer(sizes, sizes) / records
    absent = records - sizes
    divisor = records * max(1, records - 1)
    variance = mean * np.outer(absent, absent) / divisor
    # Above the diagonal: each pair once. Steps that take none or all of the records always share
    # the same number.
    above_diagonal = np.triu(np.ones_like(common, dtype=bool), 1)
    pairs = above_diagonal & (variance > 0)
    round_of_step = np.repeat(np.arange(len(steps)), steps)[:MAX_STEPS]
    same_round = round_of_step[:, None] == round_of_step[None, :]  # (steps, steps)
    in_one_round = pairs & same_round
    kinds = {
        "two steps of a round": in_one_round,
        "steps of different rounds": pairs & ~in_one_round,
    }
    checks = []
    for kind, chosen in kinds.items():
        difference = float((common - mean)[chosen].sum())
        total_variance = float(variance[chosen].sum())
        deviation = math.sqrt(max(total_variance, TINY))
        z = difference / deviation if chosen.any() else 0.0
        chances = normal_chances(np.array([z]))
        what = f"the records that {kind} have in common"
        checks.append(worst(what, chances, factor=APPROXIMATE))
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
    deviation = np.sqrt(np.maximum(variance, TINY))
    distances = np.abs(common - mean) / deviation
    count = int(pairs.sum())
    order = np.argsort(np.where(pairs, distances, -1.0), axis=None)
    # A short run has fewer pairs than that. The rest of the matrix are steps next to themselves.
    most_extreme = order[-min(MAX_EXACT_PAIRS, count) :]
    first, second = np.unravel_index(most_extreme, common.shape)
    shared = common[first, second]
    first_sizes = sizes[first]
    second_sizes = sizes[second]
    at_most = hypergeom.cdf(shared, records, first_sizes, second_sizes)
    at_least = hypergeom.sf(shared - 1, records, first_sizes, second_sizes)
    two_sided = 2 * np.minimum(at_most, at_least)
    least = float(np.minimum(1.0, two_sided).min())
    # All pairs were looked at, not only those with an exact chance.
    return Check(what, min(1.0, least * count))


def book_checks(evidence: Evidence, *, steps: int, moved: Sequence[Tensor]) -> Checked:
    """Returns the checks that all steps were booked, and that nothing else left.

    Args:
        evidence: of the steps.
        steps: booked.
        moved: one a round: the update (d,) that was seen to leave.
    """
    taken = sum(round.steps for round in evidence.rounds)
    changes = [round.change for round in evidence.rounds]
    same = len(moved) == len(changes) and all(map(_is_same, moved, changes))
    checks = [
        Check(f"{taken} steps were taken and {steps} booked", float(taken <= steps)),
        Check("the update that left is not the one that the steps made", float(same)),
    ]
    return Checked(checks, [], f"{taken} steps, of {steps} booked")


def _is_same(update: Tensor, change: Tensor) -> bool:
    """Whether an update is the change of the weights, up to the rounding of their difference."""
    largest = float(change.abs().max())
    size = max(1e-3, largest)
    return torch.allclose(update, change, rtol=1e-4, atol=1e-6 * size)
