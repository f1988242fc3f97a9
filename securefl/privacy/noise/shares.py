"""Noise that the clients of a sum add in shares, as all of them agree on it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseShares:
    """What the shares of a session protect, and how much noise they are together.

    The sum is that of weight / max_weight x update over the clients of a round, in the units of an
    update, before it is rounded to a grid.

    Args:
        sensitivity: the L2 distance that one protected unit can move the sum, > 0.
        length: the largest L2 norm of one client's weighted update, > 0.
        noise_multiplier: sigma of the shares that count over the sensitivity of the rounded sum.
        sample_rate: probability of each protected unit to be in the sum, by coins that only its
            client sees, in (0, 1].

    Raises:
        ValueError: an argument is outside its range.
    """

    sensitivity: float
    length: float
    noise_multiplier: float
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuses values outside their ranges."""
        for name in ("sensitivity", "length", "noise_multiplier"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be in (0, 1], got {self.sample_rate}")
