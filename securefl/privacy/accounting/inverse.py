"""From a composed privacy loss to an epsilon, also where the exponential of epsilon is no float."""

import math
from typing import NamedTuple, Protocol

import numpy as np

# Up to this epsilon, dp-accounting's sums of exponentials keep all their digits.
MAX_RELIABLE_EPSILON = 600.0
# An epsilon above this is reported as infinite.
MAX_EPSILON = 2.0**40
BISECTION_STEPS = 48


class Loss(Protocol):
    """The common interface of dp-accounting's distributions of losses."""

    def get_delta_for_epsilon(self, epsilon: float) -> float:
        """Returns delta at an epsilon: the privacy profile."""

    def get_epsilon_for_delta(self, delta: float) -> float:
        """Returns epsilon at a delta: the inverse of the profile."""


class Bracket(NamedTuple):
    """The epsilon in question lies between the two ends."""

    lower: float
    upper: float


def inverted(loss: Loss, delta: float) -> Bracket:
    """Returns a bracket of the epsilon at delta; (0, inf) where there is none."""
    # Delta at an epsilon of 0 comes first: where it is small enough, dp-accounting would go on to
    # negative losses, cell by cell, until their exponentials overflow.
    if loss.get_delta_for_epsilon(0.0) <= delta:
        return Bracket(0.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        epsilon = float(loss.get_epsilon_for_delta(delta))
    if epsilon < MAX_RELIABLE_EPSILON:
        exact = max(0.0, epsilon)
        return Bracket(exact, exact)
    return _bisected(loss, delta)


def _bisected(loss: Loss, delta: float) -> Bracket:
    """Brackets an epsilon by the profile alone, which stays reliable where its inverse does not."""
    low = 0.0
    high = 2 * MAX_RELIABLE_EPSILON
    while high < MAX_EPSILON and loss.get_delta_for_epsilon(high) > delta:
        low = high
        high *= 2
    if high >= MAX_EPSILON:
        return Bracket(0.0, math.inf)
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        if loss.get_delta_for_epsilon(middle) > delta:
            low = middle
        else:
            high = middle
    return Bracket(low, high)
