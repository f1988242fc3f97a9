"""A run with workers writes what a run without them writes, bit for bit, however it ends."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import securefl
from securefl import vector
from securefl.data.task import Task
from securefl.errors import BudgetExceeded, PluginError, ScenarioError
from securefl.files import write_json
from securefl.runs.cell import Cell, CellState, Status
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import Scenario, parse_scenario
from tests import normed

SGD = """
rounds = 2
data.name = "heart"
training = { kind = "sgd", batch = 64 }
"""
DP_SGD = """
rounds = 2
data.name = "heart"
training = { kind = "dp_sgd", batch = 128 }
privacy = { noise = "seeded", epsilon = 100.0, noise_multiplier = 1.0 }
"""
DROPS = (
    "simulate.drop=[{client=1, round=0}, {client=3, round=1, stage=2}]",
    "simulate.late=[{client=2, round=1}]",
)
SCENARIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (SGD, ()),
    "noise from a seed": (DP_SGD, ()),
    "masked, with dropouts": (SGD, ("channel.kind=masked", *DROPS)),
    "an omniscient adversary": (
        SGD,
        (
            "attack={name='a_little_is_enough', clients=[1], knows='omniscient'}",
            "defense.rule=median",
        ),
    ),
    "an adversary that bends gradients": (SGD, ("attack={name='label_flip', clients=[0]}",)),
    "batch norm": (
        SGD,
        ("data={name='digits', clients=3, partition='iid'}", "model.name=normed", "rounds=2"),
    ),
    "momentum": (SGD, ("training.momentum=0.5",)),
}
RUN = "0123456789abcdef"  # the name of every run here, which ledgers repeat
EXIT_OF_AN_INTERRUPT = 130


def nothing(*_: object) -> None:
    pass


def play(scenario: Scenario, folder: Path, *, workers: int) -> Cell:
    cell = Cell(folder / f"{workers}")
    cell.folder.mkdir(parents=True)
    write_json(cell.folder / "status.json", Status(run=RUN).to_json())
    run_cell(cell, scenario, on_round=nothing, workers=workers)
    return cell


def written(cell: Cell) -> dict[str, object]:
    """Everything that a cell holds, without seconds."""
    state = load_checkpoint(cell.checkpoint).state
    rounds = [{**line, "seconds": 0} for line in cell.round_lines()]
    metrics = {**(cell.metrics() or {}), "seconds": 0}
    ledgers = {path.name: path.read_bytes() for path in sorted(cell.ledgers.glob("*"))}
    return {
        "weights": vector.to_bytes(state.weights),
        "rounds": json.dumps(rounds),
        "metrics": json.dumps(metrics),
        "transcript": (cell.folder / "transcript.jsonl").read_bytes(),
        **ledgers,
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_two_and_four_workers_write_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normed.add_to_catalog(monkeypatch)
    text, overrides = SCENARIOS[name]
    scenario = parse_scenario(text, overrides=overrides)
    # More processes than clients would train no other way than as many.
    first, *others = [written(play(scenario, tmp_path, workers=count)) for count in (1, 2, 4)]
    assert len(str(first["rounds"]).split("survivors")) == scenario.rounds + 1
    for other in others:
        assert other == first


class Dropped(nn.Module):
    """A user's network, with a random layer."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(task.features, 8), nn.Dropout(0.5), nn.Linear(8, task.outputs)
        )

    def forward(self, records: Tensor) -> Tensor:
        outputs: Tensor = self.layers(records)
        return outputs


def test_a_users_own_model_with_dropout_is_trained_in_workers(tmp_path: Path) -> None:
    given = {"rounds": 2, "training": {"kind": "sgd"}}
    states = []
    for workers in (1, 2):
        result = securefl.run(given, tmp_path / str(workers), model=Dropped, workers=workers)
        states.append(result.model().state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_encrypted_updates_are_trained_in_workers(tmp_path: Path) -> None:
    # Ciphertexts are random, so that their lengths, compressed, differ from run to run.
    scenario = parse_scenario(SGD, overrides=("channel.kind=ckks",))
    for workers in (1, 2):
        cell = play(scenario, tmp_path, workers=workers)
        assert [record.survivors for record in cell.rounds()] == [(0, 1, 2, 3)] * 2
    states = [load_checkpoint(tmp_path / f"{n}" / "model.safetensors").state for n in (1, 2)]
    assert torch.allclose(states[0].weights, states[1].weights, atol=1e-4)


class Fragile(nn.Module):
    """A user's network, which breaks on the records of the third hospital."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.layer = nn.Linear(task.features, task.outputs)

    def forward(self, records: Tensor) -> Tensor:
        if len(records) == 31:
            raise ZeroDivisionError("of a user's model")
        outputs: Tensor = self.layer(records)
        return outputs


def test_a_fault_of_a_users_model_is_the_same_sentence_with_workers(tmp_path: Path) -> None:
    given = {"rounds": 1, "training": {"kind": "sgd", "batch": 64}}
    sentences = []
    for workers in (1, 2):
        with pytest.raises(PluginError) as caught:
            securefl.run(given, tmp_path / str(workers), model=Fragile, workers=workers)
        sentences.append(str(caught.value))
    assert "of a user's model" in sentences[0]
    assert "test_workers.py, line" in sentences[0]
    assert sentences[0] == sentences[1]


def test_a_budget_ends_a_run_with_workers_in_the_same_round_with_the_same_books(
    tmp_path: Path,
) -> None:
    scenario = parse_scenario(
        DP_SGD,
        overrides=("rounds=20", "cohort.size=3", "channel.min_cohort=2", "privacy.epsilon=6.0"),
    )
    ends = []
    for workers in (1, 2):
        with pytest.raises(BudgetExceeded) as caught:
            play(scenario, tmp_path, workers=workers)
        cell = Cell(tmp_path / f"{workers}")
        assert cell.status().state is CellState.OUT_OF_BUDGET
        ends.append((str(caught.value), written(cell)))
    assert ends[0] == ends[1]
    rounds = Cell(tmp_path / "2").rounds()
    assert 1 < len(rounds) < 20
    assert any(record.absent for record in rounds)


def test_what_starts_first_depends_on_declared_records_under_a_claim(tmp_path: Path) -> None:
    declared = parse_scenario(DP_SGD, overrides=("privacy.records=[50, 60, 70, 80]",))
    for scenario, records in (
        (declared, {0: 50, 1: 60, 2: 70, 3: 80}),
        (parse_scenario(SGD), {0: 200, 1: 173, 2: 31, 3: 86}),
    ):
        assert parts(scenario, run=RUN, ledgers=tmp_path).local.records == records


def test_fewer_workers_than_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="workers must be >= 1, got 0"):
        securefl.run(parse_scenario(SGD), tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
