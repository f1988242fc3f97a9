"""An adversary that knows the defence: it searches for the row that hurts the most."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_rows, deviations, repeated

Chain = Callable[[Tensor], Tensor]  # rows (n, d) -> (d,)
Weigh = Callable[[Tensor], Tensor]  # rows (n, d) -> weights (n,)

_SIZES = (0.125, 0.5, 1.0, 2.0, 8.0, 64.0)  # times the direction
_STRENGTHS = tuple(sign * size for size in _SIZES for sign in (-1, 1))
_MIN_EVALUATIONS = len(_STRENGTHS)  # of one direction
_DIRECTIONS = 3


class Push(NamedTuple):
    """A row that was tried."""

    row: Tensor  # (d,)
    strength: float  # signed: the row is the honest mean + strength * direction
    harm: float  # the number that the search makes as large as it can


def adaptive(
    rows: Tensor,
    f: int,
    *,
    rule: Chain,
    evaluations: int = 60,
) -> Tensor:
    """Sends the row that hurts the defence most, along three directions from the honest mean.

    At fixed strengths the directions contain known attacks: the deviations contain
    a_little_is_enough and min_max, the mean contains inner_product, the mean's signs contain
    Fang's.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        rule: the defence: rows (h + f, d) -> (d,).
        evaluations: of the rule, >= 36; a third for each direction.

    Returns:
        (f, d), all equal.

    Raises:
        ValueError: evaluations < 36, f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: the aim is that of Shejwalkar and Houmansadr, NDSS 2021, section IV, except that an
        answer too far along the honest mean does no harm here; the search is ours.
    """

    def search(direction: Tensor) -> Push:
        return most_harmful(
            rows, f, rule=rule, along=direction, evaluations=evaluations // _DIRECTIONS
        )

    return _worst_direction(rows, f, search, evaluations)


def adaptive_weight(
    rows: Tensor,
    f: int,
    *,
    weigh: Weigh,
    evaluations: int = 60,
) -> Tensor:
    """Sends the row that counts most under a rule with weights, along `adaptive`'s directions.

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

    def search(direction: Tensor) -> Push:
        return most_weight(
            rows, f, weigh=weigh, along=direction, evaluations=evaluations // _DIRECTIONS
        )

    return _worst_direction(rows, f, search, evaluations)


def most_harmful(
    rows: Tensor,
    f: int,
    *,
    rule: Chain,
    along: Tensor,
    evaluations: int = 20,
) -> Push:
    """Returns the row along one direction that hurts a defence most when sent f times.

    The search tries six strengths in both directions. Then it multiplies and divides the best one
    by ever smaller factors, as long as evaluations remain.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        rule: the defence: rows (h + f, d) -> (d,). Rows that it refuses by ValueError do no harm.
        along: (d,), finite.
        evaluations: of the rule, >= 12.

    Returns:
        The push. No strength tried does more harm; 0.125, 0.5, 1, 2, 8 and 64 times the direction,
        either way, are among them.

    Raises:
        ValueError: evaluations < 12, f < 1, or rows is not 2-D, is empty or holds no floats.
    """
    mean = rows.double().mean(dim=0)

    def score(sent: Tensor) -> float:
        answer = rule(sent)
        # An answer that is not finite is refused later in the round, and then does no harm.
        if not bool(answer.isfinite().all()):
            return 0.0
        return harm(answer, mean)

    return _search(rows, f, score, along, evaluations)


def most_weight(
    rows: Tensor,
    f: int,
    *,
    weigh: Weigh,
    along: Tensor,
    evaluations: int = 20,
) -> Push:
    """Returns the row along one direction that counts most under a rule when sent f times.

    Args:
        rows: (h, d), float32 or float64, all honest rows.
        f: rows to send, >= 1.
        weigh: the rule's own weights: rows (h + f, d) -> (h + f,). Rows that it refuses by
            ValueError count nothing.
        along: (d,), finite.
        evaluations: of the weights, >= 12, spent as by `most_harmful`.

    Returns:
        The push. Its harm is the harm of a rule that answers its row, times the total weight of the
        f rows.

    Raises:
        ValueError: evaluations < 12, f < 1, or rows is not 2-D, is empty or holds no floats.
    """
    mean = rows.double().mean(dim=0)

    def score(sent: Tensor) -> float:
        weight = float(weigh(sent)[-f:].sum())
        return harm(sent[-1], mean) * weight

    return _search(rows, f, score, along, evaluations)


def harm(answer: Tensor, mean: Tensor) -> float:
    """Returns how far a rule's answer (d,) is from the mean of the honest rows (d,).

    Going further along that mean is no harm, so that part of the distance does not count.
    """
    mean = mean.double()
    error = answer.double() - mean
    tiny = torch.finfo(torch.float64).tiny  # a mean of zero is no direction
    squared_length = torch.clamp(mean @ mean, min=tiny)
    ahead = torch.clamp(error @ mean, min=0.0) ** 2 / squared_length
    # Rounding may make the difference of squares negative.
    return math.sqrt(max(0.0, float(error @ error - ahead)))


def _worst_direction(
    rows: Tensor,
    f: int,
    search: Callable[[Tensor], Push],
    evaluations: int,
) -> Tensor:
    """Returns the row (f, d) of the most harmful push over all directions."""
    fewest = f"{_DIRECTIONS * _MIN_EVALUATIONS}, a third for each direction"
    _check_evaluations(evaluations // _DIRECTIONS, fewest, evaluations)
    check_rows(rows)
    pushes = [search(direction) for direction in _directions(rows)]
    return repeated(_worst(pushes).row, f, rows)


def _search(
    rows: Tensor,
    f: int,
    score: Callable[[Tensor], float],
    along: Tensor,
    evaluations: int,
) -> Push:
    """Returns the push with the best score; `score` takes all rows, honest ones first."""
    check_rows(rows)
    check_count("an adaptive attack", f)
    _check_evaluations(evaluations, str(_MIN_EVALUATIONS), evaluations)
    mean = rows.double().mean(dim=0)
    direction = along.double()

    def push(strength: float) -> Push:
        row = (mean + strength * direction).to(rows.dtype)
        try:
            value = score(torch.cat([rows, row.repeat(f, 1)]))
        except ValueError:  # the rule refuses these rows
            value = 0.0
        return Push(row, strength, value)

    best = _worst([push(strength) for strength in _STRENGTHS])
    remaining = evaluations - _MIN_EVALUATIONS
    step = 2.0
    while remaining > 0:
        for factor in (step, 1 / step)[:remaining]:
            best = _worst([best, push(factor * best.strength)])
            remaining -= 1
        step **= 0.5
    return best


def _worst(pushes: list[Push]) -> Push:
    """Returns the most harmful push, the first of equals."""
    return max(pushes, key=lambda push: push.harm)


def _directions(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (d,) each: the deviations, the mean, and the mean's signs at its mean size."""
    exact = rows.double()
    mean = exact.mean(dim=0)
    signs = mean.abs().mean() * torch.sign(mean)
    return deviations(exact), mean, signs


def _check_evaluations(per_direction: int, fewest: str, given: int) -> None:
    """Raises ValueError unless every strength of a direction can be tried."""
    if per_direction < _MIN_EVALUATIONS:
        raise ValueError(f"an adaptive attack needs evaluations >= {fewest}, got {given}")
