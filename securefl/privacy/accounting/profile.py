"""The whole privacy profile of some releases: delta at every epsilon, and what that leaves an attacker."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.accounting.epsilon import DeltaOf, delta_of
from securefl.privacy.events import SampledGaussian

_POINTS = 4001
_NOTHING = 1e-14  # a delta that no grid of losses can tell from 0


@dataclass(frozen=True)
class Profile:
    """delta as a function of epsilon, never below the true one; add/remove neighbours.

    Args:
        deltas: epsilons (m,) >= 0 -> deltas (m,), not rising.
    """

    deltas: DeltaOf

    def delta(self, epsilon: float) -> float:
        """The delta that holds at epsilon. Raises ValueError where epsilon is negative or not a number."""
        if not epsilon >= 0:
            raise ValueError(f"epsilon must be >= 0, got {epsilon}")
        return float(self._at(np.array([epsilon]))[0])

    def most_true_positives(self, false_positive_rate: float) -> float:
        """The highest rate at which any attack can find members, at this rate of false alarms.

        Guarantees:
            - Holds for every test of "this record took part" against "it did not", by whoever sees all the releases
              and knows everything else.

        Args:
            false_positive_rate: share of non-members taken for members, in [0, 1].

        Source: Kairouz, Oh and Viswanath, ICML 2015, theorem 2.1, at every epsilon of the profile, both ways round.
        """
        if not 0 <= false_positive_rate <= 1:
            raise ValueError(
                f"the rate of false positives must be in [0, 1], got {false_positive_rate}"
            )
        epsilons, deltas = self._grid
        found = np.exp(np.minimum(epsilons, 700.0)) * false_positive_rate + deltas
        spared = 1 - np.exp(-epsilons) * np.maximum(0.0, 1 - false_positive_rate - deltas)
        return float(min(1.0, found.min(), spared.min()))

    def least_false_positives(self, true_positive_rate: float) -> float:
        """The lowest rate of false alarms with which any attack can find members at this rate.

        The other way round of `most_true_positives`.

        Args:
            true_positive_rate: share of members that are found, in [0, 1].
        """
        if not 0 <= true_positive_rate <= 1:
            raise ValueError(
                f"the rate of true positives must be in [0, 1], got {true_positive_rate}"
            )
        epsilons, deltas = self._grid
        needed = np.exp(-epsilons) * (true_positive_rate - deltas)
        spared = 1 - deltas - np.exp(np.minimum(epsilons, 700.0)) * (1 - true_positive_rate)
        return float(max(0.0, needed.max(), spared.max()))

    @cached_property
    def _grid(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Epsilons (m,) from 0 to where delta is nothing or no longer falls, and their deltas."""
        epsilons = np.linspace(0.0, self._end(), _POINTS)
        return epsilons, self._at(epsilons)

    def _end(self) -> float:
        """An epsilon from where delta is nothing, or no longer falls."""
        end = 1.0
        while self.delta(end) > _NOTHING and self.delta(2 * end) < self.delta(end):
            end *= 2
        return end

    def _at(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.asarray(self.deltas(epsilons), dtype=np.float64), 0.0, 1.0)


def privacy_profile(segments: Mapping[SampledGaussian, int], *, delta: float = 1e-5) -> Profile:
    """The profile of every event composed as often as it occurred.

    Args:
        segments: event -> how often it was released.
        delta: where the profile is as tight as `accounting.epsilon`.

    Raises:
        ValueError: delta outside (0, 1), a negative count, nothing released, or some noise is 0.
    """
    return Profile(delta_of(segments, delta=delta))
