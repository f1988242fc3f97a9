"""What the lint knows of the catalog without reading it, and the cells that it looks at."""

from pathlib import Path

from securefl.audit.lint import ADDS_NOISE, OPENED_BY_SERVER, examine
from securefl.scenario import catalog
from tests.ui.report.folders import CLAIM, Made, claimed, made


def test_the_lint_knows_which_ways_of_training_add_noise() -> None:
    assert {kind: entry.private for kind, entry in catalog.TRAINERS.items()} == ADDS_NOISE


def test_the_lint_knows_which_channels_the_server_opens() -> None:
    opened = {kind for kind, entry in catalog.CHANNELS.items() if entry.opener == "server"}
    assert opened == OPENED_BY_SERVER


def test_only_the_named_cells_are_looked_at(tmp_path: Path) -> None:
    cells = [Made("a", seed, CLAIM, metrics=claimed()) for seed in range(3)]
    folder = made(tmp_path / "run", cells)
    first, second, third = examine(folder)
    assert examine(folder, only=[third.cell, first.cell]) == [first, third]
    assert examine(folder, only=[]) == []
    assert second not in examine(folder, only=[first.cell])
