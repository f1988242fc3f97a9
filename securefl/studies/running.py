"""What commands and Python code both do around the cells of a study."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securefl.data.download import OnBytes
from securefl.errors import BudgetExceeded, ScenarioError, SecureflError
from securefl.studies.expand import long_rows
from securefl.studies.grid import Grid, Tally
from securefl.studies.study import Study


def rows_to_skip(study: Study, *, long: bool) -> frozenset[str]:
    """Returns the rows that are not to be run.

    Args:
        study: marks the rows that take hours.
        long: whether they are asked for.

    Raises:
        ScenarioError: they are asked for, and there are none.
    """
    marked = long_rows(study)
    if long and not marked:
        raise ScenarioError(f"--long has no effect: no row of {study.name!r} is long; remove it")
    return frozenset() if long else marked


def fetch_missing(grid: Grid, on_bytes: OnBytes) -> None:
    """Downloads the published files of the missing cells, before workers ask for them.

    Two workers would download the same file at once, and a failed download would be a failed cell.

    Raises:
        DataError: a file cannot be had.
    """
    missing = [grid.request.cells[use.cell] for use in grid.missing()]
    scenarios: dict[str, Mapping[str, Any]] = {}
    for scenario in missing:
        if scenario["data"].get("size"):
            scenarios[json.dumps(scenario["data"])] = scenario
    if not scenarios:
        return
    # These load torch: a second that studies of embedded data need not wait.
    from securefl.scenario.assemble.data import fetch_data
    from securefl.scenario.scenario import make_scenario

    for scenario in scenarios.values():
        fetch_data(make_scenario(dict(scenario)), on_bytes)


def raise_for_failures(tally: Tally, cells: int, folder: Path) -> None:
    """Raises SecureflError where cells failed, BudgetExceeded where only budgets ended some."""
    if tally.failed:
        raise SecureflError(
            f"{tally.failed} of {cells} cells failed; the reasons are in "
            f"{folder}/cells/*/status.json; the same command tries them again"
        )
    if tally.out_of_budget:
        raise BudgetExceeded(
            f"{tally.out_of_budget} of {cells} cells ran out of their privacy budget"
        )
