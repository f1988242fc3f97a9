"""The table [refine] of a scenario."""

from typing import Annotated

from pydantic import Field

from securefl.scenario.tables import MAX_COUNT, Section


class Refine(Section):
    """Marks a run that trains a later version of a model on other records of the same sites.

    `securefl refine` fills it in (docs/refine.md). init_from then names the version that training
    starts from. version is the number of this one. ledgers is the folder of the sites' ledgers
    after all versions before it, released or not; it goes with a DP claim.
    fisher is the folder of what training.algorithm = "ewc" holds on to.
    """

    version: Annotated[int, Field(ge=2, le=MAX_COUNT, strict=True)]
    ledgers: str | None = None
    fisher: str | None = None
