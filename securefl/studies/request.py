"""What a run folder is asked to hold for a study, and under which versions of the code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from securefl.errors import ScenarioError
from securefl.runs.cell import Cell
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.names import cell_hash
from securefl.studies.expand import Planned

Resolved = Mapping[str, Any]  # a scenario with every default filled in


def request_for(
    name: str, text: str, planned: tuple[Planned, ...], out: Path, accepted: tuple[str, ...]
) -> Request:
    """Returns what a run folder is asked to hold for a study.

    Args:
        name: the study's.
        text: the study as given.
        planned: its cells.
        out: the folder, whether it exists or not.
        accepted: versions of the code whose ended cells count as if they were of this version.

    Raises:
        ScenarioError: no cell of the study has ended under an accepted version.
    """
    # Every look at a cell reads a file: without accepted versions nobody asks which have ended.
    if accepted:
        _check_accepted(accepted, ended_under([plan.scenario for plan in planned], out))
    uses = []
    cells = {}
    for plan in planned:
        # A cell under an accepted version keeps that version's name: it is read, not run again.
        code = _version(plan.scenario, out, accepted)
        cell = cell_hash(plan.scenario, code=code)
        cells[cell] = plan.scenario
        uses.append(Use(cell, plan.row, plan.levels, plan.part, plan.seed, code))
    # Earlier versions stay listed, or --accept-code could not find their cells any more.
    codes = dict.fromkeys([*_codes(out), *(use.code for use in uses)])
    return Request(text, cells, tuple(uses), name, tuple(codes))


def _check_accepted(accepted: tuple[str, ...], ended: Mapping[str, int]) -> None:
    for code in accepted:
        if code not in ended:
            versions = ", ".join(ended) or "none"
            raise ScenarioError(
                f"--accept-code {code}: no cell here ended under it; versions with ended cells: "
                f"{versions}"
            )


def ended_under(scenarios: Sequence[Resolved], out: Path) -> dict[str, int]:
    """Returns version of the code -> how many of these cells ended under it.

    Only versions that the folder `out` has seen are looked for, and only those with a cell are
    returned.
    """
    counts = {}
    for code in _codes(out):
        count = sum(_has_ended(scenario, out, code) for scenario in scenarios)
        if count:
            counts[code] = count
    return counts


def _codes(out: Path) -> tuple[str, ...]:
    """The versions of the code that a folder has seen."""
    return RunFolder.open(out).request().codes if RunFolder.is_at(out) else ()


def _version(scenario: Resolved, out: Path, accepted: tuple[str, ...]) -> str:
    """The version of the code whose cell counts.

    It is an accepted version where the cell ended under it, but not under the present one.
    """
    present = code_hash()
    if not accepted:
        return present
    # The present version comes first: its result needs nobody's permission.
    for code in (present, *accepted):
        if _has_ended(scenario, out, code):
            return code
    return present


def _has_ended(scenario: Resolved, out: Path, code: str) -> bool:
    name = cell_hash(scenario, code=code)
    cell = Cell(out / "cells" / name)
    return cell.status().state.ended
