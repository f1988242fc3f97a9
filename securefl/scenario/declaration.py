"""What a scenario declares: its tables and their defaults, before anybody asks whether they fit together."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from securefl.scenario.checks.names import refuse_planned_channel
from securefl.scenario.tables import (
    Attack,
    Channel,
    Cohort,
    Data,
    Defense,
    Named,
    Practice,
    Privacy,
    Rehearsal,
    Section,
    Seed,
    Server,
    Simulate,
    Training,
    named,
)


class Declaration(Section):
    """The keys of a scenario; every one has a safe default."""

    seed: Seed = 0
    rounds: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 20
    data: Data = Data()
    model: Annotated[Named, BeforeValidator(named, json_schema_input_type=str | Named)] = Named(
        name="logistic"
    )
    training: Training = Training()
    privacy: Privacy | None = None
    practice: Practice | None = None
    cohort: Cohort | None = None
    weights: Literal["declared", "equal", "reported"] = "declared"
    init_from: str | None = None
    channel: Channel = Channel()
    simulate: Simulate = Simulate()
    defense: Defense = Defense()
    attack: Attack | None = None
    server: Server = Server()
    rehearsal: Rehearsal | None = None

    @model_validator(mode="before")
    @classmethod
    def _before_the_keys(cls, values: Any) -> Any:
        """dp_sgd without a privacy table gets the default claim; channels to come are named before their keys."""
        refuse_planned_channel(values)
        if isinstance(values, dict) and values.get("privacy") is None:
            training = values.get("training", {})
            kind = training.get("kind", "dp_sgd") if isinstance(training, dict) else None
            return {**values, "privacy": {}} if kind == "dp_sgd" else values
        return values

    @property
    def claims_dp(self) -> bool:
        """Whether a finite epsilon is claimed."""
        return self.privacy is not None and math.isfinite(self.privacy.epsilon)

    @property
    def repeatable(self) -> bool:
        """Whether a round played again is the same release: no noise is drawn from the system's CSPRNG.

        The bytes are the same, too, but where the channel rounds at random (ckks).
        """
        return self.training.kind == "sgd" or self.privacy is None or self.privacy.noise == "seeded"
