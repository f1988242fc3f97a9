"""The steps of `data.harmonise`, each a table with a name."""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from securefl.data.harmonise.entries import STEPS, LocalStep
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.scenario.tables import Index, Section, named

Intensity = Annotated[float, Field(ge=-1e9, le=1e9, strict=True)]
Percentile = Annotated[float, Field(ge=0, le=100, strict=True)]

# Standard deviations within which nearly all pixels of an image lie.
USUAL_SCORE = 6.0


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

    @field_validator("landmarks", mode="before")
    @classmethod
    def _are_constants(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(
                "landmarks that are learned from the records are a release about them, which "
                "nothing here pays for: give numbers, such as `securefl data landmarks` drafts "
                "from public images"
            )
        return value

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


class FittedStep(Step):
    """A step that is fitted to the training records of all sites.

    noise_multiplier is for DP claims, and needed there: the standard deviation of the noise on a
    site's sums, over the largest change that one record can make. bound is for claims, too: values
    count as at most so much in size where the step is fitted, 1 by default.
    """

    bound: Annotated[float, Field(gt=0, le=1e12, strict=True)] | None = None
    noise_multiplier: Annotated[float, Field(ge=0.1, le=1e4, strict=True)] | None = None

    @property
    def cost(self) -> PrivacyEvent | None:
        """What one fit costs a site; None without noise."""
        if self.noise_multiplier is None:
            return None
        return SampledGaussian(1.0, self.noise_multiplier, 1)

    def columns_of(self, features: int) -> tuple[int, ...]:
        """Returns the columns that the step changes, of so many features."""
        raise NotImplementedError

    @property
    def regressors(self) -> tuple[int, ...]:
        """The columns whose effect on the others is kept."""
        return ()

    @property
    def chosen(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The keys that name columns, and the columns."""
        raise NotImplementedError


class Standardise(FittedStep):
    """Gives each column mean 0 and standard deviation 1 over all sites together."""

    name: Literal["standardise"]
    columns: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None

    def columns_of(self, features: int) -> tuple[int, ...]:
        """Returns the columns that the step changes; all by default."""
        return tuple(range(features)) if self.columns is None else self.columns

    @property
    def chosen(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The keys that name columns, and the columns."""
        return (("columns", self.columns or ()),)


class Combat(FittedStep):
    """Takes the location and scale of each site out of its features.

    features are the columns to change, by default all that are no covariates. The effect of
    covariates, other columns such as age, is kept. empirical_bayes = false leaves location and
    scale as they are estimated. new_sites is for a site that is held out: "unchanged" leaves its
    records as they are, "fit" takes out its own location and scale, without a claim only.
    """

    name: Literal["combat"]
    features: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None
    covariates: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None
    empirical_bayes: Annotated[bool, Field(strict=True)] | None = None
    new_sites: Literal["unchanged", "fit"] | None = None

    @field_validator("covariates", mode="before")
    @classmethod
    def _are_columns(cls, value: object) -> object:
        if isinstance(value, list | tuple) and any(isinstance(one, str) for one in value):
            raise ValueError(
                "covariates are numbers of columns; the class is never one of them, since it is "
                "unknown where the model predicts"
            )
        return value

    @property
    def shrinks(self) -> bool:
        """Whether location and scale are shrunk towards their means across features."""
        return self.empirical_bayes is not False

    def columns_of(self, features: int) -> tuple[int, ...]:
        """Returns the columns that the step changes."""
        if self.features is not None:
            return self.features
        return tuple(column for column in range(features) if column not in self.regressors)

    @property
    def regressors(self) -> tuple[int, ...]:
        """The columns whose effect on the others is kept."""
        return self.covariates or ()

    @property
    def chosen(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The keys that name columns, and the columns."""
        return (("features", self.features or ()), ("covariates", self.regressors))


# A fitted step adds its class here, and its entry to STEPS.
_Named = Annotated[Window | ZScore | Nyul | Standardise | Combat, Field(discriminator="name")]
HarmoniseStep = Annotated[_Named, BeforeValidator(named)]
