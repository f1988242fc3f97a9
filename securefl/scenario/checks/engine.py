"""Whether the keys that say how a run is computed and judged have an effect."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.tables import Evaluate


def check_evaluation(declared: Declaration, facts: Facts) -> None:
    """Checks the table [evaluate]. Raises ScenarioError."""
    evaluate = declared.evaluate
    if evaluate is None:
        return
    if evaluate.every is not None and evaluate.every > declared.rounds:
        raise ScenarioError(
            f"evaluate.every = {evaluate.every} is above the {declared.rounds} rounds of the run; "
            f"use {declared.rounds} to evaluate the last one only"
        )
    if evaluate.keep is not None and declared.judging != "validation":
        raise ScenarioError(
            "evaluate.keep = 'best' would choose the model by the test records that its result is "
            "measured on; set data.test_on = 'validation', or remove it"
        )
    if evaluate.leave in ("sums", "noisy") and facts.task.regression:
        raise ScenarioError(
            f"evaluate.leave = {evaluate.leave!r} sums counts of classes, and these records have "
            "real targets, which are not measured between sites; remove it"
        )
    if evaluate.leave in ("sums", "noisy") and facts.task.partial:
        raise ScenarioError(
            f"evaluate.leave = {evaluate.leave!r} sums counts of whole records, and some sites did "
            "not look for every label; remove it"
        )
    if evaluate.leave == "noisy":
        _check_price(evaluate)
    for key in ("epsilon", "delta"):
        if evaluate.leave != "noisy" and getattr(evaluate, key) is not None:
            raise ScenarioError(
                f"evaluate.{key} has no effect unless evaluate.leave = 'noisy'; remove it"
            )


def _check_price(evaluate: Evaluate) -> None:
    """Checks the price of noisy figures. A NaN is neither."""
    if evaluate.epsilon is None:
        raise ScenarioError(
            "evaluate.leave = 'noisy' needs evaluate.epsilon, the price of all figures together"
        )
    if not 0.01 <= evaluate.epsilon <= 100:
        raise ScenarioError(f"evaluate.epsilon must be from 0.01 to 100, got {evaluate.epsilon:g}")
    if evaluate.delta is not None and not 1e-14 <= evaluate.delta <= 1e-3:
        raise ScenarioError(f"evaluate.delta must be from 1e-14 to 1e-3, got {evaluate.delta:g}")
