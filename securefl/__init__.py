"""Federated learning with privacy, secure aggregation and attacks, measured side by side."""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.errors import BudgetExceeded, ScenarioError, SecureflError
    from securefl.runs.api import run
    from securefl.scenario.scenario import Scenario, load_scenario, parse_scenario

__all__ = [
    "BudgetExceeded",
    "Scenario",
    "ScenarioError",
    "SecureflError",
    "load_scenario",
    "parse_scenario",
    "run",
]

_HOMES = {
    "run": "securefl.runs.api",
    "BudgetExceeded": "securefl.errors",
    "ScenarioError": "securefl.errors",
    "SecureflError": "securefl.errors",
    "Scenario": "securefl.scenario.scenario",
    "load_scenario": "securefl.scenario.scenario",
    "parse_scenario": "securefl.scenario.scenario",
}

__getattr__ = door(__name__, _HOMES)
