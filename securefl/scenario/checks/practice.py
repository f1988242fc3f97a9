"""How training treats the records is never stated otherwise than the code does."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts

_MISTAKES = {
    "sampling": "shuffled-as-poisson",
    "normaliser": "private-normaliser",
    "batches": "batches-dropped",
    "statistics": "private-statistics",
    "layers": "batch-norm",
}


def check_practice(declared: Declaration, facts: Facts) -> None:
    """Refuse a practice that is not this toolkit's, by the name of its mistake. Raises ScenarioError."""
    if declared.practice is None:
        return
    ours = facts.practice
    for key, value in declared.practice.model_dump(mode="json", exclude_none=True).items():
        if value == ours[key]:
            continue
        if declared.claims_dp:
            from securefl.privacy.lint.mistakes import MISTAKES

            name = _MISTAKES[key]
            raise ScenarioError(
                f"practice.{key}: {declared.training.kind} has {ours[key]!r}, got {value!r}; "
                f"beside a DP claim that may be the mistake {name}: {MISTAKES[name].why}"
            )
        raise ScenarioError(
            f"practice.{key}: {declared.training.kind} has {ours[key]!r}, got {value!r}"
        )
