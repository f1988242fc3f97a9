"""Federated learning with privacy, secure aggregation and attacks, measured side by side."""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.errors import BudgetExceeded, ScenarioError, SecureflError
    from securefl.runs.api import run
    from securefl.runs.result import Result
    from securefl.scenario.plugins.trust import trust
    from securefl.scenario.scenario import Scenario, load_scenario, parse_scenario
    from securefl.studies.api import study

__all__ = [
    "BudgetExceeded",
    "Result",
    "Scenario",
    "ScenarioError",
    "SecureflError",
    "load_scenario",
    "parse_scenario",
    "run",
    "study",
    "trust",
]

_HOMES = {
    "run": "securefl.runs.api",
    "study": "securefl.studies.api",
    "trust": "securefl.scenario.plugins.trust",
    "Result": "securefl.runs.result",
    "BudgetExceeded": "securefl.errors",
    "ScenarioError": "securefl.errors",
    "SecureflError": "securefl.errors",
    "Scenario": "securefl.scenario.scenario",
    "load_scenario": "securefl.scenario.scenario",
    "parse_scenario": "securefl.scenario.scenario",
}

__getattr__ = door(__name__, _HOMES)
