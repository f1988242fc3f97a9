"""What a run returns: metrics as a mapping, rounds, the trained network."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import securefl
from securefl.data.task import Task
from securefl.errors import RunFolderError, SecureflError
from securefl.runs.result import Result
from securefl.scenario.assemble.data import load_data

TEXT = """
rounds = 3
data = { name = "heart" }
training = { kind = "sgd", lr = 0.1 }
"""


class Net(nn.Module):
    """With statistics, a frozen part and dropout: what evaluation must treat well."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.frozen = nn.Linear(task.features, 6)
        self.frozen.requires_grad_(False)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, task.outputs)

    def forward(self, records: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.drop(self.norm(self.frozen(records))))
        return outputs


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return securefl.run(TEXT, tmp_path_factory.mktemp("result") / "run", model=Net)


def test_a_result_is_a_mapping_of_the_final_metrics(result: Result) -> None:
    assert dict(result) == dict(result.metrics)
    assert result["rounds"] == 3
    assert "accuracy" in result
    assert "nonsense" not in result
    assert len(result) == len(list(result)) == len(result.metrics)
    with pytest.raises(KeyError, match="nonsense"):
        result["nonsense"]


def test_a_result_shows_its_numbers_and_its_folder(result: Result) -> None:
    text = repr(result)
    assert f"'accuracy': {result['accuracy']}" in text
    assert "sites" not in text
    assert str(result.folder) in text
    assert "\n" not in text


def test_the_rounds_are_those_of_the_folder(result: Result) -> None:
    assert [record.round for record in result.rounds] == [0, 1, 2]
    assert result.rounds[-1].accuracy == result["accuracy"]


def test_a_frame_has_a_row_a_round(result: Result) -> None:
    frame = result.frame()
    assert list(frame["round"]) == [0, 1, 2]
    assert list(frame["accuracy"]) == [record.accuracy for record in result.rounds]


def test_a_frame_without_pandas_is_refused_in_one_sentence(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SecureflError, match=r"^a frame needs pandas, .* pip install pandas$"):
        result.frame()


def test_the_model_is_trained_and_reaches_the_accuracy_of_the_metrics(result: Result) -> None:
    model = result.model()
    assert not any(module.training for module in model.modules())
    data = load_data(result.scenario)
    records = [site.test for site in data.sites if site.test is not None]
    assert records
    features = torch.cat([examples.features for examples in records])
    labels = torch.cat([examples.labels for examples in records])
    with torch.no_grad():
        classes = (model(features).squeeze(1) > 0).long()
    accuracy = (classes == labels).double().mean().item()
    assert accuracy == pytest.approx(result["accuracy"], abs=1e-12)
    # Statistics travelled, too; the frozen part stayed what the seed makes of it.
    assert model.get_buffer("norm.running_mean").abs().sum() > 0
    assert torch.equal(
        model.get_parameter("frozen.weight"), result.model().get_parameter("frozen.weight")
    )


def test_every_model_is_one_of_its_own(result: Result) -> None:
    first, second = result.model(), result.model()
    with torch.no_grad():
        first.get_parameter("head.weight").zero_()
    assert second.get_parameter("head.weight").abs().sum() > 0


def test_a_result_that_is_read_again_has_the_same_model(result: Result) -> None:
    again = securefl.run(TEXT, result.folder, model=Net)
    assert again == result
    for name, value in again.model().state_dict().items():
        assert torch.equal(value, result.model().state_dict()[name])


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    result = securefl.run(TEXT, tmp_path / "run")
    (file,) = result.folder.glob("cells/*/model.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match="is damaged"):
        result.model()
