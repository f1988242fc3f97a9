"""Run folders whose numbers a test chooses: nothing is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from securefl.federation.record import RoundRecord
from securefl.files import append_lines, write_json
from securefl.runs.cell import CellState
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.metrics import RunMetrics
from securefl.runs.names import cell_hash
from securefl.runs.results import write_results
from securefl.scenario.scenario import parse_scenario

SGD = 'rounds = 3\ntraining = { kind = "sgd" }\n'


@dataclass(frozen=True)
class Made:
    """One cell: its scenario as TOML, its metrics, and the accuracy after each round."""

    label: str
    text: str = SGD
    metrics: Mapping[str, Any] = field(default_factory=dict)
    accuracies: Sequence[float | None] = ()
    levels: Mapping[str, str] = field(default_factory=dict)
    state: CellState = CellState.DONE
    extra: Mapping[str, Any] = field(default_factory=dict)


def metrics_of(accuracy: float | None, **others: Any) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "records": 100,
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "auc": accuracy,
        "majority": 0.5,
        "epsilon": None,
        "delta": None,
        "unit": None,
        "place": None,
        "noise": None,
        "rounds": 3,
        "abandoned": 0,
        "bytes_up": 1000,
        "bytes_down": 3000,
        "seconds": 1.5,
        "left_out": {},
        "epsilons": {},
        "sites": {},
    }
    return {**metrics, **others}


def record(number: int, accuracy: float | None, **others: Any) -> RoundRecord:
    values: dict[str, Any] = {
        "round": number,
        "abandoned": False,
        "reason": "",
        "cohort": (0, 1),
        "survivors": (0, 1),
        "absent": {},
        "screened": (),
        "rejected": 0,
        "bytes_up": 10,
        "bytes_down": 20,
        "accuracy": accuracy,
        "ledger_heads": {},
        "seconds": 0.5,
        "evaluated": accuracy is not None,
    }
    return RoundRecord(**{**values, **others})


def folder_of(path: Path, cells: Sequence[Made], *, study: str | None = None) -> RunFolder:
    """Writes a run folder with these cells; equal labels are seeds of one setting."""
    scenarios: dict[str, Any] = {}
    uses = []
    for seed, made in enumerate(cells):
        values = parse_scenario(f"seed = {seed}\n{made.text}").resolved()
        name = cell_hash(values)
        scenarios[name] = values
        uses.append(Use(name, made.label, made.levels, seed=seed))
    folder = RunFolder.create(path, Request("text", scenarios, tuple(uses), study))
    for use, made in zip(uses, cells, strict=True):
        cell = folder.named(use.cell)
        cell.open()
        records = [record(number, value) for number, value in enumerate(made.accuracies)]
        append_lines(cell.folder / "rounds.jsonl", [one.to_json() for one in records])
        for name, content in made.extra.items():
            if name.endswith(".json"):
                write_json(cell.folder / name, content)
            else:
                (cell.folder / name).parent.mkdir(exist_ok=True)
                append_lines(cell.folder / name, content)
        cell.finish(made.state, metrics=cast(RunMetrics, dict(made.metrics)) or None)
    write_results(folder)
    return folder
