"""The folder of a scenario's own files, as a run folder notes it.

A run folder holds no path of a machine. It notes where its scenario lay as seen from the folder
that it lies in itself, so that both can move together.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def relative(scenario: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Returns a resolved scenario with its folder as seen from another folder.

    Args:
        scenario: resolved; without a folder where it names no files.
        place: the folder that the run folder lies in.
    """
    folder = scenario.get("folder")
    if folder is None:
        return dict(scenario)
    try:
        seen = os.path.relpath(folder, place.absolute())
    except ValueError:  # another drive
        seen = folder
    return {**scenario, "folder": Path(seen).as_posix()}


def absolute(scenario: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Returns a resolved scenario with its folder as this process finds it."""
    folder = scenario.get("folder")
    if folder is None:
        return dict(scenario)
    return {**scenario, "folder": os.path.normpath(place.absolute() / folder)}
