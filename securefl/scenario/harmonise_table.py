"""The steps of `data.harmonise`, each a table with a name."""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from securefl.data.harmonise.entries import STEPS, LocalStep
from securefl.scenario.tables import Section

Intensity = Annotated[float, Field(ge=-1e9, le=1e9, strict=True)]
Percentile = Annotated[float, Field(ge=0, le=100, strict=True)]


class Step(Section):
    """A step of `data.harmonise`."""

    name: str

    @property
    def fitted(self) -> bool:
        """Whether the step rests on statistics of many records."""
        return STEPS[self.name].fitted

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every key but the name."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "name"}

    def local(self) -> LocalStep | None:
        """Returns the step as a function of features; None where it needs a fit."""
        apply = STEPS[self.name].apply
        return None if apply is None else partial(apply, **self.parameters)


class Window(Step):
    """Cuts intensities to a window in stored units, and stretches it to the full range."""

    name: Literal["window"]
    low: Intensity
    high: Intensity

    @model_validator(mode="after")
    def _is_wide(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        return self


class ZScore(Step):
    """Gives each image mean 0 and standard deviation 1."""

    name: Literal["zscore"]
    clip: Annotated[float, Field(gt=0, le=1e6, strict=True)] | None = None


class Nyul(Step):
    """Maps each image's percentiles to landmarks, linearly between them."""

    name: Literal["nyul"]
    landmarks: Annotated[tuple[Intensity, ...], Field(min_length=2, max_length=101)]
    percentiles: Annotated[tuple[Percentile, ...], Field(min_length=2, max_length=101)]

    @model_validator(mode="after")
    def _rise_together(self) -> Self:
        if len(self.landmarks) != len(self.percentiles):
            raise ValueError(
                "landmarks and percentiles go together, "
                f"got {len(self.landmarks)} and {len(self.percentiles)}"
            )
        for key in ("landmarks", "percentiles"):
            values = getattr(self, key)
            if any(low >= high for low, high in pairwise(values)):
                raise ValueError(f"{key} must rise from one to the next")
        return self


# A fitted step adds its class here, and its entry to STEPS.
HarmoniseStep = Annotated[Window | ZScore | Nyul, Field(discriminator="name")]
