"""What an adversary measurably learns, next to what is claimed.

A scenario is played again with somebody watching; attacks get what that party sees and nothing else. Nothing here
changes a run that ended.
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
