"""How seeds, cohorts, tuning and a useless model show in a case: the sentence that tells it, or None."""

from collections.abc import Mapping
from typing import Any

from securefl.privacy.lint.case import Case


def seeded_noise(case: Case) -> str | None:
    """Noise that a seed gives again."""
    if not case.claims or case.scenario["privacy"].get("noise") != "seeded":
        return None
    return "the noise comes from the scenario's seed: the claim holds against nobody who has it"


def cohort_not_secret(case: Case) -> str | None:
    """Clients drawn for a round, next to a claim."""
    invited = (case.scenario.get("cohort") or {}).get("size")
    if not case.claims or invited is None or not invited < len(case.records):
        return None
    return (
        f"cohorts of {invited} of {len(case.records)} clients are drawn from the scenario's seed: the claim counts on "
        "none of that draw"
    )


def seeded_before(case: Case) -> str | None:
    """Noise of the system, after noise that a seed gives again."""
    if (
        not case.claims
        or not case.seeded_before
        or case.scenario["privacy"].get("noise") == "seeded"
    ):
        return None
    names = ", ".join(case.seeded_before)
    return (
        f"noise of run {names}, which this one goes on from, came from a seed: for what that run released, the claim "
        "holds against nobody who has it"
    )


def tuning_not_charged(case: Case) -> str | None:
    """Other settings on the same records."""
    if not case.claims:
        return None
    mine = _tuned(case.scenario)
    others = {
        repr(_tuned(other)) for other in case.others if other["data"] == case.scenario["data"]
    }
    count = len(others - {repr(mine)})
    if not count:
        return None
    were = "setting was" if count == 1 else "settings were"
    return f"{count} other {were} run on the same records, and each is booked as the only one"


def majority_accuracy(case: Case) -> str | None:
    """An accuracy of the largest class."""
    metrics = case.metrics or {}
    accuracy, majority, records = (
        metrics.get("accuracy"),
        metrics.get("majority"),
        metrics.get("records"),
    )
    if (
        not case.claims
        or accuracy is None
        or majority is None
        or not records
        or accuracy > majority + 0.5 / records
    ):
        return None
    return (
        f"accuracy {accuracy:.3f} is no better than the share of the largest class, {majority:.3f}"
    )


def _tuned(scenario: Mapping[str, Any]) -> tuple[object, ...]:
    """What people try out: everything but the data and the seed."""
    privacy = scenario.get("privacy") or {}
    tried = [scenario.get(key) for key in ("model", "training", "server", "defense", "rounds")]
    return (*tried, privacy.get("epsilon"), privacy.get("noise_multiplier"))
