"""The whole privacy profile of releases: delta at every epsilon, and the limits of any attack."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.accounting.epsilon import DeltaOf, delta_of
from securefl.privacy.accounting.gaussian import MAX_EXPONENT
from securefl.privacy.events import Counts

GRID_POINTS = 4001
# No grid of losses can tell a delta below this from 0.
NEGLIGIBLE_DELTA = 1e-14
# Powers of two that are tried together for the end of a profile; mostly the first ones suffice.
ENDS_AT_ONCE = 12


class Grid(NamedTuple):
    """A profile at some epsilons (m,): e^epsilon, e^-epsilon and delta."""

    growth: NDArray[np.float64]
    decay: NDArray[np.float64]
    deltas: NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Delta as a function of epsilon, never below the true one, for the neighbours of the events.

    Args:
        deltas: epsilons (m,) >= 0 -> deltas (m,), not rising.
    """

    deltas: DeltaOf

    def delta(self, epsilon: float) -> float:
        """Returns the delta that holds at epsilon.

        Raises:
            ValueError: epsilon is negative or not a number.
        """
        if not epsilon >= 0:
            raise ValueError(f"epsilon must be >= 0, got {epsilon}")
        return float(self._at(np.array([epsilon]))[0])

    def most_true_positives(self, false_positive_rate: float) -> float:
        """Returns the highest share of members that any attack can find at this rate of alarms.

        Guarantees:
            - Holds for every test of "this record took part" against "it did not", by an attacker
              who sees all the releases and knows everything else.

        Args:
            false_positive_rate: share of non-members taken for members, in [0, 1].

        Source: Kairouz, Oh and Viswanath, ICML 2015, theorem 2.1, at every epsilon of the profile,
        both ways round.
        """
        if not 0 <= false_positive_rate <= 1:
            raise ValueError(
                f"the rate of false positives must be in [0, 1], got {false_positive_rate}"
            )
        growth, decay, deltas = self._grid
        by_finding = growth * false_positive_rate + deltas
        # The other way round: an attack that spares non-members must miss members, too.
        spared = np.maximum(0.0, 1 - false_positive_rate - deltas)
        by_sparing = 1 - decay * spared
        return float(min(1.0, by_finding.min(), by_sparing.min()))

    def least_false_positives(self, true_positive_rate: float) -> float:
        """Returns the lowest rate of false alarms of any attack that finds this share of members.

        This is the inverse of `most_true_positives`.

        Args:
            true_positive_rate: share of members that are found, in [0, 1].
        """
        if not 0 <= true_positive_rate <= 1:
            raise ValueError(
                f"the rate of true positives must be in [0, 1], got {true_positive_rate}"
            )
        growth, decay, deltas = self._grid
        by_finding = decay * (true_positive_rate - deltas)
        by_sparing = 1 - deltas - growth * (1 - true_positive_rate)
        return float(max(0.0, by_finding.max(), by_sparing.max()))

    @cached_property
    def _grid(self) -> Grid:
        """The profile from 0 to its end; an audit asks for it thousands of times."""
        epsilons = np.linspace(0.0, self._end(), GRID_POINTS)
        growth = np.exp(np.minimum(epsilons, MAX_EXPONENT))
        return Grid(growth, np.exp(-epsilons), self._at(epsilons))

    def _end(self) -> float:
        """Returns an epsilon from which on delta is negligible, or no longer falls."""
        first = 0
        while True:
            # Many at once: a call for one epsilon takes as long.
            powers = np.arange(first, first + ENDS_AT_ONCE, dtype=np.float64)
            ends = np.exp2(powers)
            deltas = self._at(ends)
            is_end = (deltas[:-1] <= NEGLIGIBLE_DELTA) | ~(deltas[1:] < deltas[:-1])
            if is_end.any():
                return float(ends[int(is_end.argmax())])
            first += ENDS_AT_ONCE - 1

    def _at(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        deltas = np.asarray(self.deltas(epsilons), dtype=np.float64)
        return np.clip(deltas, 0.0, 1.0)


def privacy_profile(segments: Counts, *, delta: float = 1e-5) -> Profile:
    """Returns the profile of every event composed as often as it occurred.

    Args:
        segments: event -> how often it was released.
        delta: the profile is as tight here as `epsilon.epsilon`.

    Raises:
        ValueError: delta outside (0, 1), a negative count, nothing released, or some noise is 0.
    """
    return Profile(delta_of(segments, delta=delta))
