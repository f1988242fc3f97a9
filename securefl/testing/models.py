"""The contract of a model."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from securefl.data.task import Task
from securefl.learning.adapt import Adaptation
from securefl.learning.own_models import check_own_model
from securefl.scenario.entries import ModelEntry
from securefl.scenario.plugins.find import Group
from securefl.testing.trial import chosen, contract

TABLE = Task(features=15, classes=2)


def check_model(
    model: ModelEntry | Callable[..., nn.Module],
    *,
    task: Task = TABLE,
    private: bool = False,
    batch_norm: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Checks a model as a scenario does before anything runs.

    Guarantees, for a model that passes:
        - Two builds under one seed are the same model.
        - It takes batches of any size, and gives one output for each that the task needs.
        - Gradients reach float32 parameters, of which none is shared.
        - Training changes no buffer that an update does not carry.
        - With `private`: no record's output or gradient depends on the records next to it.

    Args:
        model: the entry, or a bare function of the task.
        task: the shape of the records, and what is predicted.
        private: whether training has noise.
        batch_norm: "group" replaces each batch norm by a group norm first.
        parameters: its hyper-parameters.

    Raises:
        AssertionError: one sentence that says what it does not keep.
    """
    choice = chosen(Group.MODELS, "model", model, None, parameters)
    with contract():
        check_own_model(
            choice.entry.function,
            task,
            private=private,
            name=choice.name,
            kwargs=choice.parameters,
            adaptation=Adaptation(batch_norm),
        )
