"""A real GPU trains and evaluates as the CPU does, up to rounding."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl import vector
from securefl.learning.device import CPU, device_of
from securefl.learning.evaluate import evaluate, predict
from securefl.learning.plan import LocalTraining
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.scenario import parse_scenario
from tests.learning.stacked.cases import clients, plans, weights_of
from tests.learning.test_device import CLIENTS, WAYS, Attentive
from tests.runs.test_device import SCENARIOS
from tests.runs.test_workers import nothing

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(torch.cuda.device_count() == 0, reason="there is no GPU here"),
]
DEVICE = torch.device("cuda")
WITHIN = 1e-4
NAMES = ("logistic", "mlp", "cnn", "cnn of solids", "strides", "words", "steps", "real targets")


def on(device: torch.device, local: LocalTraining) -> LocalTraining:
    return replace(local, model=copy.deepcopy(local.model).to(device))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_trains_as_the_cpu_does(name: str, way: str) -> None:
    local = clients(name, dtype=torch.float32, plans=plans())
    weights = weights_of(local)
    here, away = (WAYS[way](on(device, local), weights) for device in (CPU, DEVICE))
    for client in CLIENTS:
        assert away[client].delta.device == CPU
        assert away[client].spent == here[client].spent
        torch.testing.assert_close(away[client].delta, here[client].delta, rtol=0, atol=WITHIN)


@pytest.mark.parametrize("way", ["plain", "noise"])
def test_dropout_on_a_gpu_repeats_and_leaves_the_generators_as_they_were(way: str) -> None:
    local = on(DEVICE, clients("mlp", model=Attentive(), dtype=torch.float32, plans=plans()))
    weights = weights_of(local)
    before = torch.cuda.get_rng_state()
    first = WAYS[way](local, weights)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    torch.rand(7, device=DEVICE)
    again = WAYS[way](local, weights)
    for client in CLIENTS:
        torch.testing.assert_close(again[client].delta, first[client].delta, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", "two classes", "several labels", "real targets"])
def test_a_gpu_evaluates_as_the_cpu_does(name: str) -> None:
    local = clients(name, dtype=torch.float32, sizes=(600,))
    away = on(DEVICE, local)
    examples = local.examples[0]
    answers = [predict(it.model, it.task, examples.features) for it in (local, away)]
    assert answers[1].device == CPU
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=WITHIN)
    assert evaluate(away.model, away.task, examples).records == 600
    assert torch.equal(vector.to_vector(away.model), vector.to_vector(local.model))
    assert device_of(away.model).type == "cuda"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_on_a_gpu_is_the_run_on_the_cpu(name: str, tmp_path: Path) -> None:
    """Masked sums, too: they open to the same sum of vectors, wherever these were trained."""
    text, keys = SCENARIOS[name]
    weights, devices = [], []
    for device in ("cpu", "cuda"):
        cell = Cell(tmp_path / device)
        scenario = parse_scenario(text, overrides=(*keys, f"engine.device={device}"))
        devices.append(run_cell(cell, scenario, on_round=nothing)["device"])
        weights.append(load_checkpoint(cell.checkpoint).state.weights)
    assert devices == ["cpu", f"cuda ({torch.cuda.get_device_name(DEVICE)})"]
    torch.testing.assert_close(*weights, rtol=0, atol=WITHIN)
