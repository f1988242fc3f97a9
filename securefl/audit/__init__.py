"""Measures what an adversary learns, next to what is claimed.

A scenario is played again with an adversary watching; attacks get what that party sees and nothing
else. The command line uses this room, and so may notebooks. Nothing here changes a run that ended,
draws or prints.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.audit.threats import THREATS, ThreatModel

__all__ = ["THREATS", "ThreatModel"]

_HOMES = {
    "THREATS": "securefl.audit.threats",
    "ThreatModel": "securefl.audit.threats",
}

__getattr__ = door(__name__, _HOMES)
