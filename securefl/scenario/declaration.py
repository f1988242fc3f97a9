"""A scenario as it is declared: tables and defaults, before any check."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.data_table import KEYS, Data
from securefl.scenario.refine_table import Refine
from securefl.scenario.simulate_table import Simulate
from securefl.scenario.tables import (
    Attack,
    Channel,
    Code,
    Cohort,
    Defense,
    Engine,
    Evaluate,
    Model,
    Practice,
    Privacy,
    Rehearsal,
    Section,
    Seed,
    Server,
    named,
)
from securefl.scenario.topology_table import Topology, topology_of
from securefl.scenario.training_table import Training

# Names that the design has for later versions.
PLANNED = {
    "channel.kind": ("bfv",),
}


class Declaration(Section):
    """The keys of a scenario; every one has a safe default.

    folder is where relative paths and code start: the folder of the scenario's file. code is filled
    in from what is found there, and compared when a run goes on.
    """

    seed: Seed = 0
    rounds: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 20
    data: Data = Data()
    model: Annotated[Model, BeforeValidator(named, json_schema_input_type=str | Model)] = Model(
        name="logistic"
    )
    training: Training = Training()
    privacy: Privacy | None = None
    practice: Practice | None = None
    topology: Annotated[Topology | None, BeforeValidator(topology_of)] = None
    cohort: Cohort | None = None
    weights: Literal["declared", "equal", "reported"] = "declared"
    init_from: str | None = None
    folder: str | None = None
    code: dict[str, Code] | None = None
    channel: Channel = Channel()
    simulate: Simulate = Simulate()
    defense: Defense = Defense()
    attack: Attack | None = None
    server: Server = Server()
    rehearsal: Rehearsal | None = None
    engine: Engine | None = None
    evaluate: Evaluate | None = None
    refine: Refine | None = None

    @model_validator(mode="before")
    @classmethod
    def _before_the_keys(cls, values: Any) -> Any:
        """Adds the default claim to training with noise, and refuses later channels.

        Such a channel is refused here because its keys would be found unknown first.
        """
        if not isinstance(values, dict):
            return values
        channel = values.get("channel")
        kind = channel.get("kind") if isinstance(channel, dict) else None
        if kind in PLANNED["channel.kind"] and kind not in catalog.CHANNELS:
            raise ScenarioError(not_yet("channel.kind", kind, catalog.CHANNELS))
        if values.get("privacy") is None and _has_noise(values.get("training", {})):
            values = {**values, "privacy": {}}
        return _with_own_data(values, kind)

    @property
    def home(self) -> Path:
        """The folder that relative paths start from."""
        return Path(self.folder or ".")

    @property
    def device(self) -> str | None:
        """The name of the device that models train on; None without one, for the CPU."""
        return None if self.engine is None else self.engine.device

    @property
    def keeps_best(self) -> bool:
        """Whether the run ends with the best model that was evaluated, not with the last one."""
        return self.evaluate is not None and self.evaluate.keep == "best"

    @property
    def leave(self) -> Literal["never", "sums", "noisy"]:
        """What leaves sites about the records that judge."""
        return (self.evaluate and self.evaluate.leave) or "never"

    @property
    def test_epsilon(self) -> float:
        """The epsilon of all noisy figures about the records that judge; 0 where none leave."""
        if self.evaluate is None or self.leave != "noisy":
            return 0.0
        return self.evaluate.price[0]

    @property
    def judging(self) -> str:
        """The records that judge: validation or test."""
        return self.data.test_on or "test"

    @property
    def computed_as_usual(self) -> bool:
        """Whether clients train one at a time and on the CPU, as every replay does."""
        stack = None if self.engine is None else self.engine.stack
        return stack in (None, "off") and self.device in (None, "cpu")

    @property
    def claims_dp(self) -> bool:
        """Whether a finite epsilon is claimed."""
        return self.privacy is not None and math.isfinite(self.privacy.epsilon)

    @property
    def protects_clients(self) -> bool:
        """Whether updates are protected as a whole, each of a client."""
        return self.privacy is not None and self.privacy.unit == "client"

    @property
    def has_noise(self) -> bool:
        """Whether there is noise that a finite epsilon can rest on."""
        return self.protects_clients or catalog.TRAINERS[self.training.kind].private

    @property
    def tosses_coins(self) -> bool:
        """Whether each client decides by a coin of its own whether it is in a round."""
        return self.cohort is not None and self.cohort.sampling == "poisson"

    @property
    def repeatable(self) -> bool:
        """Whether a round played again is the same release: no noise of the system's.

        The bytes are the same, too, unless the channel rounds at random (ckks).
        """
        # Noise that is drawn twice shows two different sums of one round: both would cost.
        if self.privacy is None or self.privacy.noise == "seeded":
            return True
        return not self.has_noise


def not_yet(key: str, name: str, names: Collection[str]) -> str:
    """Returns the sentence that refuses a name of a later version."""
    return f"{key} = {name!r} is not available yet; use {' or '.join(map(repr, names))}"


def _with_own_data(values: dict[str, Any], channel: object) -> dict[str, Any]:
    """Moves arguments of a Python function together, and weighs own records by their number.

    Nobody publishes how many records a user has: the weights "declared" would lack numbers. Where
    there is no claim the server may see them, unless a channel hides the updates themselves.
    """
    data = values.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(name, str) or name in catalog.DATA:
        return values
    if name not in catalog.OWN_DATA:
        arguments = {key: value for key, value in data.items() if key not in KEYS}
        if arguments and isinstance(data.get("arguments", {}), dict):
            ours = {key: value for key, value in data.items() if key in KEYS}
            given = {**arguments, **data.get("arguments", {})}
            values = {**values, "data": {**ours, "arguments": given}}
    if values.get("privacy") is None and "weights" not in values:
        plain = channel in (None, Channel().kind)
        values = {**values, "weights": "reported" if plain else "equal"}
    return values


def _has_noise(training: object) -> bool:
    """Whether a table [training], not yet checked, names a way of training with noise."""
    if not isinstance(training, dict):
        return False
    kind = training.get("kind", Training().kind)
    return isinstance(kind, str) and kind in catalog.TRAINERS and catalog.TRAINERS[kind].private
