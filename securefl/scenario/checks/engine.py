"""Whether the keys that say how a run is computed and judged have an effect."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration


def check_evaluation(declared: Declaration) -> None:
    """Checks that some round before the last is evaluated. Raises ScenarioError."""
    every = None if declared.evaluate is None else declared.evaluate.every
    if every is not None and every > declared.rounds:
        raise ScenarioError(
            f"evaluate.every = {every} is above the {declared.rounds} rounds of the run; use "
            f"{declared.rounds} to evaluate the last one only"
        )
