"""Fairness across sites: dots are the sites' own numbers, as in results.csv."""

import csv
from pathlib import Path
from typing import Any

import pytest

from securefl.runs.metrics import OUTSIDE
from securefl.ui.report.figures.settings import settings_in
from securefl.ui.report.figures.sites import sites
from tests.ui.report.figures.folders import Made, folder_of, metrics_of


def quality(**accuracies: float | None) -> dict[str, Any]:
    return {site: {"records": 10, "accuracy": value} for site, value in accuracies.items()}


def test_numbers_are_those_of_results_csv(tmp_path: Path) -> None:
    cells = [
        Made("a", metrics=metrics_of(0.75, sites=quality(north=0.9, south=0.6))),
        Made("b", metrics=metrics_of(0.7, sites=quality(north=0.7, south=0.71))),
    ]
    folder = folder_of(tmp_path / "run", cells)
    figure = sites(settings_in(folder).all)
    assert figure is not None
    with (folder.path / "results.csv").open(newline="") as file:
        stored = {
            (row["label"], row["site"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["site"] and row["metric"] == "accuracy"
        }
    assert {(row[0], row[1]): row[3] for row in figure.table.rows} == stored
    assert len(stored) == 4
    assert ">north</text>" in figure.svg
    assert "one seed" in figure.caption


def test_one_setting_has_a_row_for_each_site_with_its_number(tmp_path: Path) -> None:
    cells = [Made("a", metrics=metrics_of(0.75, sites=quality(north=0.6, south=0.9)))]
    figure = sites(settings_in(folder_of(tmp_path / "run", cells)).all)
    assert figure is not None
    # The best one is on top.
    assert figure.svg.index("south") < figure.svg.index("north")
    assert "\u00a00.900</text>" in figure.svg
    assert "from 0.600 to 0.900" in figure.alt


def test_a_site_that_a_seed_could_not_measure_is_left_out(tmp_path: Path) -> None:
    cells = [
        Made("a", metrics=metrics_of(0.8, sites=quality(north=0.8, south=0.7, west=None))),
        Made("a", metrics=metrics_of(0.8, sites=quality(north=0.6, south=0.7, west=0.5))),
    ]
    figure = sites(settings_in(folder_of(tmp_path / "run", cells)).all)
    assert figure is not None
    rows = {row[1]: row[3:] for row in figure.table.rows}
    assert rows["north"] == (pytest.approx(0.7), pytest.approx(0.1), 2)
    assert set(rows) == {"north", "south"}


def test_figures_that_a_claim_does_not_cover_are_not_drawn(tmp_path: Path) -> None:
    metrics = metrics_of(0.8, sites=quality(north=0.8, south=0.7), site_models=f"own, {OUTSIDE}")
    folder = folder_of(tmp_path / "run", [Made("a", metrics=metrics)])
    assert sites(settings_in(folder).all) is None


def test_a_single_site_or_none_makes_no_figure(tmp_path: Path) -> None:
    cells = [Made("a", metrics=metrics_of(0.8, sites=quality(north=0.8))), Made("b")]
    assert sites(settings_in(folder_of(tmp_path / "run", cells)).all) is None


def test_names_of_sites_stay_text(tmp_path: Path) -> None:
    named = {"<b>a": {"accuracy": 0.5}, "$b$ \u202e": {"accuracy": 0.6}}
    cells = [Made("x", metrics=metrics_of(0.8, sites=named))]
    figure = sites(settings_in(folder_of(tmp_path / "run", cells)).all)
    assert figure is not None
    assert "&lt;b&gt;a" in figure.svg
    assert "\u202e" not in figure.svg + figure.alt
