"""Federated learning with differential privacy, secure aggregation and attacks, measured side by side."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securefl.errors import BudgetExceeded, ScenarioError, SecureflError
    from securefl.runs.api import run
    from securefl.scenario.scenario import Scenario, load_scenario, parse_scenario

__all__ = ["BudgetExceeded", "Scenario", "ScenarioError", "SecureflError", "load_scenario", "parse_scenario", "run"]

_HOMES = {
    "run": "securefl.runs.api",
    "BudgetExceeded": "securefl.errors",
    "ScenarioError": "securefl.errors",
    "SecureflError": "securefl.errors",
    "Scenario": "securefl.scenario.scenario",
    "load_scenario": "securefl.scenario.scenario",
    "parse_scenario": "securefl.scenario.scenario",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing before: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'securefl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
