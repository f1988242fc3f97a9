"""Run folders that no run made: their files are written as a run would leave them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.names import cell_hash
from securefl.runs.results import write_results
from securefl.scenario.scenario import parse_scenario

SCENARIO = """\
rounds = 4
data = { name = "heart", partition = "natural" }
model = { name = "logistic" }
training = { kind = "sgd", batch = 32, epochs = 1, lr = 0.5 }
"""
CLAIM = (
    "training.kind=dp_sgd",
    "training.clip=1.0",
    "privacy.epsilon=3.0",
    "privacy.delta=1e-5",
    "privacy.noise=system",
)


class Made(NamedTuple):
    """A cell to be made.

    Attributes:
        row: label of its row.
        seed: of the cell, and of the study.
        overrides: of the scenario.
        changes: table -> values that replace those of the scenario, unchecked.
        status: content of status.json; None for a cell that has not begun.
        metrics: that replace the usual ones; None for a cell without metrics.
        levels: of the row, in a study.
        part: of the row.
    """

    row: str
    seed: int = 0
    overrides: Sequence[str] = ()
    changes: Mapping[str, Mapping[str, Any]] = {}
    status: Mapping[str, Any] | None = {"state": "done", "run": "r", "reason": ""}
    metrics: Mapping[str, Any] | None = {}
    levels: Mapping[str, str] = {}
    part: str = ""


def metrics_of(seed: int, **changes: Any) -> dict[str, Any]:
    """The metrics of a run without a claim, a little different for each seed."""
    usual: dict[str, Any] = {
        "records": 250,
        "accuracy": 0.75 + seed / 500,
        "balanced_accuracy": 0.74 + seed / 500,
        "auc": 0.85 + seed / 1000,
        "majority": 0.516,
        "epsilon": None,
        "delta": None,
        "unit": None,
        "place": None,
        "noise": None,
        "rounds": 4,
        "abandoned": 0,
        "bytes_up": 388,
        "bytes_down": 712,
        "seconds": 0.25,
        "left_out": {},
        "epsilons": {},
        "sites": {},
    }
    return {**usual, **changes}


def claimed(epsilon: float = 2.5, clients: int = 4, **changes: Any) -> dict[str, Any]:
    """The metrics that a claim adds."""
    spent = {str(client): epsilon - client / 100 for client in range(clients)}
    claim = {"epsilon": epsilon, "delta": 1e-5, "unit": "example", "place": "local"}
    return {**claim, "noise": "system", "epsilons": spent, **changes}


def round_line(round: int, **changes: Any) -> dict[str, Any]:
    """A line of rounds.jsonl."""
    usual = {
        "round": round,
        "abandoned": False,
        "reason": "",
        "cohort": [0, 1],
        "survivors": [0, 1],
        "absent": {},
        "screened": [],
        "rejected": 0,
        "bytes_up": 97,
        "bytes_down": 178,
        "accuracy": 0.7,
        "ledger_heads": {},
        "seconds": 0.06,
    }
    return {**usual, **changes}


def made(path: Path, cells: Sequence[Made], *, study: str | None = None, text: str = "") -> Path:
    """Makes a run folder of these cells, and returns its path."""
    scenarios: dict[tuple[str, ...], Any] = {}
    uses, resolved = [], {}
    for cell in cells:
        known = tuple(cell.overrides)
        if known not in scenarios:
            scenarios[known] = parse_scenario(SCENARIO, overrides=known).resolved()
        scenario = {**scenarios[known], "seed": cell.seed}
        for table, values in cell.changes.items():
            scenario[table] = {**scenario[table], **values}
        name = cell_hash(scenario, code=cell.row)
        resolved[name] = scenario
        uses.append(Use(name, cell.row, dict(cell.levels), cell.part, cell.seed))
    request = Request(text or SCENARIO, resolved, tuple(uses), study)
    folder = RunFolder.create(path, request)
    if study is not None:
        _name_the_code(folder, request)
    for use, cell in zip(uses, cells, strict=True):
        _fill(folder.named(use.cell).folder, cell)
    write_results(folder)
    return path


def _name_the_code(folder: RunFolder, request: Request) -> None:
    """A study's cells name the version that made them."""
    from securefl.runs.environment import code_hash

    uses = tuple(replace(use, code=code_hash()) for use in request.uses)
    folder.ask(replace(request, uses=uses, codes=(code_hash(),)))


def _fill(folder: Path, cell: Made) -> None:
    if cell.status is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Without a sync: hundreds of cells would wait for the disk.
    (folder / "status.json").write_text(json.dumps(cell.status))
    if cell.metrics is not None:
        metrics = metrics_of(cell.seed, **cell.metrics)
        (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [json.dumps(round_line(round)) + "\n" for round in range(4)]
    (folder / "rounds.jsonl").write_text("".join(lines))


def many(path: Path, *, rows: int = 25, seeds: int = 20) -> Path:
    """Makes the folder of a study: some rows claim an epsilon, each row has a cell a seed."""
    cells = []
    for row in range(rows):
        rate = 0.01 * (row + 1)
        overrides = CLAIM if row % 2 else ()
        metrics = claimed(1.5 + row / 1000) if row % 2 else {}
        label = f"learning rate {rate:.2f}, {'epsilon 3' if row % 2 else 'no privacy'}"
        levels = {"training.lr": f"{rate:.2f}"}
        cells += [
            Made(label, seed, overrides, {"training": {"lr": rate}}, metrics=metrics, levels=levels)
            for seed in range(seeds)
        ]
    text = 'title = "Learning rates, with and without privacy"\nseeds = 20\nmetrics = ["auc"]\n'
    return made(path, cells, study="learning-rates", text=text)
