"""What runs cost: the numbers of metrics.json and timings.json."""

from pathlib import Path

from securefl.runs.cell import CellState
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.bars import MOST_ROWS
from securefl.ui.report.figures.cost import DOWN, UP, cost
from securefl.ui.report.figures.settings import settings_in
from tests.ui.report.figures.folders import Made, folder_of, metrics_of

GAP = "\u00a0"  # between a bar and its number
TIMES = {"starts": 1, "stages": {"set_up": [0.5, 0.4], "rounds": [2.0, 1.0], "total": [2.5, 1.4]}}
PROFILE = {
    "starts": 1,
    "stages": {**TIMES["stages"], "train": [1.5, 0.9], "rule": [0.25, 0.1]},  # type: ignore[dict-item]
}


def drawn(tmp_path: Path, cells: list[Made]) -> Figure:
    figure = cost(settings_in(folder_of(tmp_path / "run", cells)).all)
    assert figure is not None
    return figure


def test_a_run_has_its_stages_and_both_ways_of_its_bytes(tmp_path: Path) -> None:
    cells = [Made("a", metrics=metrics_of(0.8), extra={"timings.json": TIMES})]
    figure = drawn(tmp_path, cells)
    assert [tuple(row) for row in figure.table.rows] == [
        ("a", "set_up", 0.5, None, 1),
        ("a", "rounds", 2.0, None, 1),
        ("a", UP, None, 1000, 1),
        ("a", DOWN, None, 3000, 1),
    ]
    for words in (
        "set-up",
        "rounds",
        f"{GAP}0.50 s",
        f"{GAP}2.00 s",
        f"{GAP}1.0 kB",
        f"{GAP}3.0 kB",
    ):
        assert f">{words}</text>" in figure.svg


def test_a_profile_divides_the_rounds(tmp_path: Path) -> None:
    cells = [Made("a", metrics=metrics_of(0.8), extra={"timings.json": PROFILE})]
    figure = drawn(tmp_path, cells)
    assert ">train</text>" in figure.svg
    assert ">rule</text>" in figure.svg
    assert ">rounds</text>" not in figure.svg


def test_several_settings_have_a_row_each_of_means_over_seeds(tmp_path: Path) -> None:
    slow = {"starts": 1, "stages": {"set_up": [0.5, 0.4], "rounds": [4.0, 1.0], "total": [5, 5]}}
    cells = [
        Made("a", metrics=metrics_of(0.8), extra={"timings.json": TIMES}),
        Made("a", metrics=metrics_of(0.8, bytes_up=3000), extra={"timings.json": slow}),
        Made("b", metrics=metrics_of(0.8), extra={"timings.json": TIMES}),
    ]
    figure = drawn(tmp_path, cells)
    rows = {tuple(row[:2]): tuple(row[2:]) for row in figure.table.rows}
    assert rows[("a", "rounds")] == (3.0, None, 2)
    assert rows[("a", UP)] == (None, 2000, 2)
    assert f">{GAP}3.5 s</text>" in figure.svg
    assert f">{GAP}5.0 kB</text>" in figure.svg


def test_of_many_settings_the_most_expensive_are_drawn(tmp_path: Path) -> None:
    cells = [Made(f"s{n}", metrics=metrics_of(0.8, bytes_up=1000 * n)) for n in range(15)]
    figure = drawn(tmp_path, cells)
    labels = [row[0] for row in figure.table.rows if row[1] == UP]
    assert labels == [f"s{n}" for n in range(14, 14 - MOST_ROWS, -1)]
    assert "12 of 15 settings with the most bytes" in figure.caption


def test_runs_that_have_not_ended_have_no_cost_yet(tmp_path: Path) -> None:
    cells = [Made("a", state=CellState.RUNNING), Made("b", state=CellState.NEW)]
    assert cost(settings_in(folder_of(tmp_path / "run", cells)).all) is None
