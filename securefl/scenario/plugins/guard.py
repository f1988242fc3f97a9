"""Guards around plug-ins: a fault of theirs becomes one sentence with their file and line."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from securefl.errors import PluginError, SecureflError
from securefl.learning.protocol import StepResult
from securefl.scenario.plugins.loading import FAULTS, blame

Function = TypeVar("Function", bound=Callable[..., Any])


def called(label: str, function: Callable[..., Any], *arguments: Any, **parameters: Any) -> Any:
    """Calls a plug-in.

    Args:
        label: names it in messages, such as "defense.rule python:mine.py:rule".
        function: the plug-in.
        arguments: its arguments.
        parameters: its hyper-parameters.

    Raises:
        PluginError: it raised an exception, or changed a tensor that it was given.
    """
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    # Torch counts the changes of a tensor in place; a comparison would cost a copy of all rows.
    before = [tensor._version for tensor in tensors]
    try:
        result = function(*arguments, **parameters)
    except SecureflError:
        raise
    except FAULTS as error:
        raise PluginError(f"{label} raised {blame(error)}") from error
    if [tensor._version for tensor in tensors] != before:
        raise PluginError(f"{label} changed its input; work on a copy of it")
    return result


def guarded_rows(label: str, function: Function) -> Function:
    """Returns an attack on rows that has to give a row for each corrupt client."""

    @wraps(function)
    def attack(rows: Tensor, **parameters: Any) -> Tensor:
        # Torch does not count changes through numpy, and these rows are also the honest clients'.
        sent = called(label, function, rows.clone(), **parameters)
        count = parameters.get("f", len(rows))
        # It may send NaN and infinities on purpose.
        check(
            label,
            sent,
            torch.Size([count, rows.shape[1]]),
            f"a row for each of the {count} corrupt clients",
            [],
        )
        result: Tensor = sent.detach().clone()
        return result

    return attack  # type: ignore[return-value]


def guarded_records(label: str, function: Function) -> Function:
    """Returns an attack on records that has to give features and labels of the same form."""

    @wraps(function)
    def attack(features: Tensor, labels: Tensor, **parameters: Any) -> tuple[Tensor, Tensor]:
        # Other cells of this process train on the same records.
        changed = called(label, function, features.clone(), labels.clone(), **parameters)
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise PluginError(f"{label} has to return features and labels, got {kind(changed)}")
        for name, before, after in zip(
            ("features", "labels"), (features, labels), changed, strict=True
        ):
            if not isinstance(after, Tensor) or after.shape[1:] != before.shape[1:]:
                raise PluginError(f"{label} returned {name} of another form: {kind(after)}")
            if after.dtype != before.dtype:
                raise PluginError(f"{label} returned {name} of type {after.dtype}")
        if len(changed[0]) != len(changed[1]):
            raise PluginError(
                f"{label} returned {len(changed[0])} features, {len(changed[1])} labels"
            )
        return changed[0], changed[1]

    return attack  # type: ignore[return-value]


def guarded_gradient(label: str, function: Function) -> Function:
    """Returns an attack on gradients that has to give a gradient of the same shape."""

    @wraps(function)
    def attack(gradient: Tensor, offset: Tensor, **parameters: Any) -> Tensor:
        bent = called(label, function, gradient, offset, **parameters)
        check(label, bent, gradient.shape, "a gradient of the same shape", [])
        result: Tensor = bent
        return result

    return attack  # type: ignore[return-value]


def guarded_goal(label: str, function: Function) -> Function:
    """Returns an attack's goal that has to give records to show and the class it wants."""

    @wraps(function)
    def goal(features: Tensor, labels: Tensor, **parameters: Any) -> tuple[Tensor, int]:
        wanted = called(label, function, features, labels, **parameters)
        if not (isinstance(wanted, tuple) and len(wanted) == 2 and isinstance(wanted[1], int)):
            raise PluginError(
                f"{label}: its goal has to return features and a class, got {kind(wanted)}"
            )
        shown, target = wanted
        if not isinstance(shown, Tensor) or shown.shape[1:] != features.shape[1:]:
            raise PluginError(f"{label}: its goal returned features of another form: {kind(shown)}")
        return shown, target

    return goal  # type: ignore[return-value]


def guarded_step(label: str, function: Function) -> Function:
    """Returns a step of the server whose weights are checked."""

    @wraps(function)
    def step(weights: Tensor, estimate: Tensor, state: Any, **parameters: Any) -> StepResult:
        # Copies: a round that is abandoned goes on from the old weights and the old state.
        given, change = weights.clone(), estimate.clone()
        before = {name: value.clone() for name, value in state.items()}
        moved = called(label, function, given, change, before, **parameters)
        if not (isinstance(moved, tuple) and len(moved) == 2):
            raise PluginError(f"{label} has to return weights and a state, got {kind(moved)}")
        after, kept = moved
        check(label, after, weights.shape, "weights of the same shape", [given, change])
        if not isinstance(kept, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in kept.items()
        ):
            raise PluginError(f"{label} has to return its state as a dict of tensors")
        copies = {name: value.detach().clone() for name, value in kept.items()}
        return StepResult(own(label, after, weights.dtype), copies)

    return step  # type: ignore[return-value]


def guarded_build(label: str, function: Function) -> Function:
    """Returns a function that makes something, such as a model, and blames the plug-in if not."""

    @wraps(function)
    def build(*arguments: Any, **parameters: Any) -> Any:
        return called(label, function, *arguments, **parameters)

    return build  # type: ignore[return-value]


def check(
    label: str,
    value: object,
    shape: torch.Size,
    expected: str,
    inputs: list[Tensor],
) -> None:
    """Raises PluginError unless a value is a tensor of real numbers, in memory of its own.

    Args:
        label: names the plug-in in messages.
        value: what it returned.
        shape: that it has to have.
        expected: the same in words.
        inputs: tensors whose memory it must not share.
    """
    if not isinstance(value, Tensor):
        raise PluginError(f"{label} has to return a tensor, got {kind(value)}")
    if value.shape != shape:
        raise PluginError(
            f"{label} has to return {expected}, shape {tuple(shape)}, got {tuple(value.shape)}"
        )
    if not value.is_floating_point():
        raise PluginError(f"{label} has to return real numbers, got {value.dtype}")
    if value.layout is not torch.strided or value.device.type != "cpu":
        raise PluginError(f"{label} has to return a plain tensor in memory, got {value.layout}")
    memory = value.untyped_storage().data_ptr()
    if any(memory == given.untyped_storage().data_ptr() for given in inputs):
        raise PluginError(f"{label} returned a view of its input; return a copy")


def own(label: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a copy, which the plug-in cannot change later. Raises PluginError unless finite."""
    copy = value.detach().to(dtype, copy=True)
    # Only now: a float64 may be beyond float32.
    if not bool(torch.isfinite(copy).all()):
        raise PluginError(f"{label} returned a number that is not finite")
    return copy


def kind(value: object) -> str:
    """Returns what a value is, for messages."""
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
