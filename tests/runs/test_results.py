"""Tidy results: a row for each metric and site, none for a cell that has not ended."""

import csv
from pathlib import Path

import pytest

from securefl.runs.cell import CellState
from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import Quality
from securefl.runs.results import auc_within_sites, write_results
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


def test_the_auc_within_sites_weighs_sites_by_their_test_records(tmp_path: Path) -> None:
    scenario = parse_scenario("seed = 1")
    folder = RunFolder.create(tmp_path / "run", Request.of({"a": scenario}, ""))
    cell = folder.cell(scenario)
    cell.open()
    sites: dict[str, Quality] = {
        "va": {"auc": 0.9, "records": 300},
        "bern": {"auc": 0.5, "records": 100},
    }
    cell.finish(CellState.DONE, metrics={"accuracy": 0.5, "auc": 0.6, "sites": sites})
    write_results(folder)
    rows = csv.DictReader((folder.path / "results.csv").read_text().splitlines())
    values = {row["metric"]: row["value"] for row in rows if not row["site"]}
    # By hand: (300 * .9 + 100 * .5) / 400.
    assert float(values["auc_within_sites"]) == pytest.approx(0.8)


def test_a_site_without_an_auc_leaves_the_mean_unmeasured() -> None:
    measured: Quality = {"auc": 0.9, "records": 300}
    assert auc_within_sites({"va": measured, "bern": {"auc": None, "records": 2}}) is None
    assert auc_within_sites({"va": measured, "bern": {"auc": 0.5}}) is None
    # A site without a test record judges nothing.
    assert auc_within_sites({"va": measured, "bern": {"auc": None, "records": 0}}) == 0.9
    assert auc_within_sites({}) is None
