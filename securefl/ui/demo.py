"""The demo: four hospitals, with and without privacy, with and without a liar, over five splits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from securefl.errors import ScenarioError
from securefl.learning.evaluate import measure
from securefl.runs.api import run_cells
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.runs.table import Row
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.ui.display import Display

SPLITS = 5

BASE = """\
seed = 1
rounds = 20
data = { name = "heart", partition = "natural" }
model = { name = "logistic" }
training = { kind = "sgd", batch = 32, epochs = 1, lr = 0.5 }
"""

DP = ("training.kind=dp_sgd", "training.clip=1.0", "privacy.delta=1e-5", "privacy.noise=system")
LIAR = ("data.partition=halves", "attack.name=sign_flip", "attack.scale=5.0", "attack.clients=[0]")

ROWS: dict[str, tuple[str, ...]] = {
    "pooled, no borders": ("data.partition=pooled",),
    "federated, no protection": (),
    "federated, masked sum": ("channel.kind=masked",),
    "local DP-SGD, epsilon 8": (*DP, "privacy.epsilon=8.0"),
    "local DP-SGD, epsilon 3": (*DP, "privacy.epsilon=3.0"),
    "masked sum, local DP-SGD, epsilon 8": (*DP, "privacy.epsilon=8.0", "channel.kind=masked"),
    "8 sites, all honest, FedAvg": ("data.partition=halves",),
    "8 sites, one sends -5x: FedAvg": LIAR,
    "8 sites, one sends -5x: median": (*LIAR, "defense.rule=median"),
    "8 sites, one sends -5x: trimmed mean": (
        *LIAR,
        "defense.rule.name=trimmed_mean",
        "defense.rule.f=1",
    ),
    "8 sites, one sends -5x: Krum": (*LIAR, "defense.rule.name=krum", "defense.rule.f=1"),
}

REFUSED = ("defense.rule.name=krum", "defense.rule.f=1")
HOSPITALS = 4


def scenarios() -> dict[str, Scenario]:
    """Label -> scenario of every run: each row over the splits, and each hospital alone over the splits."""
    made = {}
    for split in range(SPLITS):
        for label, overrides in ROWS.items():
            made[f"{label} / split {split}"] = _scenario(*overrides, f"data.split_seed={split}")
        for site in range(HOSPITALS):
            made[f"hospital {site} alone / split {split}"] = _scenario(
                f"data.only={site}", f"data.split_seed={split}"
            )
    return made


def run_demo(out: Path, display: Display) -> list[Row]:
    """Run everything that is missing in `out` and show one table.

    Raises:
        SecureflError: a run failed, or `out` holds something else.
    """
    cells = scenarios()
    folder = RunFolder.create(out, _request(cells))
    display.start(f"demo, {len(cells)} runs", sum(scenario.rounds for scenario in cells.values()))
    progress = _Progress(display)
    try:
        metrics = run_cells(folder, cells, on_round=progress.note)
    finally:
        display.stop()
    rows = list(_rows(folder, cells, metrics))
    display.line(
        "'each hospital alone' judges each test record by its own hospital's model, so it profits from class shares."
    )
    display.line(
        "Under masks the server sees one sum a round; everywhere else every update. The bytes above plain are keys and "
        "sealed shares. A sum alone promises nothing about a record: that is what epsilon is for."
    )
    display.line(
        "Each run is a deployment of its own: epsilons of runs on the same records would add up."
    )
    display.table(
        f"UCI Heart Disease, {HOSPITALS} hospitals, mean ± standard error over {SPLITS} splits",
        rows,
    )
    return rows


def _request(cells: dict[str, Scenario]) -> Request:
    """The runs as rows over splits."""
    request = Request.of(cells, BASE)
    parts = [use.label.partition(" / split ") for use in request.uses]
    uses = [
        replace(use, label=row, seed=int(split))
        for use, (row, _, split) in zip(request.uses, parts, strict=True)
    ]
    return replace(request, uses=tuple(uses))


class _Progress:
    """All runs of the demo as one bar: counts rounds over cells."""

    def __init__(self, display: Display) -> None:
        self._display, self._count = display, 0

    def note(self, label: str, record: Any) -> None:
        self._display.round(replace(record, round=self._count))
        self._count += 1


def _rows(
    folder: RunFolder, cells: dict[str, Scenario], metrics: dict[str, RunMetrics]
) -> Iterator[Row]:
    """The table: one row a setting, its runs the splits."""
    for label in ROWS:
        yield Row(label, [metrics[f"{label} / split {split}"] for split in range(SPLITS)])
        if label == "pooled, no borders":
            yield Row(
                "each hospital alone",
                [_alone(folder, cells, metrics, split) for split in range(SPLITS)],
            )
    try:
        _scenario(*REFUSED)
    except ScenarioError as refusal:
        yield Row("4 hospitals: Krum", note=f"refused: {refusal}")


def _alone(
    folder: RunFolder, cells: dict[str, Scenario], metrics: dict[str, RunMetrics], split: int
) -> RunMetrics:
    """Every test record judged by the model of its own hospital."""
    parts, labels = [], []
    names = [f"hospital {site} alone / split {split}" for site in range(HOSPITALS)]
    for name in names:
        cell = folder.cell(cells[name])
        assembled = assemble(cells[name], run="", ledgers=cell.ledgers)
        parts.append(
            assembled.probabilities(
                load_checkpoint(cell.folder / "model.safetensors").state.weights
            )
        )
        labels.append(assembled.data.test.labels)
    quality = measure(torch.cat(parts), torch.cat(labels))
    return {
        "accuracy": quality.accuracy,
        "balanced_accuracy": quality.balanced_accuracy,
        "auc": quality.auc,
        "majority": quality.majority,
        "epsilon": None,
        "delta": None,
        "bytes_up": 0,
        "bytes_down": 0,
        "seconds": sum(metrics[name]["seconds"] for name in names),
    }


def _scenario(*overrides: str) -> Scenario:
    return parse_scenario(BASE, overrides=overrides)
