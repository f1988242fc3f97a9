"""The releases that the options of `securefl privacy` describe."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from securefl.errors import ScenarioError

if TYPE_CHECKING:  # loading the accountant takes a second, which `--help` need not wait
    from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent, SampledGaussian


class Place(StrEnum):
    """Where noise is added, as in the key privacy.place."""

    LOCAL = "local"
    DISTRIBUTED = "distributed"
    CENTRAL = "central"


PlaceOption = Annotated[
    Place,
    typer.Option("--place", help="Where noise is added; distributed: in shares, by the clients."),
]
SharesOption = Annotated[
    int | None,
    typer.Option(
        "--shares",
        help="Distributed: shares that count (n_min). The noise multiplier is what they have "
        "together. `securefl validate` prints both.",
    ),
]
ContributingOption = Annotated[
    int | None,
    typer.Option(
        "--contributing",
        help="Distributed: what if another number of shares of this size counts; default: all "
        "of --shares.",
    ),
]
GranularityOption = Annotated[
    float | None,
    typer.Option("--granularity", help="Distributed: step of the grid over the sensitivity."),
]
DimensionOption = Annotated[
    int | None, typer.Option("--dimension", help="Distributed: coordinates of a sum.")
]


@dataclass(frozen=True)
class Shares:
    """Noise that clients add in shares.

    Args:
        sized_for: shares that have the noise multiplier together: n_min in a scenario.
        contributing: shares of this size that count, if their number is another one.
        granularity: step of the grid over the sensitivity.
        dimension: coordinates of a sum.
    """

    sized_for: int
    contributing: int
    granularity: float
    dimension: int

    def event(self, noise_multiplier: float, sample_rate: float) -> "DiscreteGaussianSum":
        """Returns one sum, in which only some of the shares count."""
        if not 0 < noise_multiplier < math.inf:
            raise ScenarioError(
                f"--noise-multiplier must be positive and finite, got {noise_multiplier:g}"
            )
        from securefl.privacy import effective_sigma
        from securefl.privacy.accounting.shares import discrete_gaussian_sum

        counted = effective_sigma(
            noise_multiplier, sized_for=self.sized_for, contributing=self.contributing
        )
        return discrete_gaussian_sum(
            counted,
            shares=self.contributing,
            granularity=self.granularity,
            dimension=self.dimension,
            sample_rate=sample_rate,
        )


def shares_of(
    place: Place,
    shares: int | None,
    contributing: int | None,
    granularity: float | None,
    dimension: int | None,
) -> Shares | None:
    """Returns the shares that options describe; None where noise is not distributed.

    Raises:
        ScenarioError: an option is missing, or has no effect at this place.
    """
    options = {
        "--shares": shares,
        "--granularity": granularity,
        "--dimension": dimension,
        "--contributing": contributing,
    }
    if place is not Place.DISTRIBUTED:
        idle = [name for name, value in options.items() if value is not None]
        if idle:
            raise ScenarioError(
                f"{idle[0]} has no effect on {place} noise: add --place distributed, or remove it"
            )
        return None
    if shares is None or granularity is None or dimension is None:
        raise ScenarioError(
            "--place distributed needs --shares, --granularity and --dimension: the shares that"
            " count, the step of the grid over the sensitivity, and the coordinates of a sum;"
            " `securefl validate` prints the command of a scenario"
        )
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise ScenarioError(f"{name} must be positive and finite, got {value:g}")
    return Shares(shares, shares if contributing is None else contributing, granularity, dimension)


def releases_of(
    shares: Shares | None, sample_rate: float, noise_multiplier: float, steps: int
) -> "dict[PrivacyEvent, int]":
    """Returns the releases that options describe."""
    if shares is None:
        gaussians = gaussians_of(sample_rate, noise_multiplier, steps)
        return {event: count for event, count in gaussians.items()}
    if steps < 1:
        raise ScenarioError(f"steps must be >= 1, got {steps}")
    return {shares.event(noise_multiplier, sample_rate): steps}


def gaussians_of(
    sample_rate: float, noise_multiplier: float, steps: int
) -> "dict[SampledGaussian, int]":
    """Returns Gaussian releases."""
    from securefl.privacy.events import SampledGaussian

    return {SampledGaussian(sample_rate, noise_multiplier, steps): 1}


def in_words(
    shares: Shares | None, sample_rate: float, noise_multiplier: float, steps: int
) -> list[str]:
    """Returns what is assumed of the releases, in a line or two."""
    drawn = "each over all records"
    if sample_rate < 1:
        drawn = f"each over a Poisson sample at rate {sample_rate:g}"
    if shares is None:
        return [
            f"{steps} Gaussian releases at noise multiplier {noise_multiplier:g}, {drawn}; "
            "a record added or removed"
        ]
    event = shares.event(noise_multiplier, sample_rate)
    lines = [
        f"{steps} sums, {drawn}; noise multiplier {noise_multiplier:g} is that of"
        f" {shares.sized_for} shares of discrete Gaussian noise together",
    ]
    if shares.contributing != shares.sized_for:
        lines.append(
            f"{shares.contributing} shares of this size count here, with noise multiplier"
            f" {event.noise_multiplier:.6g} together"
        )
    return [
        *lines,
        f"gap tau {event.tau:.3g} in each of {event.dimension} coordinates",
        "the claim holds against the server and every client whose share does not count",
    ]
