"""Whether a run may claim what it claims, although its model comes from an earlier run."""

from collections.abc import Iterable, Mapping
from typing import Any

from securefl.errors import ScenarioError
from securefl.privacy.terms import Place, place_called, uncovering
from securefl.scenario import catalog
from securefl.scenario.assemble.ledgers import place_of
from securefl.scenario.scenario import Scenario

Resolved = Mapping[str, Any]


def check_claim(
    scenario: Scenario, earlier: Resolved, name: str, constants: tuple[str, ...]
) -> None:
    """Refuses a claim that does not cover what the earlier run claimed.

    Args:
        scenario: makes a claim.
        earlier: every value in force in the earlier run.
        name: of the earlier run, at the beginning of a sentence.
        constants: keys of [privacy] that must be equal.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    before = earlier["privacy"] or {"epsilon": "inf"}
    if before["epsilon"] == "inf":
        raise ScenarioError(
            f"{name} claims no DP: its model was trained on these records without noise, which no "
            "later noise hides"
        )
    here = scenario.resolved()["privacy"]
    for key in constants:
        if before[key] != here[key]:
            raise ScenarioError(
                f"{name} has privacy.{key} = {before[key]}, here it is {here[key]}; they must be "
                "equal: change it here, or train a new model"
            )
    # One client replaced is two added or removed: such epsilons do not add up.
    sampling = (earlier.get("cohort") or {}).get("sampling")
    now = None if scenario.cohort is None else scenario.cohort.sampling
    if scenario.protects_clients and sampling != now:
        raise ScenarioError(
            f"{name} has cohort.sampling = {shown(sampling)}, here it is {shown(now)}; their "
            "claims have other neighbours, so they must be equal: change it here, or train a new "
            "model"
        )


def check_places(
    scenario: Scenario, earlier: Resolved, name: str, booked: Iterable[Place] = ()
) -> None:
    """Refuses a claim against somebody who could see through the noise of an earlier run.

    Ledgers say where noise was added, also where resolved.json was edited. The claim covers the
    releases of all runs, so that it holds against those alone whom each run's noise holds against.

    Args:
        scenario: makes a claim.
        earlier: every value in force in the earlier run, which made a claim, too.
        name: of the earlier run, at the beginning of a sentence.
        booked: the places that ledgers record.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    channel = earlier["channel"]
    opener = catalog.CHANNELS[channel["kind"]].opener
    place = earlier["privacy"].get("place", "local")
    declared = place_called(place, channel.get("corrupt"), opener)
    here = place_of(scenario)
    weaker = uncovering((declared, *booked), here)
    if weaker is not None:
        raise ScenarioError(
            f"{name} has {weaker}, here it is {here}: the claim covers what both runs release, and "
            "the noise of the earlier one does not hold against all whom this claim names; set "
            f"{weaker} here, too, or train a new model"
        )


def shown(value: object) -> object:
    """Returns a value for a sentence."""
    return "not set" if value is None else value
