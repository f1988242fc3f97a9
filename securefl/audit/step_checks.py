"""The steps of DP-SGD, seen from inside: who was in them, how each example was clipped, and what was booked."""

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

_OTHER = (
    UNCLIPPED,
    WHOLE,
    TENSORS,
)  # clippings that would lead elsewhere: 1 along them is that clipping
_GAINS = (LENGTH, ONE, DENSE)  # along these the clip itself is measured
_WRONG = 0.1  # share by which a clip or a rate may be wrong and has to be excluded
_MIXED = 1e-3  # of a gradient: more than rounding does to it in another batch
_FEWEST_VARIANCE = 20.0  # of a batch's size, from which on it is nearly normal
_FEWEST_MEETINGS = 50.0  # of records in two steps of a round, below which shuffling would not show
_MOST_STEPS = 2000  # that are compared pair by pair
_LOOKED_AT = (
    50  # pairs of steps whose exact chance is computed: the most extreme by their deviation
)


def clip_checks(evidence: Evidence, *, scale: float, confidence: float) -> Checked:
    """Returns the checks that every example was clipped by itself, over all tensors, to the clip.

    Args:
        evidence: of the steps.
        scale: booked standard deviation of the noise.
        confidence: that every interval covers.
    """
    checks, left = (
        [Check("a gradient changes with the others of its batch", float(evidence.mixed <= _MIXED))],
        [],
    )
    reach = -float(norm.ppf((1 - confidence) / 2 / (len(_OTHER) + len(_GAINS))))
    shares = []
    for name in (*_OTHER, *_GAINS):
        along = np.array([value for one in evidence.rounds for value in one.along.get(name, [])])
        lengths = np.array([value for one in evidence.rounds for value in one.reach.get(name, [])])
        along, lengths = along[lengths > 0], lengths[lengths > 0]
        checks += _looked_along(name, along, scale)
        power = float(np.square(lengths).sum())
        error = reach * scale / math.sqrt(power) if power > 0 else math.inf
        share = float(along @ lengths) / power if power > 0 else 0.0
        bound = 0.5 if name in _OTHER else _WRONG
        if name == LENGTH:
            shares = [1 + share - error, 1 + share + error]
        if not abs(share) + error < bound:
            left.append(f"{name} could be {bound:g} off")
    figure = f"the clip is {shares[0]:.3f} to {shares[1]:.3f} of what was agreed"
    return Checked(checks, left, figure)


def _looked_along(name: str, along: Numbers, scale: float) -> list[Check]:
    """The mean and the variance of what is left along a direction."""
    squares = float(np.square(along / scale).sum())
    return [
        drift(f"the sum goes on along: {name}", along.tolist(), scale=scale),
        worst(
            f"the variance along: {name}",
            square_chances(np.array([squares]), float(max(1, len(along)))),
        ),
    ]


