"""Mistakes of seeds, cohorts, tuning and useless models: each look returns a sentence, or None."""

from collections.abc import Mapping
from typing import Any

from securefl.privacy.lint.case import Case


def seeded_noise(case: Case) -> str | None:
    """Finds noise that anybody with the seed can compute."""
    if not case.has_claim or case.scenario["privacy"].get("noise") != "seeded":
        return None
    return (
        "the noise comes from the scenario's seed: the claim does not hold against anybody who has"
        " it"
    )


def seeded_before(case: Case) -> str | None:
    """Finds seeded noise in the past of a run whose own noise comes from the system."""
    if not case.has_claim or not case.seeded_before:
        return None
    # A run with seeded noise of its own gets that remark instead.
    if case.scenario["privacy"].get("noise") == "seeded":
        return None
    names = ", ".join(case.seeded_before)
    return (
        f"noise of run {names}, which this one continues, came from a seed: for the releases of"
        " that run, the claim does not hold against anybody who has it"
    )


def cohort_not_secret(case: Case) -> str | None:
    """Finds clients drawn for a round, next to a claim."""
    invited = (case.scenario.get("cohort") or {}).get("size")
    if not case.has_claim or case.tosses_coins:
        return None
    if invited is None or invited >= case.clients:
        return None
    return (
        f"cohorts of {invited} of {case.clients} clients are drawn from the scenario's seed:"
        " the claim gains nothing from that draw"
    )


def groups_not_covered(case: Case) -> str | None:
    """Finds records that belong together, next to a claim for one record."""
    if not case.has_claim or case.protects_clients:
        return None
    if not case.scenario["data"].get("grouped"):
        return None
    return (
        "records have groups, such as patients: epsilon is for one record, not for all records of"
        " one patient"
    )


def tuning_not_charged(case: Case) -> str | None:
    """Finds other settings that were run on the same records."""
    if not case.has_claim:
        return None
    data = case.scenario["data"]
    settings = {repr(_settings(other)) for other in case.folder_scenarios if other["data"] == data}
    count = len(settings - {repr(_settings(case.scenario))})
    if count == 0:
        return None
    subject = "setting was" if count == 1 else "settings were"
    return f"{count} other {subject} run on the same records, and each is booked as the only one"


def _settings(scenario: Mapping[str, Any]) -> tuple[object, ...]:
    """Returns the settings that people try out: everything except the data and the seed."""
    privacy = scenario.get("privacy") or {}
    keys = ("model", "training", "server", "defense", "rounds")
    values = [scenario.get(key) for key in keys]
    claim = ("epsilon", "noise_multiplier", "unit", "place")
    return (*values, *(privacy.get(key) for key in claim))


def majority_accuracy(case: Case) -> str | None:
    """Finds an accuracy no better than the share of the largest class."""
    metrics = case.metrics or {}
    accuracy = metrics.get("accuracy")
    majority = metrics.get("majority")
    records = metrics.get("records")
    if not case.has_claim or accuracy is None or majority is None or not records:
        return None
    # Half a record more is rounding of the two shares.
    if accuracy > majority + 0.5 / records:
        return None
    return (
        f"accuracy {accuracy:.3f} is no better than the share of the largest class, {majority:.3f}"
    )
