"""From TOML to a checked scenario, and from that to a federation that can run.

The catalog says what a scenario can name; authors of plug-ins describe theirs by the same entries.
Everything is checked before anything runs; nothing here plays a round or writes a run folder.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.scenario.entries import (
        AttackEntry,
        ModelEntry,
        PrefilterEntry,
        RuleEntry,
        Sees,
        StepEntry,
    )
    from securefl.scenario.scenario import Scenario, load_scenario, make_scenario, parse_scenario

__all__ = [
    "AttackEntry",
    "ModelEntry",
    "PrefilterEntry",
    "RuleEntry",
    "Scenario",
    "Sees",
    "StepEntry",
    "load_scenario",
    "make_scenario",
    "parse_scenario",
]

_HOMES = {
    "AttackEntry": "securefl.scenario.entries",
    "ModelEntry": "securefl.scenario.entries",
    "PrefilterEntry": "securefl.scenario.entries",
    "RuleEntry": "securefl.scenario.entries",
    "Sees": "securefl.scenario.entries",
    "StepEntry": "securefl.scenario.entries",
    "Scenario": "securefl.scenario.scenario",
    "load_scenario": "securefl.scenario.scenario",
    "make_scenario": "securefl.scenario.scenario",
    "parse_scenario": "securefl.scenario.scenario",
}

__getattr__ = door(__name__, _HOMES)
