"""The terms of a CKKS session: parameters, the largest sum, and the error of an opened sum."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

DEGREE = 4096  # N, the ring's degree
MODULUS_BITS = (54, 55)  # the second is SEAL's own, for switching keys
SCALE_BITS = 40
SLOTS = DEGREE // 2
# A sum of this size or more can wrap around, silently: half of SEAL's prime, 2^54 - 172031, over
# the scale is 7.8e-8 short of 2^13, and noise takes its part of the room.
HEADROOM = 2 ** (MODULUS_BITS[0] - SCALE_BITS - 1) - 2.0**-20
KEY_ID_BYTES = 32

# SEAL draws a coefficient's noise from the centred binomial distribution of 21 pairs of bits.
_NOISE_VARIANCE = 10.5
_ROUNDING_VARIANCE = 1 / 12  # encoding rounds every coefficient
# The chance that one number is further off is 1.2e-15, for a billion numbers below 1e-6.
_DEVIATIONS = 8.0
_FLOAT32_ERROR = 2.0**-24
_FLOAT64_ERROR = 2.0**-46  # of the transform of 4096 float64s, relative to the largest


@dataclass(frozen=True)
class CkksTerms:
    """The agreement of all clients of a session.

    Args:
        session: 16 bytes that name the session.
        clients: ids of all clients, the key holders.
        d: coordinates of an update.
        clip: bound on one coordinate, > 0.
        cohort: clients invited to a round.
        min_cohort: fewest updates that make a round, at least 2; from 3 on, no client learns
            another's update from the sum.
        weights: public weight of each client; None where clients report theirs, inside the
            ciphertext.
        max_weight: the largest weight that a client may carry.

    Raises:
        ValueError: a sum of honest updates could wrap around, or one update alone would be opened.
    """

    session: bytes
    clients: tuple[int, ...]
    d: int
    clip: float
    cohort: int
    min_cohort: int
    weights: Mapping[int, int] | None
    max_weight: int

    def __post_init__(self) -> None:
        if self.min_cohort < 2:
            raise ValueError(
                "min_cohort must be at least 2 with ckks, or the sum would be one client's update"
            )
        if self.cohort * self.largest >= HEADROOM:
            largest_clip = math.floor(100 * HEADROOM / self.cohort) / 100
            raise ValueError(
                f"CKKS holds sums below {HEADROOM:g}: {self.cohort} clients x {self.largest:g} "
                f"could wrap around; use a clip of at most {largest_clip}"
            )

    @property
    def largest(self) -> float:
        """Bound on every number that an honest client encrypts: the clip, or its weight's share."""
        return self.clip if self.weights is not None else max(self.clip, 1.0)

    @property
    def numbers(self) -> int:
        """Numbers that a client encrypts: its coordinates, and its weight if that is not public."""
        return self.d if self.weights is not None else self.d + 1

    @property
    def chunks(self) -> int:
        """Ciphertexts of an update."""
        return math.ceil(self.numbers / SLOTS)

    def sum_bound(self, clients: int) -> float:
        """Returns how far one number of a sum over `clients` updates can be off.

        The bound fails for one in a billion sums of a million numbers.

        Source: the variance of a coefficient's noise, through the transform of Cheon et al. 2017,
        section 3.2. The real part of a slot adds up N coefficients, each times a cosine, which
        leaves half of their variance.
        """
        variance = clients * (DEGREE / 2) * (_NOISE_VARIANCE + _ROUNDING_VARIANCE)
        noise = _DEVIATIONS * math.sqrt(variance) / 2.0**SCALE_BITS
        return noise + clients * self.largest * _FLOAT64_ERROR

    def error_bound(self, clients: int, weight: float) -> float:
        """Returns how far a coordinate of the mean can be from that of the clipped updates.

        Args:
            clients: updates in the sum.
            weight: sum of their weights.
        """
        share = weight / self.max_weight
        error = self.sum_bound(clients)
        # The divisor is opened, too, and can be off by as much. The mean is at most the clip.
        if self.weights is None:
            error *= 1.0 + self.clip
            share -= error
        return error / max(share, math.ulp(1.0)) + self.clip * _FLOAT32_ERROR
