"""What a CKKS session rests on: its parameters, the room a sum has, and how far an opened sum can be off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

DEGREE = 4096  # N, the ring's degree
MODULUS_BITS = (54, 55)  # the second is SEAL's own, for switching keys
SCALE_BITS = 40
SLOTS = DEGREE // 2
# A sum of this size or more can wrap around, silently: half of SEAL's prime, 2^54 - 172031, over the scale
# is 7.8e-8 short of 2^13, and noise takes its part of the room.
HEADROOM = 2 ** (MODULUS_BITS[0] - SCALE_BITS - 1) - 2.0**-20
KEY_ID_BYTES = 32

_NOISE_VARIANCE = 10.5  # of one coefficient: SEAL draws from the centred binomial distribution of 21 pairs of bits
_ROUNDING_VARIANCE = 1 / 12  # encoding rounds every coefficient
_DEVIATIONS = 8.0  # 1.2e-15 a number, below 1e-6 for a billion numbers
_FLOAT32 = 2.0**-24
_FLOAT64 = 2.0**-46  # the transform of 4096 float64s, relative to the largest


@dataclass(frozen=True)
class CkksTerms:
    """What all clients of a session agree on.

    Args:
        session: 16 bytes that name the session.
        clients: ids of all clients, the key holders.
        d: coordinates of an update.
        clip: bound on one coordinate, > 0.
        cohort: clients invited to a round.
        min_cohort: fewest updates that make a round, at least 2; from 3 on no client learns another's from the sum.
        weights: public weight of each client; None where clients report theirs, inside the ciphertext.
        max_weight: the largest weight a client may carry.

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
            raise ValueError(
                f"CKKS holds sums below {HEADROOM:g}: {self.cohort} clients x {self.largest:g} could wrap around; "
                f"use a clip of at most {math.floor(100 * HEADROOM / self.cohort) / 100}"
            )

    @property
    def largest(self) -> float:
        """No number that an honest client encrypts is larger: the clip, or the weight over the largest."""
        return self.clip if self.weights is not None else max(self.clip, 1.0)

    @property
    def numbers(self) -> int:
        """How many a client encrypts: its coordinates, and its weight where that is not public."""
        return self.d + (self.weights is None)

    @property
    def chunks(self) -> int:
        """Ciphertexts of an update."""
        return math.ceil(self.numbers / SLOTS)

    def sum_bound(self, clients: int) -> float:
        """How far one number of a sum over `clients` can be off, but for one in a billion sums of a million numbers.

        Source: the variance of a coefficient's noise, through the transform of Cheon et al. 2017, section 3.2: the
        real part of a slot adds up N of them, each times a cosine, which leaves half.
        """
        variance = clients * (DEGREE / 2) * (_NOISE_VARIANCE + _ROUNDING_VARIANCE)
        return (
            _DEVIATIONS * math.sqrt(variance) / 2.0**SCALE_BITS + clients * self.largest * _FLOAT64
        )

    def error_bound(self, clients: int, weight: float) -> float:
        """How far a coordinate of the mean can be from that of the clipped updates.

        Args:
            clients: updates in the sum.
            weight: sum of their weights.
        """
        share = weight / self.max_weight
        off = self.sum_bound(clients) * (1.0 if self.weights is not None else 1.0 + self.clip)
        return off / max(share - (self.weights is None) * off, math.ulp(1.0)) + self.clip * _FLOAT32
