"""Units: a column has one, and sites that measure in another declare how to convert it.

    { name = "chol", range = [0, 600], unit = "mg/dl", decimals = 0,
      units = { basel = { unit = "mmol/l", factor = 38.67 } } }

No table of units is shipped. The factor is declared, so that everybody can see what a record's
number becomes: value = factor * number + offset, rounded to so many decimals.
"""

from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

# A float64 beyond it has no decimals that rounding could remove.
MAX_ROUNDED = 1e15

_Name = Annotated[str, Field(min_length=1, max_length=40, strict=True)]
_Factor = Annotated[float, Field(gt=0, le=1e12, strict=True, allow_inf_nan=False)]
_Offset = Annotated[float, Field(ge=-1e12, le=1e12, strict=True, allow_inf_nan=False)]


class Unit(BaseModel):
    """The unit of one site, and how its numbers become those of the column's unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: _Name
    factor: _Factor
    offset: _Offset = 0.0


class Measured(BaseModel):
    """A column of numbers that may have a unit.

    unit is that of the range and of every site without an entry in units. decimals are those that
    converted numbers are rounded to; numbers that need no conversion stay as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: _Name | None = None
    units: dict[str, Unit] = Field(default_factory=dict)
    decimals: Annotated[int, Field(ge=0, le=12, strict=True)] | None = None

    @model_validator(mode="after")
    def _units_fit_together(self) -> Self:
        if self.units and self.unit is None:
            raise ValueError("units of sites need the unit that they are converted to: unit = ...")
        if self.decimals is not None and not self.units:
            raise ValueError("decimals have no effect without units; remove them")
        for site, unit in self.units.items():
            is_same = unit.factor == 1 and unit.offset == 0
            if (unit.unit == self.unit) is not is_same:
                raise ValueError(
                    f"site {site!r} has the unit {unit.unit!r}, and the column {self.unit!r}: a"
                    " factor of 1 goes with the same unit, and another unit needs another factor"
                )
        return self


def converted(
    numbers: NDArray[np.float64], unit: Unit, decimals: int | None
) -> NDArray[np.float64]:
    """Returns numbers of a site's unit in the column's unit; NaN and infinity stay what they are.

    Args:
        numbers: (rows,).
        unit: of the site.
        decimals: to round to; None does not round.
    """
    # The largest numbers overflow to infinity, which is no number, as in the file of another site.
    with np.errstate(over="ignore"):
        values: NDArray[np.float64] = unit.factor * numbers + unit.offset
    if decimals is None:
        return values
    is_small = np.abs(values) < MAX_ROUNDED
    values[is_small] = np.round(values[is_small], decimals)
    return values
