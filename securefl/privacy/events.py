"""What a release costs, as plain values; the accountant turns them into epsilon."""

import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, order=True)
class SampledGaussian:
    """`steps` releases of a Gaussian sum, each over an independent Poisson sample of the records.

    Args:
        sample_rate: probability of each record to be in a step's sample, in (0, 1].
        noise_multiplier: standard deviation of the noise over the clip, >= 0 (0 gives no
            guarantee).
        steps: number of releases, >= 1.

    Raises:
        ValueError: an argument is outside its range.
    """

    sample_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        """Refuses values outside their ranges."""
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be in (0, 1], got {self.sample_rate}")
        if not (0 <= self.noise_multiplier < math.inf):
            raise ValueError(
                f"noise_multiplier must be finite and >= 0, got {self.noise_multiplier}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps}")


# Stands for the round where a release precedes all rounds: the fit that harmonises records.
FIT_ROUND = -1


class ReleaseId(NamedTuple):
    """Names one release forever: the run, the client, the round and the attempt at it."""

    run: str
    client: int
    round: int
    attempt: int
