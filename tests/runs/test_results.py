"""Tidy results: a row for each metric and site, none for a cell that has not ended."""

import csv
from pathlib import Path

from securefl.runs.cell import CellState
from securefl.runs.folder import Request, RunFolder
from securefl.runs.results import write_results
from securefl.scenario.scenario import parse_scenario


def test_results_have_a_row_for_each_metric_and_site(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    folder = RunFolder.create(tmp_path / "run", Request.of({"a label": scenario}, ""))
    cell = folder.cell(scenario)
    cell.open()
    cell.finish(
        CellState.DONE, metrics={"accuracy": 0.5, "auc": None, "sites": {"va": {"accuracy": 0.25}}}
    )
    write_results(folder)
    rows = list(csv.DictReader((folder.path / "results.csv").read_text().splitlines()))
    assert [(row["label"], row["site"], row["metric"], row["value"]) for row in rows] == [
        ("a label", "", "accuracy", "0.5"),
        ("a label", "", "auc", ""),
        ("a label", "va", "accuracy", "0.25"),
    ]


def test_a_cell_that_failed_after_it_had_metrics_shows_none(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    folder = RunFolder.create(tmp_path / "run", Request.of({"a": scenario}, ""))
    cell = folder.cell(scenario)
    cell.open()
    cell.finish(CellState.DONE, metrics={"accuracy": 0.5})
    cell.finish(CellState.FAILED, reason="later")
    write_results(folder)
    (row,) = csv.DictReader((folder.path / "results.csv").read_text().splitlines())
    assert (row["state"], row["metric"], row["value"]) == ("failed", "", "")
