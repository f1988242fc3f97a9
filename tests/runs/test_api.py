"""Running from Python: what cannot start leaves no folder behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.runs import api
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


class Attending(nn.Module):
    """Attention as torch has it, for which Opacus has a layer of its own."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(task.features, 1, batch_first=True)
        self.head = nn.Linear(task.features, task.outputs)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, None]  # (n, 1, features)
        attended, _ = self.attention(rows, rows, rows)
        logits: Tensor = self.head(attended[:, 0])
        return logits


def attending(task: Task, *, generator: torch.Generator) -> nn.Module:
    return Attending(task)


ATTENDING = ModelEntry(attending, provided=("generator",))


def test_a_layer_that_opacus_does_not_support_is_refused_in_one_sentence_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.MODELS, "attending", ATTENDING)
    sentence = (
        "model: DP-SGD cannot train layer 'attention': We do not support nn.MultiheadAttention "
        "because its implementation uses special modules"
    )
    with pytest.raises(ScenarioError, match=f"^{sentence}$"):
        run(parse_scenario(TEXT, overrides=("model.name=attending",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_privacy_the_same_layer_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.MODELS, "attending", ATTENDING)
    text = (
        'rounds = 1\ndata = { name = "heart" }\nmodel = "attending"\ntraining = { kind = "sgd" }\n'
    )
    assert run(parse_scenario(text), tmp_path / "run")["rounds"] == 1


def test_a_run_keeps_its_memory_and_its_threads_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    @contextmanager
    def kept() -> Iterator[None]:
        calls.append("keep memory")
        yield
        calls.append("give it back")

    monkeypatch.setattr(api, "one_thread", lambda: calls.append("one thread"))
    monkeypatch.setattr(api, "kept_memory", kept)
    run(parse_scenario('rounds = 1\ndata.name = "heart"\ntraining.kind = "sgd"'), tmp_path / "run")
    assert calls == ["one thread", "keep memory", "give it back"]
