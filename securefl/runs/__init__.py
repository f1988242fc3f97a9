"""Plays scenarios, in this process or in workers, resumes them and keeps their results.

For commands, audits and studies. A process may die at any moment without damaging a run folder.
Nothing here decides what a scenario means.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.runs.api import run
    from securefl.runs.folder import RunFolder
    from securefl.runs.result import Result

__all__ = ["Result", "RunFolder", "run"]

_HOMES = {
    "Result": "securefl.runs.result",
    "RunFolder": "securefl.runs.folder",
    "run": "securefl.runs.api",
}

__getattr__ = door(__name__, _HOMES)
