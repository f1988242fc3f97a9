"""Whether training by one clipped-gradient sum a round fits the rest of the scenario."""

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.resolve import without_effect
from securefl.scenario.training_table import Training

_OF_SUMS = ("sample_rate", "ema")


def check_one_sum(declared: Declaration, facts: Facts) -> None:
    """Checks the keys of training by one sum a round, and what would need steps at the sites.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    if not facts.trainer.one_sum:
        for key in _OF_SUMS:
            if getattr(declared.training, key) is not None:
                raise ScenarioError(
                    f"training.{key} has an effect with training.kind = 'clipped_gradient' only; "
                    "remove it"
                )
        return
    kind = f"training.kind = {declared.training.kind!r}"
    _check_keys(declared.training, facts, kind)
    if declared.topology is not None:
        raise ScenarioError(
            f"topology.kind = {declared.topology.kind!r}: with {kind} one server takes the steps; "
            "remove the table [topology]"
        )
    if declared.weights == "reported":
        raise ScenarioError(
            f"weights = 'reported': with {kind} a sum is divided by the declared number of "
            "records; use 'declared' or 'equal'"
        )
    _ = facts.site_records  # raises where no size is public
    # server.lr scales what training.lr and its schedule make of a gradient: two factors, one step.
    if facts.step.entry is not catalog.STEPS["fedavg"]:
        raise ScenarioError(
            f"server.step = {facts.step.name!r} would be a second step after that of {kind}: "
            "remove the table [server], and set training.lr and training.momentum"
        )


def _check_keys(training: Training, facts: Facts, kind: str) -> None:
    """Checks that no key is given for steps at the sites, of which there are none."""
    for key in without_effect(facts):
        if key in training.model_fields_set:
            raise ScenarioError(
                f"training.{key} has no effect with {kind}, which adds up the gradients of a round "
                "once; remove it, or set training.sample_rate"
            )
    for key in ("optimizer", "fine_tune"):
        if getattr(training, key) is not None:
            raise ScenarioError(
                f"training.{key} is for steps at the sites, and with {kind} the server takes the "
                "step; remove it"
            )
    if training.algorithm not in (None, catalog.DEFAULT_ALGORITHM):
        raise ScenarioError(
            f"training.algorithm = {training.algorithm!r} changes steps at the sites, and with "
            f"{kind} the server takes the step; remove it"
        )
