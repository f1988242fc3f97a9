"""Running from Python: what cannot start leaves no folder behind."""

from pathlib import Path

import pytest
import torch
from torch import nn

from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.runs.api import run
from securefl.scenario import catalog
from securefl.scenario.entries import ModelEntry
from securefl.scenario.scenario import parse_scenario

TEXT = """
rounds = 1
data = { name = "heart" }
training = { kind = "dp_sgd" }
privacy = { noise = "seeded", epsilon = 8.0 }
"""


def normed(task: Task, *, generator: torch.Generator) -> nn.Module:
    """Without running statistics, so that no buffer gives it away."""
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    return nn.Sequential(nn.Linear(task.features, 4), norm, nn.Linear(4, task.outputs))


NORMED = ModelEntry(normed, provided=("generator",))


def test_a_layer_that_opacus_does_not_support_is_refused_in_one_sentence_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.MODELS, "normed", NORMED)
    sentence = (
        "model: DP-SGD cannot train layer '1': "
        "BatchNorm cannot support training with differential privacy"
    )
    with pytest.raises(ScenarioError, match=f"^{sentence}$"):
        run(parse_scenario(TEXT, overrides=("model.name=normed",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_privacy_the_same_layer_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.MODELS, "normed", NORMED)
    text = 'rounds = 1\ndata = { name = "heart" }\nmodel = "normed"\ntraining = { kind = "sgd" }\n'
    assert run(parse_scenario(text), tmp_path / "run")["rounds"] == 1
