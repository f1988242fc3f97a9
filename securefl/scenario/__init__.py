"""From TOML to a checked scenario, and from that to a federation that can run.

The catalog says what a scenario can name. Everything is checked before anything runs; nothing here
plays a round or writes a run folder.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.scenario.scenario import Scenario, load_scenario, make_scenario, parse_scenario

__all__ = ["Scenario", "load_scenario", "make_scenario", "parse_scenario"]

_HOMES = {
    "Scenario": "securefl.scenario.scenario",
    "load_scenario": "securefl.scenario.scenario",
    "make_scenario": "securefl.scenario.scenario",
    "parse_scenario": "securefl.scenario.scenario",
}

__getattr__ = door(__name__, _HOMES)
