"""Play a scenario, in this process or in workers; resume it; keep what comes out.

For commands, audits and studies. A run folder can be cut at any moment. Nothing here decides what a scenario means.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.runs.api import run
    from securefl.runs.folder import RunFolder

__all__ = ["RunFolder", "run"]

_HOMES = {
    "RunFolder": "securefl.runs.folder",
    "run": "securefl.runs.api",
}

__getattr__ = door(__name__, _HOMES)
