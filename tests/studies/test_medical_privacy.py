"""The figures over test images of the study medical-privacy."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.experiments import medical_figures
from benchmarks.experiments.medical_figures import panels_of, with_one_hospital
from benchmarks.experiments.medical_privacy import (
    Judged,
    Row,
    csv_of,
    float_of,
    measured,
    page,
    read_rows,
)
from securefl.privacy.accounting.calibration import calibrate_noise
from securefl.privacy.events import DiscreteGaussianSum
from securefl.privacy.remember import fresh
from securefl.scenario.scenario import Scenario, make_scenario
from securefl.studies.expand import expand
from securefl.studies.find import find_study
from securefl.studies.study import load_study
from securefl.ui.figures import draw_bars
from tests.paths import ROOT


def judged(seed: int, strength: float) -> Judged:
    """Scores whose AUC grows with their strength; the test images are the same for all seeds."""
    labels = np.arange(120) % 2
    noise = np.random.default_rng(seed).normal(size=120)
    positive = 1 / (1 + np.exp(-(strength * (labels - 0.5) + noise)))
    return Judged(seed, np.stack([1 - positive, positive], axis=1), labels)


def rows_of_places() -> list[Row]:
    strengths = {"local": 0.4, "distributed": 1.5, "central": 1.6}
    rows = {
        ("BreastMNIST", "3", place): [judged(seed, strength) for seed in range(4)]
        for place, strength in strengths.items()
    }
    rows["BreastMNIST", "none", "none"] = [judged(seed, 2.0) for seed in range(4)]
    return measured(rows)


def test_a_row_has_its_mean_area_within_its_interval() -> None:
    rows = {row.place: row for row in rows_of_places()}
    assert rows["local"].auc < rows["distributed"].auc < rows["central"].auc < rows["none"].auc
    assert all(row.low < row.auc < row.high for row in rows.values())
    assert math.isnan(rows["central"].share)


def test_the_share_is_that_of_the_mean_areas() -> None:
    rows = {row.place: row for row in rows_of_places()}
    local, shared, central = (rows[place] for place in ("local", "distributed", "central"))
    assert shared.share == pytest.approx((central.auc - shared.auc) / (central.auc - local.auc))
    assert shared.share_low < shared.share < shared.share_high


def test_the_page_is_made_from_the_numbers_alone() -> None:
    rows = read_rows(csv_of(rows_of_places()))
    text = page(rows, "noise-shares")
    assert text == page(read_rows(csv_of(rows)), "noise-shares")
    assert "[noise-shares-images.csv](noise-shares-images.csv)" in text
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("| BreastMNIST | 3 |")
        if "met" in line
    ]
    assert "| met |" in line
    assert "central noise: " in text
    assert float_of("none") == math.inf


def test_a_share_above_a_third_is_not_met() -> None:
    row = Row("BreastMNIST", "1", "distributed", 0.7, 0.6, 0.8, 0.4, 0.2, 0.6)
    others = [Row("BreastMNIST", "1", place, 0.7, 0.6, 0.8) for place in ("local", "central")]
    text = page([*others, row], "medical-privacy")
    assert "0.40 [0.20, 0.60] | NOT met" in text


def noise_of_opened_sum(scenario: Scenario) -> float:
    """The noise of a sum in which every hospital is present, over the clip of one gradient."""
    hospitals = scenario.clients
    place = scenario.privacy.place if scenario.claims_dp and scenario.privacy else "central"
    epsilon = scenario.privacy.epsilon if scenario.claims_dp and scenario.privacy else 8.0
    if place == "distributed":
        event = scenario.facts.release(scenario.facts.common_noise)
        assert isinstance(event, DiscreteGaussianSum)
        return event.noise_multiplier * math.sqrt(hospitals / event.shares)
    noise = calibrate_noise(epsilon, 1.0, scenario.rounds, 1e-5)
    return noise * math.sqrt(hospitals) if place == "local" else noise


@pytest.mark.parametrize("study", ["medical-privacy", "number-of-hospitals"])
def test_learning_rates_are_those_of_the_stated_rule(study: str) -> None:
    cells = expand(load_study(find_study(study))[0], remember=fresh)
    first = {cell.row: cell for cell in reversed(cells)}
    for cell in first.values():
        if cell.levels["data"] not in ("BreastMNIST", "Heart"):
            continue
        scenario = make_scenario(dict(cell.scenario))
        training = scenario.training
        assert training.momentum is not None
        assert training.lr == pytest.approx(1 / noise_of_opened_sum(scenario), rel=2e-3)
        kappa = 1.5 if cell.levels["data"] == "BreastMNIST" else 0.5
        records = sum(scenario.facts.site_records)
        scale = kappa * records * (1 - training.momentum) / (training.clip * math.sqrt(60))
        assert scenario.server.parameters["lr"] == pytest.approx(scale, rel=1e-3)


@pytest.mark.parametrize("study", ["medical-privacy", "noise-shares"])
def test_the_committed_page_is_made_from_the_committed_numbers(study: str) -> None:
    results = ROOT / "docs/results"
    rows = read_rows((results / f"{study}-images.csv").read_text(encoding="utf-8"))
    text = (results / f"{study}-images.md").read_text(encoding="utf-8")
    assert text == page(rows, study)
    assert {row.data for row in rows} >= {"BreastMNIST", "PneumoniaMNIST"}


def test_the_committed_figures_are_drawn_from_the_committed_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(medical_figures, "RESULTS", ROOT / "docs/results")
    monkeypatch.setattr(medical_figures, "FIGURES", tmp_path)
    assert medical_figures.main() == 0
    for name in ("noise-places.svg", "noise-hospitals.svg"):
        committed = (ROOT / "docs/figures" / name).read_text(encoding="utf-8")
        assert (tmp_path / name).read_text(encoding="utf-8") == committed


def test_panels_hold_a_place_over_its_numbers_and_a_level_of_the_baseline(tmp_path: Path) -> None:
    study, _ = load_study(find_study("number-of-hospitals"))
    rows = list(dict.fromkeys(cell.row for cell in expand(study, remember=fresh)))
    lines = ["scenario,label,part,seed,code,state,noise,site,metric,value"]
    for place, row in enumerate(rows):
        lines += [f's,"{row}",,{seed},c,done,seeded,,auc,{place + seed}' for seed in (0, 2)]
    (tmp_path / "number-of-hospitals.csv").write_text("\n".join(lines) + "\n")

    def hospitals(levels: Mapping[str, str]) -> float | None:
        return float(levels["hospitals"]) if "hospitals" in levels else None

    panels = panels_of("number-of-hospitals", tmp_path, hospitals)
    assert set(panels) == {"BreastMNIST", "PneumoniaMNIST"}
    breast = with_one_hospital(panels)["BreastMNIST"]
    assert set(breast) == {"local", "distributed", "central"}
    alone = rows.index("one hospital (BreastMNIST)") + 1.0
    # Two seeds that differ by 2: the mean is one more, and so is the error.
    assert breast["local"][0] == (1.0, alone, 1.0)
    assert [bar[0] for bar in breast["local"]] == [1.0, 5.0, 10.0, 20.0]
    draw_bars(tmp_path / "figure.svg", panels, across="hospitals", upwards="AUC")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