def batch_checks(evidence: Evidence, *, rate: float, confidence: float) -> Checked:
    """Returns the checks that every record was in every step with this probability, independently.

    Args:
        evidence: of the steps.
        rate: booked probability.
        confidence: that the interval of the rate covers.
    """
    records = evidence.rounds[0].records
    if any(one.records != records for one in evidence.rounds):
        return Checked([], ["the number of records changed"], "")
    rounds = [_inclusions(one.members, records) for one in evidence.rounds]
    came = torch.cat(rounds).numpy()  # (steps, records)
    if rate >= 1:
        everybody = Check("a record was left out of a step that takes all", float(came.all()))
        return Checked([everybody], [], "every record was in every step")
    sizes = came.sum(axis=1).astype(np.float64)
    spread = records * rate * (1 - rate)
    checks = [
        worst(
            "the number of inclusions", binomial_chances(np.array([sizes.sum()]), came.size, rate)
        ),
        worst("the size of a batch", binomial_chances(sizes, records, rate)),
        worst(
            "the inclusions of a record",
            binomial_chances(came.sum(axis=0).astype(np.float64), len(came), rate),
        ),
        histogram("the inclusions of records", came.sum(axis=0), len(came), rate),
        _spread(sizes, records * rate, spread),
        _by_round(rounds, rate),
        *_meetings(came, sizes, [len(one) for one in rounds]),
    ]
    half, count, size = (1 - confidence) / 2, float(sizes.sum()), came.size
    low, high = beta.ppf(half, count, size - count + 1), beta.isf(half, count + 1, size - count)
    figure = f"records came {low / rate:.3f} to {high / rate:.3f} times as often as was booked"
    left = []
    if not (low > (1 - _WRONG) * rate and high < (1 + _WRONG) * rate):
        left.append(figure)
    if spread < _FEWEST_VARIANCE:
        left.append("batches are too small to tell chance from a fixed size")
    pairs = sum(len(one) * (len(one) - 1) // 2 for one in rounds)
    if pairs and pairs * records * rate**2 < _FEWEST_MEETINGS:
        left.append("records meet too seldom in two steps of a round to tell chance from a shuffle")
    return Checked(checks, left, figure)


def _inclusions(members: Sequence[Tensor], records: int) -> Tensor:
    """(steps, records) bool; True where a record was in a step."""
    came = torch.zeros(len(members), records, dtype=torch.bool)
    for step, chosen in enumerate(members):
        came[step, chosen] = True
    return came


def _spread(sizes: Numbers, mean: float, variance: float) -> Check:
    """Whether batch sizes vary as chance makes them vary."""
    what = "the spread of batch sizes"
    if variance < _FEWEST_VARIANCE:
        return Check(what, 1.0)
    statistic = np.array([float(np.square(sizes - mean).sum()) / variance])
    return worst(what, square_chances(statistic, float(len(sizes))), factor=APPROXIMATE)


def _by_round(rounds: Sequence[Tensor], rate: float) -> Check:
    """Whether the number of steps of a round that a record was in is binomial."""
    what, steps = "the inclusions of records in a round", len(rounds[0])
    counts = [one.sum(dim=0) for one in rounds if len(one) == steps]
    return histogram(what, torch.cat(counts).numpy(), steps, rate)


def _meetings(came: Numbers, sizes: Numbers, steps: Sequence[int]) -> list[Check]:
    """Whether two steps have as many records in common as chance gives them, their sizes given."""
    came, sizes = came[:_MOST_STEPS], sizes[:_MOST_STEPS]
    records, matrix = came.shape[1], torch.from_numpy(came).float()
    common = (matrix @ matrix.T).double().numpy()
    mean = np.outer(sizes, sizes) / records
    variance = mean * np.outer(records - sizes, records - sizes) / (records * max(1, records - 1))
    label = np.repeat(np.arange(len(steps)), steps)[:_MOST_STEPS]
    upper = np.triu(np.ones_like(common, dtype=bool), 1) & (variance > 0)
    together = upper & (label[:, None] == label[None, :])
    checks = []
    for what, pairs in (
        ("two steps of a round", together),
        ("steps of different rounds", upper & ~together),
    ):
        difference = float((common - mean)[pairs].sum())
        deviation = math.sqrt(max(float(variance[pairs].sum()), 1e-300))
        z = np.array([difference / deviation if pairs.any() else 0.0])
        checks.append(
            worst(f"the records that {what} have in common", normal_chances(z), factor=APPROXIMATE)
        )
    checks.append(_nearest(common, mean, variance, upper, sizes, records))
    return checks


def _nearest(
    common: Numbers, mean: Numbers, variance: Numbers, pairs: Numbers, sizes: Numbers, records: int
) -> Check:
    """The two steps that have the strangest number of records in common; exact for each looked at."""
    far = np.where(pairs, np.abs(common - mean) / np.sqrt(np.maximum(variance, 1e-300)), 0.0)
    first, second = np.unravel_index(np.argsort(far, axis=None)[-_LOOKED_AT:], far.shape)
    seen, one, other = common[first, second], sizes[first], sizes[second]
    low, high = (
        hypergeom.cdf(seen, records, one, other),
        hypergeom.sf(seen - 1, records, one, other),
    )
    chance = float(np.minimum(1.0, 2 * np.minimum(low, high)).min()) * int(pairs.sum())
    return Check(
        "the records that two steps have in common", min(1.0, chance) if pairs.any() else 1.0
    )


def book_checks(evidence: Evidence, *, steps: int, moved: Sequence[Tensor]) -> Checked:
    """Returns the checks that all steps were booked, and that nothing else left.

    Args:
        evidence: of the steps.
        steps: booked.
        moved: a round each: the update (d,) that was seen to leave.
    """
    taken = sum(one.steps for one in evidence.rounds)
    same = len(moved) == len(evidence.rounds) and all(
        torch.allclose(
            left, one.change, rtol=1e-4, atol=1e-6 * max(1e-3, float(one.change.abs().max()))
        )
        for left, one in zip(moved, evidence.rounds, strict=True)
    )
    checks = [
        Check(f"{taken} steps were taken and {steps} booked", float(taken <= steps)),
        Check("what left is not what the steps made", float(same)),
    ]
    return Checked(checks, [], f"{taken} steps, of {steps} booked")
