"""The demo: four hospitals, with and without privacy, with and without a liar, over five splits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from securefl.errors import ScenarioError
from securefl.federation.record import RoundRecord
from securefl.files import write_json
from securefl.learning.evaluate import measure
from securefl.runs.api import run_cells
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.runs.table import Row
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.ui.display import Display
from securefl.ui.progress import run_step
from securefl.ui.report.remarks import REMARKS

SPLITS = 5
HOSPITALS = 4

BASE = """\
seed = 1
rounds = 20
data = { name = "heart", partition = "natural" }
model = { name = "logistic" }
training = { kind = "sgd", batch = 32, epochs = 1, lr = 0.5 }
"""

DP = ("training.kind=dp_sgd", "training.clip=1.0", "privacy.delta=1e-5", "privacy.noise=system")
LIAR = ("data.partition=halves", "attack.name=sign_flip", "attack.scale=5.0", "attack.clients=[0]")

POOLED = "pooled, no borders"
ROWS: dict[str, tuple[str, ...]] = {
    POOLED: ("data.partition=pooled",),
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

# Four clients are too few for Krum: the table shows that a wrong setting is refused, not run.
REFUSED_LABEL = "4 hospitals: Krum"
REFUSED = ("defense.rule.name=krum", "defense.rule.f=1")

NOTES = (
    "'each hospital alone' judges each test record by its own hospital's model, "
    "so it profits from class shares.",
    "Under masks the server sees one sum a round; everywhere else every update. The bytes above "
    "plain are keys and sealed shares. A sum alone promises nothing about a record: "
    "that is what epsilon is for.",
    "Each run is a deployment of its own: epsilons of runs on the same records would add up.",
)


def scenarios() -> dict[str, Scenario]:
    """Returns label -> scenario: each row, and each hospital alone, over the splits."""
    cells = {}
    for split in range(SPLITS):
        for label, overrides in ROWS.items():
            cells[_cell(label, split)] = _scenario(*overrides, f"data.split_seed={split}")
        for site in range(HOSPITALS):
            cells[_cell(_hospital(site), split)] = _scenario(
                f"data.only={site}", f"data.split_seed={split}"
            )
    return cells


def run_demo(out: Path, display: Display) -> list[Row]:
    """Runs everything that is missing in `out`, and shows one table.

    Raises:
        SecureflError: a run failed, or `out` holds something else.
    """
    cells = scenarios()
    folder = RunFolder.create(out, _request(cells))
    display.start("demo", unit="runs", total=len(cells))
    progress = _Progress(display, cells)
    try:
        metrics = run_cells(folder, cells, on_round=progress.note)
    finally:
        display.finished()
    rows = list(_rows(folder, cells, metrics))
    # The report page is made from the folder alone, also by a later `securefl report`.
    refused = {row.label: row.note for row in rows if not row.runs}
    write_json(out / REMARKS, {"refused": refused, "notes": list(NOTES)})
    for note in NOTES:
        display.line(note)
    title = f"UCI Heart Disease, {HOSPITALS} hospitals, mean ± standard error over {SPLITS} splits"
    display.table(title, rows)
    return rows


def _cell(label: str, split: int) -> str:
    return f"{label} / split {split}"


def _hospital(site: int) -> str:
    return f"hospital {site} alone"


def _request(cells: dict[str, Scenario]) -> Request:
    """Returns the runs as rows over splits."""
    request = Request.of(cells, BASE)
    uses = []
    for use in request.uses:
        label, _, split = use.label.partition(" / split ")
        uses.append(replace(use, label=label, seed=int(split)))
    return replace(request, uses=tuple(uses))


class _Progress:
    """Counts the runs of the demo that are over, as one bar."""

    def __init__(self, display: Display, cells: dict[str, Scenario]) -> None:
        self._display = display
        self._cells = cells
        # Runs are played in this order; a demo that goes on does not start to count at 0 again.
        self._place = {label: place for place, label in enumerate(cells, start=1)}

    def note(self, label: str, record: RoundRecord) -> None:
        if record.round + 1 == self._cells[label].rounds:
            step = run_step("demo", label, self._place[label], len(self._cells))
            self._display.progress(step)


def _rows(
    folder: RunFolder, cells: dict[str, Scenario], metrics: dict[str, RunMetrics]
) -> Iterator[Row]:
    """Yields the table: one row a setting, its runs the splits."""
    for label in ROWS:
        yield Row(label, [metrics[_cell(label, split)] for split in range(SPLITS)])
        if label == POOLED:
            alone = [_alone(folder, cells, metrics, split) for split in range(SPLITS)]
            yield Row("each hospital alone", alone)
    try:
        _scenario(*REFUSED)
    except ScenarioError as refusal:
        yield Row(REFUSED_LABEL, note=f"refused: {refusal}")


def _alone(
    folder: RunFolder, cells: dict[str, Scenario], metrics: dict[str, RunMetrics], split: int
) -> RunMetrics:
    """Judges every test record by the model of its own hospital."""
    probabilities = []
    labels = []
    names = [_cell(_hospital(site), split) for site in range(HOSPITALS)]
    for name in names:
        cell = folder.cell(cells[name])
        assembled = assemble(cells[name], run="", ledgers=cell.ledgers)
        weights = load_checkpoint(cell.folder / "model.safetensors").state.weights
        probabilities.append(assembled.probabilities(weights))
        labels.append(assembled.data.test.labels)
    quality = measure(torch.cat(probabilities), torch.cat(labels))
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
