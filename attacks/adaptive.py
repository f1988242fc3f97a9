"""An adversary that knows the defence: it looks for the push that the whole chain of it stands least."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.rows import check_count, check_rows, deviations, repeated

Chain = Callable[[Tensor], Tensor]  # rows (n, d) -> (d,)

_STRENGTHS = tuple(2.0**power for power in (-3, -1, 0, 1, 3, 6))  # in both directions
_FEWEST = 2 * len(_STRENGTHS)


class Push(NamedTuple):
    """A row (d,), how many times the direction it is from the mean (signed), and the harm that the chain suffers."""

    row: Tensor
    strength: float
    harm: float


def adaptive(rows: Tensor, f: int, *, rule: Chain, evaluations: int = 60) -> Tensor:
    """The push that hurts the defence most, of those along the deviations, the mean and the mean's signs.

    The three hold, at fixed strengths, a_little_is_enough and min_max (deviations), inner_product (mean) and Fang's
    direction (signs).

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        rule: the defence: rows (h + f, d) -> (d,).
        evaluations: of the rule, >= 36; a third for each direction.

    Returns:
        (f, d), all equal.

    Raises:
        ValueError: evaluations < 36, f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the aim is that of Shejwalkar and Houmansadr, NDSS 2021, section IV, but that an answer too far along the
        honest mean is no harm here; the search is ours.
    """
    check_rows(rows)
    known = rows.double()
    mean = known.mean(dim=0)
    length = mean.abs().mean()
    along = (deviations(known), mean, length * torch.sign(mean))
    pushes = [most_harmful(rows, f, rule=rule, along=one, evaluations=evaluations // 3) for one in along]
    return repeated(max(pushes, key=lambda push: push.harm).row, f, rows)


def most_harmful(rows: Tensor, f: int, *, rule: Chain, along: Tensor, evaluations: int = 20) -> Push:
    """The multiple of a direction, added to the mean of the honest rows f times, that hurts a defence most.

    Six strengths in both directions are tried, then the steps around the best one are halved as long as evaluations are
    left.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        rule: the defence: rows (h + f, d) -> (d,); rows that it refuses by ValueError hurt nothing.
        along: (d,), finite.
        evaluations: of the rule, >= 12.

    Returns:
        The push; its `harm` is never less than at any strength that was tried: 0.125, 0.5, 1, 2, 8 and 64 times the
        direction either way among them.

    Raises:
        ValueError: evaluations < 12, f < 1, or rows is not 2-D, is empty or holds no floats.
    """
    check_rows(rows)
    check_count("most_harmful", f)
    if evaluations < _FEWEST:
        raise ValueError(f"an adaptive attack needs evaluations >= {_FEWEST} a direction, got {evaluations}")
    mean, direction = rows.double().mean(dim=0), along.double()

    def push(strength: float) -> Push:
        row = (mean + strength * direction).to(rows.dtype)
        return Push(row, strength, _suffered(rule, rows, row, f, mean))

    best = max((push(sign * strength) for strength in _STRENGTHS for sign in (-1, 1)), key=lambda one: one.harm)
    step, left = 2.0, evaluations - _FEWEST
    while left > 0:
        for factor in (step, 1 / step)[:left]:
            best = max(best, push(factor * best.strength), key=lambda one: one.harm)
            left -= 1
        step **= 0.5
    return best


def harm(answer: Tensor, mean: Tensor) -> float:
    """How far a rule's answer (d,) is from the mean of the honest rows (d,); further along that mean is no harm."""
    off, mean = answer.double() - mean.double(), mean.double()
    ahead = torch.clamp(off @ mean, min=0.0) ** 2 / torch.clamp(mean @ mean, min=torch.finfo(torch.float64).tiny)
    return math.sqrt(max(0.0, float(off @ off - ahead)))


def _suffered(rule: Chain, rows: Tensor, row: Tensor, f: int, mean: Tensor) -> float:
    """The harm of row sent f times; none where the rule refuses, or its answer is not finite and refused later."""
    try:
        answer = rule(torch.cat([rows, row.repeat(f, 1)]))
    except ValueError:
        return 0.0
    return harm(answer, mean) if bool(answer.isfinite().all()) else 0.0
