"""Guards around plug-ins: a fault of theirs becomes one sentence with their file and line."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from securefl.errors import PluginError, SecureflError
from securefl.learning.protocol import StepResult
from securefl.scenario import catalog
from securefl.scenario.plugins.loading import blame

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
    except Exception as error:
        raise PluginError(f"{label} raised {blame(error)}") from error
    if [tensor._version for tensor in tensors] != before:
        raise PluginError(f"{label} changed its input; work on a copy of it")
    return result


def guarded_rule(label: str, function: Function) -> Function:
    """Returns a rule that gets admissible rows only, and whose estimate is checked.

    Rows that the engine would mark are set aside first: an author who forgets NaN would
    otherwise let a single client stop every round.
    """

    @wraps(function)
    def rule(rows: Any, **parameters: Any) -> Tensor:
        admitted = _admitted(rows)
        estimate = called(label, function, admitted, **parameters)
        _check(label, estimate, admitted[0].shape, "one number a coordinate", [admitted])
        result: Tensor = estimate.to(admitted.dtype)
        return result

    return rule  # type: ignore[return-value]


def guarded_prefilter(label: str, function: Function) -> Function:
    """Returns a pre-filter that gets admissible rows only, and whose rows are checked."""

    @wraps(function)
    def prefilter(rows: Any, **parameters: Any) -> Tensor:
        admitted = _admitted(rows)
        mixed = called(label, function, admitted, **parameters)
        if isinstance(mixed, Tensor) and mixed.ndim == 2 and len(mixed) > 0:
            shape = torch.Size([len(mixed), admitted.shape[1]])
        else:
            shape = admitted.shape
        _check(label, mixed, shape, "rows", [])
        result: Tensor = mixed.to(admitted.dtype)
        return result

    return prefilter  # type: ignore[return-value]


def guarded_rows(label: str, function: Function) -> Function:
    """Returns an attack on rows that has to give a row for each corrupt client."""

    @wraps(function)
    def attack(rows: Tensor, **parameters: Any) -> Tensor:
        sent = called(label, function, rows, **parameters)
        count = parameters.get("f", len(rows))
        # An attack may send NaN and infinities on purpose.
        _check(
            label,
            sent,
            torch.Size([count, rows.shape[1]]),
            f"a row for each of the {count} corrupt clients",
            [],
            finite=False,
        )
        result: Tensor = sent
        return result

    return attack  # type: ignore[return-value]


def guarded_records(label: str, function: Function) -> Function:
    """Returns an attack on records that has to give features and labels of the same form."""

    @wraps(function)
    def attack(features: Tensor, labels: Tensor, **parameters: Any) -> tuple[Tensor, Tensor]:
        changed = called(label, function, features, labels, **parameters)
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise PluginError(f"{label} has to return features and labels, got {_kind(changed)}")
        for name, before, after in zip(
            ("features", "labels"), (features, labels), changed, strict=True
        ):
            if not isinstance(after, Tensor) or after.shape[1:] != before.shape[1:]:
                raise PluginError(f"{label} returned {name} of another form: {_kind(after)}")
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
        _check(label, bent, gradient.shape, "a gradient of the same shape", [], finite=False)
        result: Tensor = bent
        return result

    return attack  # type: ignore[return-value]


def guarded_step(label: str, function: Function) -> Function:
    """Returns a step of the server whose weights are checked."""

    @wraps(function)
    def step(weights: Tensor, estimate: Tensor, state: Any, **parameters: Any) -> StepResult:
        moved = called(label, function, weights, estimate, state, **parameters)
        if not (isinstance(moved, tuple) and len(moved) == 2):
            raise PluginError(f"{label} has to return weights and a state, got {_kind(moved)}")
        after, kept = moved
        _check(label, after, weights.shape, "weights of the same shape", [weights, estimate])
        if not isinstance(kept, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in kept.items()
        ):
            raise PluginError(f"{label} has to return its state as a dict of tensors")
        return StepResult(after, kept)

    return step  # type: ignore[return-value]


def guarded_build(label: str, function: Function) -> Function:
    """Returns a function that makes something, such as a model, and blames the plug-in if not."""

    @wraps(function)
    def build(*arguments: Any, **parameters: Any) -> Any:
        return called(label, function, *arguments, **parameters)

    return build  # type: ignore[return-value]


def _admitted(rows: Any) -> Tensor:
    """Returns the rows that a rule may use. Raises ValueError without any."""
    # Behind a pre-filter of ours rows are weighted sums that nobody has written out yet.
    tensor: Tensor = rows if isinstance(rows, Tensor) else rows.tensor()
    admitted = tensor[~catalog.SCREEN(tensor)]
    if not len(admitted):
        raise ValueError("no row is finite and of moderate size")
    return admitted


def _check(
    label: str,
    value: object,
    shape: torch.Size,
    expected: str,
    inputs: list[Tensor],
    *,
    finite: bool = True,
) -> None:
    """Raises PluginError unless a value is a tensor of real numbers of a shape of its own."""
    if not isinstance(value, Tensor):
        raise PluginError(f"{label} has to return a tensor, got {_kind(value)}")
    if value.shape != shape:
        raise PluginError(
            f"{label} has to return {expected}, shape {tuple(shape)}, got {tuple(value.shape)}"
        )
    if not value.is_floating_point():
        raise PluginError(f"{label} has to return real numbers, got {value.dtype}")
    if finite and not bool(torch.isfinite(value).all()):
        raise PluginError(f"{label} returned a number that is not finite")
    memory = value.untyped_storage().data_ptr()
    if any(memory == given.untyped_storage().data_ptr() for given in inputs):
        raise PluginError(f"{label} returned a view of its input; return a copy")


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
