"""How the tests of topologies play a scenario, and look at what comes out."""

from pathlib import Path
from typing import Any

from torch import Tensor

from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.scenario import Scenario
from tests.runs.test_play import nothing


def played(scenario: Scenario, folder: Path, **options: Any) -> Cell:
    """Returns the cell of a run that has ended."""
    cell = Cell(folder)
    run_cell(cell, scenario, on_round=nothing, **options)
    return cell


def weights(cell: Cell) -> Tensor:
    """Returns the weights (d,) of a cell's checkpoint."""
    return load_checkpoint(cell.checkpoint).state.weights
