"""An adversary that knows the defence: it looks for the push that the whole chain of it stands least."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_rows, deviations, repeated

Chain = Callable[[Tensor], Tensor]  # rows (n, d) -> (d,)
Weigh = Callable[[Tensor], Tensor]  # rows (n, d) -> weights (n,)

_STRENGTHS = tuple(2.0**power for power in (-3, -1, 0, 1, 3, 6))  # in both directions
_FEWEST = 2 * len(_STRENGTHS)


class Push(NamedTuple):
    """A row (d,), how many times the direction it is from the mean (signed), and the harm that it was chosen for."""

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
    _check_evaluations(evaluations // 3, f"{3 * _FEWEST}, a third for each direction", evaluations)
    check_rows(rows)
    pushes = [
        most_harmful(rows, f, rule=rule, along=one, evaluations=evaluations // 3)
        for one in _directions(rows)
    ]
    return repeated(max(pushes, key=lambda push: push.harm).row, f, rows)


def adaptive_weight(rows: Tensor, f: int, *, weigh: Weigh, evaluations: int = 60) -> Tensor:
    """The push that keeps most weight under a rule that weighs rows, of those along the directions of `adaptive`.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        weigh: the rule's own weights: rows (h + f, d) -> (h + f,).
        evaluations: of the weights, >= 36; a third for each direction.

    Returns:
        (f, d), all equal.

    Raises:
        ValueError: evaluations < 36, f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the search is ours.
    """
    _check_evaluations(evaluations // 3, f"{3 * _FEWEST}, a third for each direction", evaluations)
    check_rows(rows)
    pushes = [
        most_weight(rows, f, weigh=weigh, along=one, evaluations=evaluations // 3)
        for one in _directions(rows)
    ]
    return repeated(max(pushes, key=lambda push: push.harm).row, f, rows)


def most_harmful(
    rows: Tensor, f: int, *, rule: Chain, along: Tensor, evaluations: int = 20
) -> Push:
    """The multiple of a direction, added to the mean of the honest rows f times, that hurts a defence most.

    Six strengths in both directions are tried; then the best is multiplied and divided by ever smaller factors, as long
    as evaluations are left.

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
    mean = rows.double().mean(dim=0)

    def suffered(sent: Tensor) -> float:
        answer = rule(sent)
        return (
            harm(answer, mean) if bool(answer.isfinite().all()) else 0.0
        )  # which is refused later

    return _searched(rows, f, suffered, along, evaluations)


def most_weight(
    rows: Tensor, f: int, *, weigh: Weigh, along: Tensor, evaluations: int = 20
) -> Push:
    """The multiple of a direction, added to the mean of the honest rows f times, that counts most under a rule.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        weigh: the rule's own weights: rows (h + f, d) -> (h + f,); rows that it refuses by ValueError count nothing.
        along: (d,), finite.
        evaluations: of the weights, >= 12, spent as by `most_harmful`.

    Returns:
        The push; its harm is that of its row, as if a rule answered it, times the weight that its f rows keep together.

    Raises:
        ValueError: evaluations < 12, f < 1, or rows is not 2-D, is empty or holds no floats.
    """
    mean = rows.double().mean(dim=0)
    return _searched(
        rows,
        f,
        lambda sent: harm(sent[-1], mean) * float(weigh(sent)[-f:].sum()),
        along,
        evaluations,
    )


def _searched(
    rows: Tensor, f: int, score: Callable[[Tensor], float], along: Tensor, evaluations: int
) -> Push:
    """The push of the best score, which is given all rows."""
    check_rows(rows)
    check_count("an adaptive attack", f)
    _check_evaluations(evaluations, str(_FEWEST), evaluations)
    mean, direction = rows.double().mean(dim=0), along.double()

    def push(strength: float) -> Push:
        row = (mean + strength * direction).to(rows.dtype)
        try:
            found = score(torch.cat([rows, row.repeat(f, 1)]))
        except ValueError:  # the rule refuses these rows
            found = 0.0
        return Push(row, strength, found)

    best = max(
        (push(sign * strength) for strength in _STRENGTHS for sign in (-1, 1)),
        key=lambda one: one.harm,
    )
    step, left = 2.0, evaluations - _FEWEST
    while left > 0:
        for factor in (step, 1 / step)[:left]:
            best = max(best, push(factor * best.strength), key=lambda one: one.harm)
            left -= 1
        step **= 0.5
    return best


def _check_evaluations(each: int, fewest: str, given: int) -> None:
    """Raise ValueError unless every strength of a direction can be tried."""
    if each < _FEWEST:
        raise ValueError(f"an adaptive attack needs evaluations >= {fewest}, got {given}")


def _directions(rows: Tensor) -> tuple[Tensor, ...]:
    """(d,) each: the deviations, the mean, and the mean's signs at its mean size."""
    known = rows.double()
    mean = known.mean(dim=0)
    return deviations(known), mean, mean.abs().mean() * torch.sign(mean)


def harm(answer: Tensor, mean: Tensor) -> float:
    """How far a rule's answer (d,) is from the mean of the honest rows (d,); further along that mean is no harm."""
    off, mean = answer.double() - mean.double(), mean.double()
    ahead = torch.clamp(off @ mean, min=0.0) ** 2 / torch.clamp(
        mean @ mean, min=torch.finfo(torch.float64).tiny
    )
    return math.sqrt(max(0.0, float(off @ off - ahead)))
