"""Many scenarios at once: the cells of a grid, their scores, statistics and tables.

For commands and benchmarks. The studies that come with the package are in `shipped/`. Nothing here
draws on a terminal.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.studies.scores import Scores, read_scores
    from securefl.studies.study import Study, load_study

__all__ = ["Scores", "Study", "load_study", "read_scores"]

_HOMES = {
    "Scores": "securefl.studies.scores",
    "Study": "securefl.studies.study",
    "load_study": "securefl.studies.study",
    "read_scores": "securefl.studies.scores",
}

__getattr__ = door(__name__, _HOMES)
