"""The table [simulate] of a scenario: faults, a clock, and unlike scanners."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from securefl.scenario.tables import Count, Index, Section


class Failure(Section):
    """A client that fails in one round."""

    client: Index
    round: Index


class Drop(Failure):
    """A client that is silent in one round from one stage (from 1) on."""

    stage: Count = 1


class SimulatedScanner(Section):
    """How the scanner of one client differs."""

    client: Index
    gain: Annotated[float, Field(ge=0.01, le=100, strict=True)] = 1.0
    gamma: Annotated[float, Field(ge=0.01, le=100, strict=True)] = 1.0
    blur: Annotated[float, Field(ge=0, le=100, strict=True)] = 0.0

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if (self.gain, self.gamma, self.blur) == (1.0, 1.0, 0.0):
            raise ValueError("a scanner needs gain, gamma or blur, or it changes nothing")
        return self


class SimulatedLie(Section):
    """A client that deals the sketch of something else than its update."""

    client: Index
    factor: Annotated[float, Field(ge=-1000, le=1000, strict=True)]
    hide: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _is_none(self) -> Self:
        if self.factor == 1:
            raise ValueError("a lie needs a factor other than 1, or it is the truth")
        return self


class Simulate(Section):
    """Failures to play out: silent clients, late updates, a missed set-up. And a clock.

    speed has one whole number a client: the simulated time that one training takes there. Records
    and metrics then say at which time of this clock each round ended.

    scanners makes the images of some clients look as if they came from other machines, before
    data.harmonise. A pixel x of 0 to 1 becomes gain * x ** gamma, cut to 0 to 1; blur is the
    standard deviation of a Gaussian in pixels, applied first. Clients are numbered as before
    data.only. Test records that belong to no client are dealt to all clients, each by its content
    and split_seed, and are scanned where they belong.

    lie, with channel.sketch, makes clients lie about their updates in every round: each deals the
    sketch of its update times factor. hide puts the difference into the mask that it shares with
    one other client, so that nobody can tell which of the two lied.
    """

    drop: tuple[Drop, ...] = ()
    late: tuple[Failure, ...] = ()
    missing: tuple[Index, ...] = ()
    speed: tuple[Count, ...] | None = None
    scanners: Annotated[tuple[SimulatedScanner, ...], Field(min_length=1)] | None = None
    lie: Annotated[tuple[SimulatedLie, ...], Field(min_length=1)] | None = None
