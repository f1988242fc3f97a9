"""Runs on another device: the results of this one, and sentences where there is none."""

import json
from pathlib import Path

import pytest
import torch

import securefl
from securefl.errors import ScenarioError, SecureflError
from securefl.runs import play
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.names import cell_hash
from securefl.runs.play import run_cell
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.commands import call
from tests.other_device import OTHER, other_device
from tests.runs.test_workers import DP_SGD, SGD, nothing
from tests.scenario.texts import refusal

STACKS = ("engine.stack=2", "data={name='digits', clients=3, partition='iid', share=0.2}")
BACKDOOR = "attack={name='backdoor', clients=[0], target=1}"
SCENARIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (SGD, ()),
    "noise, masked": (DP_SGD, ("channel.kind=masked",)),
    "stacks": (SGD, STACKS),
    "a backdoor": (SGD, ("data={name='digits', clients=3, partition='iid'}", BACKDOOR)),
}


def on(device: str, name: str) -> Scenario:
    text, keys = SCENARIOS[name]
    return parse_scenario(text, overrides=(*keys, f"engine.device={device}"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_elsewhere_is_the_run_here_and_its_record_says_where(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, away = Cell(tmp_path / "here"), Cell(tmp_path / "away")
    measured = dict(run_cell(here, on("cpu", name), on_round=nothing))
    assert measured.pop("device") == "cpu"
    monkeypatch.setattr(play, "device_called", {"cuda": OTHER}.__getitem__)
    elsewhere = on("cuda", name)
    with other_device():
        moved = dict(run_cell(away, elsewhere, on_round=nothing))
    assert moved.pop("device") == OTHER.type
    for values in (measured, moved):
        values.pop("seconds")
    assert moved == measured
    weights = [load_checkpoint(cell.checkpoint).state.weights for cell in (here, away)]
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)
    assert json.loads((away.folder / "metrics.json").read_text())["device"] == OTHER.type


def test_a_run_that_names_no_device_has_none_in_its_metrics_and_keeps_its_name(
    tmp_path: Path,
) -> None:
    usual = parse_scenario(SGD, overrides=("rounds=1",))
    assert "device" not in run_cell(Cell(tmp_path), usual, on_round=nothing)
    stacked = parse_scenario(SGD, overrides=("engine.stack=2",)).resolved()
    without = {**stacked, "engine": {"stack": 2}}
    assert stacked["engine"] == {"stack": 2, "device": None}
    assert cell_hash(stacked) == cell_hash(without)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_a_run_is_refused_before_it_has_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SecureflError, match=r"set engine.device = 'cpu'") as refused:
        securefl.run(on("cuda", "plain"), tmp_path / "out")
    assert refused.value.exit_code == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_validate_says_so_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(SGD + 'engine.device = "cuda"\n')
    result = call("validate", path, cwd=tmp_path)
    assert result.returncode == 1
    assert "engine.device = 'cuda' needs a GPU" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.usefixtures("no_gpu")
def test_a_scenario_for_a_gpu_is_still_read_where_there_is_none() -> None:
    # Reports, comparisons and audits of its run need no GPU.
    lines = summary(on("cuda", "plain"))
    assert "engine: models train and are evaluated on a GPU, which rounds" in lines
    assert "engine" not in summary(on("cpu", "plain"))


def test_a_gpu_has_no_workers(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="trains in one process, got workers = 2") as refused:
        securefl.run(on("cuda", "plain"), tmp_path / "out", workers=2)
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:1", "1"])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    assert refusal(SGD, f"engine.device='{device}'").startswith("engine.device: ")
