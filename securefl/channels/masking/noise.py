"""The shares of noise in a masked sum: how fine its grid is, and how much each client adds.

A client clips its update to an L2 norm, scales it to the grid, rounds it, adds discrete Gaussian
noise in whole steps, and masks the result. The noise is not scaled by weights.

Source: Kairouz, Liu and Steinke, "The distributed discrete Gaussian mechanism for federated
learning with secure aggregation", ICML 2021, algorithms 1 and 2.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from securefl.channels.masking.fixed_point import MAX_LEVELS, FixedPoint
from securefl.privacy.events import MIN_SHARE, DiscreteGaussianSum, event_to_json
from securefl.privacy.noise.discrete import MAX_SIGMA
from securefl.privacy.noise.shares import NoiseShares

ROTATED_RING = 16
# Chance that any sum of a run wraps around under its noise, and that a rotated coordinate is cut.
_CHANCE = 1e-12
# An update arrives in float32, so one record moves it by up to 2^-23 of its length more than it
# moves the exact sum. The rest is float64: weighting, and the L2 norm of up to 2^26 coordinates.
_FLOAT_PART = 2.0**-23 + 2.0**-25
# A rounding is drawn again where its norm is among the largest, with at most this chance.
_BETA = math.exp(-0.5)


@dataclass(frozen=True)
class SumNoise:
    """The noise in each sum of a session, the same for all members.

    Args:
        share: the parameter of one client's noise, in steps of the grid.
        honest: the shares that are counted: those of the fewest honest survivors of a sum.
        length: the largest L2 norm of a client's weighted update.
        tail: what the shares of a whole block together do not exceed, in steps.
        largest: where updates are rotated, the largest squared norm of one after rounding, in
            squared steps; None where they are not.
        event: the cost of one sum.
    """

    share: float
    honest: int
    length: float
    tail: int
    largest: int | None
    event: DiscreteGaussianSum

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as JSON can hold it; floats keep every bit."""
        return {
            "share": self.share.hex(),
            "honest": self.honest,
            "length": self.length.hex(),
            "tail": self.tail,
            "largest": self.largest,
            "event": event_to_json(self.event),
        }


class Sums(NamedTuple):
    """The sums of a session.

    Attributes:
        d: coordinates of an update.
        clients: the most clients of one sum.
        honest: the fewest honest survivors of one sum.
        number: of sums in the session.
    """

    d: int
    clients: int
    honest: int
    number: int


class Sized(NamedTuple):
    """The noise of a session and the grid that holds it."""

    noise: SumNoise
    code: FixedPoint


def padded(d: int) -> int:
    """Returns the least power of two that is not below d."""
    return 1 << max(0, d - 1).bit_length()


def sized(
    shares: NoiseShares, sums: Sums, *, ring: int, rounding: Literal["nearest", "stochastic"]
) -> Sized:
    """Returns the finest grid of a ring whose sums do not wrap around under their noise.

    Guarantees:
        - Shares of `sums.honest` clients have `noise_multiplier` times the sensitivity of the
          rounded sum, and `event` says so.
        - That any sum of the session wraps around has a chance of at most 1e-12.

    Raises:
        ValueError: no grid of this ring does it.
    """
    _check(shares, ring=ring, rounding=rounding)
    make = _Rotated if ring == ROTATED_RING else _Straight
    grid = make(shares, sums)
    levels = _most_levels(grid, sums, ring)
    if levels < 1:
        raise ValueError(
            f"a ring of 2^{ring} holds no sum of {sums.clients} clients and their noise: "
            "use a larger ring, fewer clients in a sum or a larger epsilon"
        )
    if sums.honest > 1 and grid.share(levels) < MIN_SHARE:
        raise ValueError(
            f"on the grid of a ring of 2^{ring} the shares of noise are below {MIN_SHARE} steps, "
            "for which no bound is proven: use a larger ring, fewer clients in a sum or a smaller "
            "epsilon"
        )
    tail = grid.tail(levels)
    code = FixedPoint(
        ring, grid.clip, rounding, most=sums.clients, headroom=tail, max_levels=levels
    )
    event = DiscreteGaussianSum.of(
        grid.share(levels),
        sums.honest,
        sensitivity=code.step * grid.sensitivity(levels),
        granularity=code.step,
        dimension=grid.words,
        sample_rate=shares.sample_rate,
    )
    noise = SumNoise(
        share=grid.share(levels),
        honest=sums.honest,
        length=shares.length,
        tail=tail,
        largest=grid.largest(levels),
        event=event,
    )
    return Sized(noise, code)


