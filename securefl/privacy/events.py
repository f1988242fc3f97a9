"""What a release costs, as plain values; the accountant turns them into epsilon."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

# No sum has more clients; tau is a sum over all of them.
MAX_SHARES = 2**16
# The parameter of a share, in steps of the grid, from which the bound on a sum of them is proven.
MIN_SHARE = 0.5
# Fields of an event that are whole numbers.
COUNTS = ("steps", "shares", "dimension")


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


@dataclass(frozen=True, order=True)
class DiscreteGaussianSum:
    """`steps` releases of a sum on a grid, to which clients add shares of discrete Gaussian noise.

    Shares count that nobody can subtract: those of honest clients whose updates are in the sum.
    Lengths are in the units of the sum.

    Args:
        sample_rate: probability of each protected unit to be in a step's sample, by coins that the
            adversary does not see, in (0, 1].
        sigma: root of the summed squared parameters of the shares that count, > 0; each share is at
            least `MIN_SHARE` steps of the grid, unless it is the only one.
        sensitivity: the L2 distance that one protected unit can move the rounded sum, > 0.
        granularity: distance of two neighbouring points of the grid, > 0.
        shares: number of shares that count, 1 to `MAX_SHARES`.
        dimension: coordinates of the sum, >= 1.
        tau: what a coordinate of the sum of shares may differ from one discrete Gaussian; at least
            `sum_gap` of share and shares.
        steps: number of releases, >= 1.

    Raises:
        ValueError: an argument is outside its range.

    Source: Kairouz, Liu and Steinke, ICML 2021, theorem 1.
    """

    sample_rate: float
    sigma: float
    sensitivity: float
    granularity: float
    shares: int
    dimension: int
    tau: float
    steps: int = 1

    def __post_init__(self) -> None:
        """Refuses values outside their ranges."""
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be in (0, 1], got {self.sample_rate}")
        for name in ("sigma", "sensitivity", "granularity"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in ("shares", "dimension", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.shares > MAX_SHARES:
            raise ValueError(f"shares must be <= {MAX_SHARES}, got {self.shares}")
        # Below half a step the distance to one discrete Gaussian is no longer bounded by tau.
        if self.shares > 1 and self.share < MIN_SHARE * (1 - 1e-9):
            raise ValueError(
                f"a share of noise must be at least {MIN_SHARE} steps of the grid, got "
                f"{self.share:.3g}: use a finer grid"
            )
        least = sum_gap(self.share, self.shares)
        # A ledger's line is read back from decimals, which may round the last digit.
        if not least * (1 - 1e-9) <= self.tau < math.inf:
            raise ValueError(f"tau must be at least {least:g} for these shares, got {self.tau}")

    @classmethod
    def of(
        cls,
        share: float,
        shares: int,
        *,
        sensitivity: float,
        granularity: float,
        dimension: int,
        sample_rate: float = 1.0,
        steps: int = 1,
    ) -> Self:
        """Returns the event of equal shares; share is in grid steps, sensitivity is not."""
        return cls(
            sample_rate=sample_rate,
            sigma=granularity * share * math.sqrt(shares),
            sensitivity=sensitivity,
            granularity=granularity,
            shares=shares,
            dimension=dimension,
            tau=sum_gap(share, shares),
            steps=steps,
        )

    @property
    def share(self) -> float:
        """The parameter of one share, in steps of the grid."""
        return self.sigma / self.granularity / math.sqrt(self.shares)

    @property
    def noise_multiplier(self) -> float:
        """Sigma over the sensitivity."""
        return self.sigma / self.sensitivity


def sum_gap(share: float, shares: int) -> float:
    """Returns tau, which bounds how far a sum of discrete Gaussians is from a discrete Gaussian.

    Args:
        share: the parameter of each, in steps of the grid, > 0.
        shares: how many are added, >= 1.

    Source: Kairouz, Liu and Steinke, ICML 2021, theorem 1.
    """
    exponents = (-2 * (math.pi * share) ** 2 * k / (k + 1) for k in range(1, shares))
    return 10 * math.fsum(map(math.exp, exponents))


# What one release costs.
PrivacyEvent = SampledGaussian | DiscreteGaussianSum
# Event -> how often it was released.
Counts = (
    Mapping[PrivacyEvent, int] | Mapping[SampledGaussian, int] | Mapping[DiscreteGaussianSum, int]
)


def event_to_json(event: PrivacyEvent) -> dict[str, Any]:
    """Returns an event as a ledger's line holds it."""
    return asdict(event)


def event_from_json(fields: Mapping[str, Any]) -> PrivacyEvent:
    """Returns the event of a ledger's line.

    Raises:
        TypeError: a field is missing, unknown or of another type.
        ValueError: a value is outside its range.
    """
    for name, value in fields.items():
        # A true value passes for a 1, and a fraction of a share for less noise than it is.
        if isinstance(value, bool) or (name in COUNTS and not isinstance(value, int)):
            raise TypeError(f"{name} of an event cannot be {value!r}")
    kind = DiscreteGaussianSum if "granularity" in fields else SampledGaussian
    return kind(**fields)


def in_order(events: Mapping[PrivacyEvent, int]) -> tuple[tuple[PrivacyEvent, int], ...]:
    """Returns events and their counts in one order, whatever their kinds."""
    return tuple(sorted(events.items(), key=lambda item: (type(item[0]).__name__, item)))


# Stands for the round where a release precedes all rounds: the fit that harmonises records.
FIT_ROUND = -1


class ReleaseId(NamedTuple):
    """Names one release forever: the run, the client, the round and the attempt at it."""

    run: str
    client: int
    round: int
    attempt: int
