"""From the table [model] to a network."""

import json
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn

from securefl.data.task import Task
from securefl.learning.adapt import Adaptation, adapted
from securefl.learning.own_models import build_seeded, check_own_model
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import ModelEntry


def model_of(chosen: Chosen[ModelEntry], task: Task, stream: Keystream) -> nn.Module:
    """Returns the network as its author starts it.

    Args:
        chosen: the model with its hyper-parameters.
        task: gives the shapes of records and outputs.
        stream: decides the initial weights.
    """
    build, parameters = chosen.entry.function, chosen.parameters
    if chosen.entry.foreign:
        return build_seeded(build, task, parameters, stream, name=chosen.name)
    return build(task, generator=stream.torch_generator(), **parameters)


def sketch_of(chosen: Chosen[ModelEntry], task: Task, adaptation: Adaptation) -> nn.Module:
    """Returns the network with its shapes and names; its weights mean nothing.

    Raises:
        ValueError: its parameters do not fit the records, or a change to it has no effect.
    """
    # Parameters are JSON, since a dict cannot be the key of a cache.
    parameters = json.dumps(chosen.parameters)
    entry = chosen.entry
    return _sketch(entry.function, entry.foreign, task, parameters, adaptation)


def check_foreign(chosen: Chosen[ModelEntry], task: Task, adaptation: Adaptation) -> None:
    """Tries a model of somebody else's on synthetic records. Raises ScenarioError."""
    if chosen.entry.foreign:
        parameters = json.dumps(chosen.parameters)
        _check(chosen.entry.function, chosen.name, task, parameters, adaptation)


@lru_cache(maxsize=64)  # the cells of a study share few models
def _sketch(
    build: Callable[..., nn.Module],
    foreign: bool,
    task: Task,
    parameters: str,
    adaptation: Adaptation,
) -> nn.Module:
    values = json.loads(parameters)
    if foreign:
        # An author's code may read the weights that it makes, which a sketch without memory lacks.
        return adapted(build_seeded(build, task, values, seeded_keystream(0, "init")), adaptation)
    with torch.device("meta"):
        return adapted(build(task, generator=None, **values), adaptation)


@lru_cache(maxsize=64)
def _check(
    build: Callable[..., nn.Module],
    name: str,
    task: Task,
    parameters: str,
    adaptation: Adaptation,
) -> None:
    check_own_model(
        build,
        task,
        private=adaptation.private,
        name=name,
        kwargs=json.loads(parameters),
        adaptation=adaptation,
    )
