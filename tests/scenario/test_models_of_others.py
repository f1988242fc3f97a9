"""The table [model] for models that have batch norm, frozen parameters or weights from a file."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from securefl import vector
from securefl.data.task import Task
from securefl.runs.names import cell_hash
from securefl.scenario import catalog
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.entries import ModelEntry
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from tests import normed
from tests.scenario.texts import SGD, digits, refusal

PRIVATE = """
data = { name = "digits", clients = 3 }
privacy = { epsilon = 8.0, records = [400, 400, 400] }
"""


@pytest.fixture(autouse=True)
def _normed(monkeypatch: pytest.MonkeyPatch) -> None:
    normed.add_to_catalog(monkeypatch)


def own(text: str, keys: str = "") -> Scenario:
    return parse_scenario(f'{text}model = {{ name = "normed"{keys and ", " + keys} }}\n')


def test_without_noise_running_statistics_are_coordinates() -> None:
    scenario = own(digits())
    parameters = (9 * 4 + 4) + (4 + 4) + (144 * 10 + 10)
    assert scenario.facts.coordinates == parameters + 8
    model = build_model(scenario, scenario.facts.task)
    assert vector.statistics(model)[:2] == (parameters, 8)


def test_with_noise_batch_norm_is_refused_and_group_norm_is_the_way_out() -> None:
    assert refusal(PRIVATE + 'model = "normed"') == (
        "model: normed has a batch norm, '2', which mixes the records of a batch, so that no noise "
        'covers what one record changes; set model.batch_norm = "group"'
    )
    scenario = own(PRIVATE, 'batch_norm = "group"')
    assert scenario.resolved()["model"]["batch_norm"] == "group"
    assert scenario.resolved()["practice"]["layers"] == ["Conv2d", "GroupNorm", "Linear"]
    model = build_model(scenario, scenario.facts.task)
    assert vector.statistics(model).size == 0
    assert scenario.facts.coordinates == vector.size(model)
    assert any(isinstance(layer, nn.GroupNorm) for layer in model.modules())


def test_a_frozen_batch_norm_goes_with_noise_and_is_no_layer_that_trains() -> None:
    scenario = own(PRIVATE, 'train = ["5.*"]')
    assert scenario.resolved()["practice"]["layers"] == ["Linear"]
    model = build_model(scenario, scenario.facts.task)
    assert list(vector.shapes(model)) == ["5.weight", "5.bias"]
    assert scenario.facts.coordinates == 1450


@pytest.mark.parametrize("key", ["batch", "physical_batch"])
def test_batch_norm_on_batches_of_one_record_is_refused(key: str) -> None:
    data = 'data = { name = "digits" }\nmodel = "normed"\n'
    training = f'training = {{ kind = "sgd", {key} = 1 }}'
    assert refusal(data + training).startswith(f"training.{key} = 1 leaves batch norm no other")
    parse_scenario(data.replace("normed", "mlp") + training)


def test_changes_without_effect_are_refused() -> None:
    assert refusal(SGD + 'model = { name = "mlp", batch_norm = "group" }') == (
        "model: batch_norm has no effect: the model has no batch norm"
    )
    sentence = refusal(SGD + 'model = { name = "mlp", train = ["head.*"] }')
    assert sentence.startswith("model: train has 'head.*', which matches no parameter")
    assert "model.batch_norm: input should be 'group', got 'layer'" in refusal(
        SGD + 'model = { name = "mlp", batch_norm = "layer" }'
    )


@pytest.mark.parametrize("key", ["public_weights = true", 'weights_sha256 = "00"'])
def test_keys_of_a_file_are_refused_without_one(key: str) -> None:
    name = key.partition(" ")[0]
    sentence = f"model.{name} has no effect without model.weights"
    assert refusal(f'model = {{ name = "mlp", {key} }}') == sentence


def saved(folder: Path, value: float = 0.5, name: str = "w") -> Path:
    path = folder / f"{name}.safetensors"
    weights = normed.build(Task(64, 10), generator=None).state_dict()
    save_file({name: torch.full_like(tensor, value) for name, tensor in weights.items()}, path)
    return path


def test_a_run_starts_from_the_weights_of_a_file_whose_hash_is_noted(tmp_path: Path) -> None:
    path = saved(tmp_path)
    scenario = own(digits(), f'weights = "{path}"')
    start = vector.to_vector(build_model(scenario, scenario.facts.task))
    assert bool((start == 0.5).all())
    noted = scenario.resolved()["model"]["weights_sha256"]
    assert re.fullmatch("[0-9a-f]{64}", noted)
    # What is resolved is a scenario again.
    assert make_scenario(scenario.resolved()).resolved() == scenario.resolved()
    saved(tmp_path, 0.25)
    sentence = refusal(
        digits() + f'model = {{ name = "normed", weights = "{path}", weights_sha256 = "{noted}" }}'
    )
    assert sentence.startswith(f"model.weights: {path} has the SHA-256 ")
    assert sentence.endswith(f"the scenario names {noted}: put the file back")


def test_the_name_of_a_cell_has_the_hash_of_the_weights_and_not_their_path(tmp_path: Path) -> None:
    names = [
        cell_hash(own(digits(), f'weights = "{path}"').resolved())
        for path in (saved(tmp_path), saved(tmp_path, name="v"), saved(tmp_path, 0.25, name="u"))
    ]
    assert names[0] == names[1] != names[2]


def test_weights_that_do_not_fit_are_refused_before_anything_runs(tmp_path: Path) -> None:
    path = saved(tmp_path)
    sentence = refusal(digits() + f'model = {{ name = "mlp", weights = "{path}" }}')
    assert sentence.startswith(f"model.weights: {path} does not fit the model: the file lacks")
    missing = refusal(digits() + 'model = { name = "normed", weights = "none.safetensors" }')
    assert re.match(r"model\.weights: cannot read .*none\.safetensors: ", missing)


@pytest.mark.parametrize("start", [PRIVATE, digits()], ids=["private", "plain"])
def test_the_file_of_a_frozen_norm_has_its_statistics_with_and_without_noise(
    tmp_path: Path, start: str
) -> None:
    path = saved(tmp_path)
    keys = f'train = ["5.*"], weights = "{path}", public_weights = true'
    scenario = own(start, keys)
    model = build_model(scenario, scenario.facts.task)
    assert list(vector.shapes(model)) == ["5.weight", "5.bias"]
    assert model.get_buffer("2.running_mean").tolist() == [0.5] * 4
    assert model.get_buffer("2.running_var").tolist() == [0.5] * 4
    # The layout that clients compare counts the statistics.
    other = own(start, keys.replace(str(path), str(saved(tmp_path, 0.25, "other"))))
    assert vector.layout(build_model(other, other.facts.task)) != vector.layout(model)
    weights = normed.build(Task(64, 10), generator=None).state_dict()
    del weights["2.running_var"]
    save_file(weights, path)
    sentence = f"model.weights: {path} does not fit the model: the file lacks '2.running_var'"
    assert refusal(f'{start}model = {{ name = "normed", {keys} }}') == sentence


def test_under_a_claim_weights_are_declared_public(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.ones(1, 15), "bias": torch.ones(1)}, path)
    sentence = refusal(f'model = {{ name = "logistic", weights = "{path}" }}')
    assert "set model.public_weights = true if none did, or continue from a run with init_from" in (
        sentence
    )
    assert refusal(
        f'model = {{ name = "logistic", weights = "{path}", public_weights = false }}'
    ) == (sentence)
    keys = f'{{ name = "logistic", weights = "{path}", public_weights = true }}'
    assert parse_scenario(f"model = {keys}").model.public_weights
    # Without a claim there is nothing that the weights could take away.
    parse_scenario(f'model = {{ name = "logistic", weights = "{path}" }}\n{SGD}')


def test_models_in_the_catalog_keep_their_cells_names() -> None:
    resolved = parse_scenario("").resolved()
    bare = {**resolved, "model": {"name": "logistic"}}
    assert cell_hash(resolved) == cell_hash(bare)


def test_constant_buffers_stay_at_home_under_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.get_buffer("scale")

    def build(task: Task, *, generator: torch.Generator) -> nn.Module:
        return nn.Sequential(Scaled(), nn.Linear(task.features, task.outputs))

    monkeypatch.setitem(catalog.MODELS, "scaled", ModelEntry(build, provided=("generator",)))
    assert parse_scenario('model = "scaled"').facts.coordinates == 16
    assert parse_scenario(f'model = "scaled"\n{SGD}').facts.coordinates == 17
