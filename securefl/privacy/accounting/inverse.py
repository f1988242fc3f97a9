"""From a composed privacy loss to an epsilon, also where its exponential is no float any more."""

import math
from typing import NamedTuple, Protocol

import numpy as np

_FLOAT = 600.0  # an epsilon up to which dp-accounting's sums of exponentials keep all their digits
_STEPS = 48  # of bisection


class Loss(Protocol):
    """What dp-accounting's distributions of losses have in common."""

    def get_delta_for_epsilon(self, epsilon: float) -> float:
        """The profile."""

    def get_epsilon_for_delta(self, delta: float) -> float:
        """Its inverse."""


class Between(NamedTuple):
    """The epsilon that was looked for lies between the two."""

    lower: float
    upper: float


def inverted(loss: Loss, delta: float) -> Between:
    """The epsilon at delta; (0, inf) where there is none.

    Delta at an epsilon of 0 is looked at first: where it is small enough, dp-accounting would go on to negative losses,
    cell by cell, until their exponentials overflow.
    """
    if loss.get_delta_for_epsilon(0.0) <= delta:
        return Between(0.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(loss.get_epsilon_for_delta(delta))
    if found < _FLOAT:
        return Between(max(0.0, found), max(0.0, found))
    low, high = 0.0, 2 * _FLOAT
    while high < 2.0**40 and loss.get_delta_for_epsilon(high) > delta:
        low, high = high, 2 * high
    if high >= 2.0**40:
        return Between(0.0, math.inf)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if loss.get_delta_for_epsilon(middle) > delta else (low, middle)
    return Between(low, high)
