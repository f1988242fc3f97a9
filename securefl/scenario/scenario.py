"""Scenario: TOML -> a frozen, checked description of one federation."""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from securefl.errors import ScenarioError
from securefl.scenario import compatibility, sites
from securefl.scenario.messages import sentence
from securefl.scenario.overrides import override
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


class Scenario(Section):
    """One federation, complete; every key has a safe default.

    Build it with `load_scenario` or `parse_scenario`, whose errors are one sentence each.
    """

    seed: Seed = 0
    rounds: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 20
    data: Data = Data()
    model: Annotated[Named, BeforeValidator(named)] = Named(name="logistic")
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
        compatibility.refuse_planned_channel(values)
        if isinstance(values, dict) and values.get("privacy") is None:
            training = values.get("training", {})
            kind = training.get("kind", "dp_sgd") if isinstance(training, dict) else None
            return {**values, "privacy": {}} if kind == "dp_sgd" else values
        return values

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "Scenario":
        compatibility.check(self)
        return self

    @property
    def partition(self) -> str:
        """How the records are dealt; the data set's own way by default."""
        return sites.partition_of(self)

    @property
    def site_records(self) -> tuple[int, ...]:
        """Public number of training records of each client: declared, or the published split's.

        Raises:
            ScenarioError: neither is there.
        """
        return sites.site_records(self)

    @property
    def clients(self) -> int:
        """Number of clients."""
        return sites.client_count(self)

    @property
    def cohort_size(self) -> int:
        """Clients invited to a round."""
        return self.clients if self.cohort is None else self.cohort.size

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

    def resolved(self) -> dict[str, Any]:
        """Every value in force, defaults filled in, ready for JSON (inf as a string)."""
        values: dict[str, Any] = self.model_dump(mode="json")
        compatibility.fill_in(self, values)
        values["cohort"] = {"size": self.cohort_size}
        if self.privacy is not None:
            known = self.privacy.records or sites.published(self)
            values["privacy"]["records"] = None if known is None else list(known)
            if math.isinf(self.privacy.epsilon):
                values["privacy"]["epsilon"] = "inf"
        return values


def load_scenario(path: Path, *, overrides: tuple[str, ...] = ()) -> Scenario:
    """The scenario in a TOML file, with `key.path=value` overrides.

    Raises:
        ScenarioError: the file cannot be read, is not TOML, or describes nothing that can be run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise ScenarioError(f"cannot read {path}: {getattr(reason, 'strerror', None) or 'not UTF-8 text'}") from None
    return parse_scenario(text, overrides=overrides)


def parse_scenario(text: str, *, overrides: tuple[str, ...] = ()) -> Scenario:
    """The scenario in TOML text, with `key.path=value` overrides. Raises ScenarioError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise ScenarioError(f"the scenario is not valid TOML: {reason}") from None
    if {"base", "axes", "seeds"} & set(values):
        raise ScenarioError("this is a study, not a scenario: use securefl bench, with --dry-run to check it")
    override(values, overrides)
    return make_scenario(values)


def make_scenario(values: dict[str, Any]) -> Scenario:
    """The scenario of these values, as TOML or resolved.json hold them. Raises ScenarioError."""
    try:
        return Scenario.model_validate(values)
    except ValidationError as reason:
        raise ScenarioError(sentence(reason, Scenario, "the scenario")) from None
