"""A convolutional network with batch norm, as people write them, for digits."""

import pytest
import torch
from torch import nn

from securefl.data.task import Task
from securefl.scenario import catalog
from securefl.scenario.entries import ModelEntry


def build(task: Task, *, generator: torch.Generator | None) -> nn.Sequential:
    """Returns two convolutions with batch norm, then a head."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 36, task.outputs),
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.1, generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return model


def add_to_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets scenarios name the network "normed" for the time of a test."""
    monkeypatch.setitem(catalog.MODELS, "normed", ModelEntry(build, provided=("generator",)))
