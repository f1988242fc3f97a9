"""The spine's goals: federated is pooled, robust rules survive what FedAvg does not, and the demo shows both."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from benchmarks.spine import DIGITS, HEART, SEEDS, Setting, majorities, reference, settings
from securefl.assemble import load_data
from securefl.execute import run_cell
from securefl.runs import Cell

ROOT = Path(__file__).parent.parent
SETTINGS = {(row.table, row.label): row for row in settings()}


def accuracies(table: str, label: str, folder: Path) -> list[dict[str, float]]:
    row = SETTINGS[table, label]
    return [
        run_cell(Cell(folder / label / str(seed)), row.scenario(seed), on_round=lambda record: None) for seed in SEEDS
    ]


def test_federated_is_within_a_point_of_pooled_over_five_seeds(tmp_path: Path) -> None:
    pooled, federated = accuracies("heart", "pooled", tmp_path), accuracies("heart", "federated", tmp_path)
    for metric in ("accuracy", "auc"):
        assert abs(mean(f[metric] - p[metric] for f, p in zip(federated, pooled, strict=True))) <= 0.01
    data = [load_data(Setting("heart", "", HEART).scenario(seed)) for seed in SEEDS]
    assert mean(value for one in data if (value := reference(one)[0]) is not None) == pytest.approx(0.79, abs=0.02)
    assert mean(value for one in data if (value := reference(one)[1]) is not None) == pytest.approx(0.87, abs=0.02)
    assert mean(p["accuracy"] for p in pooled) == pytest.approx(0.79, abs=0.02)
    assert pooled[0]["majority"] == pytest.approx(0.52, abs=0.005)
    assert majorities(data[0]) == pytest.approx(0.73, abs=0.01)


def test_two_sign_flippers_break_fedavg_and_no_robust_rule_on_digits(tmp_path: Path) -> None:
    broken = accuracies("digits", "FedAvg, sign flip x5", tmp_path)
    assert mean(run["accuracy"] for run in broken) < 0.5
    for rule in ("median", "trimmed mean f=2", "Krum f=2"):
        clean = accuracies("digits", f"{rule}, no attack", tmp_path)
        attacked = accuracies("digits", f"{rule}, sign flip x5", tmp_path)
        assert mean(a["accuracy"] - b["accuracy"] for a, b in zip(clean, attacked, strict=True)) <= 0.05


def test_the_scenarios_of_the_tables_are_the_designs() -> None:
    digits = Setting("digits", "", DIGITS).scenario(0)
    assert (digits.clients, digits.rounds, digits.model.parameters) == (10, 40, {"hidden": [32]})


def test_the_printed_tables_agree_with_the_committed_numbers() -> None:
    rows = list(csv.DictReader((ROOT / "docs/results/spine.csv").read_text().splitlines()))
    printed = (ROOT / "docs/results/spine.md").read_text()
    readme = (ROOT / "README.md").read_text()
    for (table, label), _ in SETTINGS.items():
        values = [
            float(row["value"])
            for row in rows
            if (row["table"], row["label"], row["metric"]) == (table, label, "accuracy")
        ]
        assert len(values) == len(SEEDS)
        line = next(line for line in printed.splitlines() if line.startswith(f"| {label} |"))
        assert line.split("|")[2].split()[0] == f"{mean(values):.3f}"
        assert line in readme


def test_the_demo_runs_offline_and_shows_every_row(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SECUREFL_DATA"}
    command = [str(Path(sys.executable).with_name("securefl")), "demo", "--display", "plain"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**environment, "NO_COLOR": "1"}, timeout=200
    )
    assert done.returncode == 0, done.stderr
    for label in (
        "pooled, no borders",
        "each hospital alone",
        "federated, no protection",
        "local DP-SGD, epsilon 8",
        "local DP-SGD, epsilon 3",
        "8 sites, one sends -5x: FedAvg",
        "8 sites, one sends -5x: median",
        "8 sites, one sends -5x: trimmed mean",
        "8 sites, one sends -5x: Krum",
        "4 hospitals: Krum",
    ):
        assert any(line.startswith(label) for line in done.stdout.splitlines())
    assert "refused: krum with f=1 needs 5 rows, plain with 4 clients reveals 4" in done.stdout
    assert (tmp_path / "securefl-demo" / "results.csv").exists()
    assert (tmp_path / "securefl-demo" / "report" / "index.html").exists()
