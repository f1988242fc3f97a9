"""The figures of a page of runs."""

from collections.abc import Sequence

from securefl.runs.folder import RunFolder
from securefl.ui.report.figure import Figure


def figures_of(folder: RunFolder) -> Sequence[Figure]:
    """Returns the figures that a folder has the numbers for."""
    return ()