def _check(shares: NoiseShares, *, ring: int, rounding: str) -> None:
    """Raises ValueError where the sensitivity of a rotated sum would not be proven."""
    if ring != ROTATED_RING:
        return
    # Two roundings of nearly equal vectors are independent draws, as far apart as any two.
    if shares.sensitivity < shares.length:
        raise ValueError(
            "a ring of 2^16 carries noise for whole clients only, not for their examples: "
            "use channel.ring = 32"
        )
    if rounding != "stochastic":
        raise ValueError(
            f"a ring of 2^16 under noise rounds at random: leave out channel.rounding = "
            f"{rounding!r}, or use channel.ring = 32"
        )


def _most_levels(grid: "_Straight", sums: Sums, ring: int) -> int:
    """Returns the most levels that leave room for the noise, by bisection; 0 if none do."""
    room = (1 << (ring - 1)) - 1

    def has_room(levels: int) -> bool:
        if grid.share(levels) > MAX_SIGMA:
            return False
        return sums.clients * levels + grid.tail(levels) <= room

    low = 0
    high = MAX_LEVELS + 1
    while high - low > 1:
        middle = (low + high) // 2
        if has_room(middle):
            low = middle
        else:
            high = middle
    return low


class _Straight:
    """Updates that are rounded coordinate by coordinate, as they are.

    Guarantees:
        - Rounding to the nearest level moves each coordinate by at most half a step. Rounding at
          random is ceil(x - u) with a uniform u that depends on no record: for each u, two numbers
          x and y become integers less than |x - y| + 1 apart. So two sums that differ in one
          record are at most sensitivity / step + sqrt(d) steps apart, for both roundings.
        - No coordinate is cut: none is above the L2 norm.
    """

    def __init__(self, shares: NoiseShares, sums: Sums) -> None:
        self._shares = shares
        self._sums = sums
        self.words = sums.d
        self.clip = shares.length

    def sensitivity(self, levels: int) -> float:
        """Returns how far one protected unit moves the rounded sum, in steps."""
        moved = self._shares.sensitivity + _FLOAT_PART * self._shares.length
        return moved / self.clip * levels + math.sqrt(self.words)

    def share(self, levels: int) -> float:
        """Returns the parameter of one client's noise, in steps."""
        sigma = self._shares.noise_multiplier * self.sensitivity(levels)
        return sigma / math.sqrt(self._sums.honest)

    def tail(self, levels: int) -> int:
        """Returns what the shares of all clients of a sum do not exceed, in steps.

        A discrete Gaussian is sub-Gaussian with its own sigma, and parameters add in squares. The
        rest is a union bound over both signs, all coordinates and all sums.

        Source: Canonne, Kamath and Steinke, NeurIPS 2020, section 3, on moments and tails.
        """
        sigma = self.share(levels) * math.sqrt(self._sums.clients)
        return math.ceil(sigma * _deviations(self.words * self._sums.number))

    def largest(self, levels: int) -> int | None:
        """Returns the largest squared norm of a rounded vector; None where it is not checked."""
        return None


class _Rotated(_Straight):
    """Updates that are rotated at random first, and rounded again where their norm grew too much.

    A rotation spreads an update over all coordinates, so that each is small. A unit is a client
    here, which adds or removes one vector, or replaces one by another: one rounded norm, or two.

    Source: Kairouz, Liu and Steinke, ICML 2021, section 4, on rotation and conditional rounding.
    """

    def __init__(self, shares: NoiseShares, sums: Sums) -> None:
        super().__init__(shares, sums)
        self.words = padded(sums.d)
        # A coordinate of a rotated vector is a sum of random signs, hence sub-Gaussian.
        vectors = sums.number * sums.clients
        spread = _deviations(self.words * vectors) / math.sqrt(self.words)
        self.clip = shares.length * min(1.0, spread)

    def _squared_norm(self, levels: int) -> float:
        """Returns the bound that a rounded vector is held to, in squared steps."""
        norm = self._shares.length / self.clip * levels
        root = math.sqrt(self.words)
        spread = math.sqrt(2 * math.log(1 / _BETA)) * (norm + root / 2)
        return min(norm**2 + self.words / 4 + spread, (norm + root) ** 2)

    def sensitivity(self, levels: int) -> float:
        vectors = 1 if self._shares.sensitivity <= self._shares.length else 2
        return vectors * math.sqrt(self._squared_norm(levels))

    def largest(self, levels: int) -> int | None:
        return math.floor(self._squared_norm(levels))


def _deviations(numbers: int) -> float:
    """Returns t: that any of these numbers is beyond t sigma has a chance of at most 1e-12."""
    return math.sqrt(2 * math.log(2 * numbers / _CHANCE))
