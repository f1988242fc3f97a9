"""Models that somebody else wrote: built under a seed, and checked before anything runs.

model = build_seeded(build, task, {"width": 32}, seeded_keystream(seed, "init"))
check_own_model(build, task, private=True, name="my_model.py:build", kwargs={"width": 32})
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

import securefl
from securefl import vector
from securefl.data.task import Examples, Task
from securefl.errors import ScenarioError
from securefl.learning.adapt import Adaptation, adapted, check_norms
from securefl.learning.modes import training_mode
from securefl.learning.options import random_layers
from securefl.learning.synthetic import synthetic
from securefl.rng import Keystream, seeded_keystream

RECORDS = 4  # of the batch on which a model is tried
_LIBRARIES = (Path(torch.__file__).parent, Path(securefl.__file__).parent)

# task, **hyper-parameters -> the module; of a stranger, so that anything may come back
Build = Callable[..., object]


def build_seeded(
    build: Build,
    task: Task,
    kwargs: Mapping[str, Any],
    stream: Keystream,
    *,
    name: str = "the function",
) -> nn.Module:
    """Returns the model that a function builds, with initial weights that a stream decides.

    The function draws from torch's global generator, which is put back afterwards.

    Args:
        build: called as `build(task, **kwargs)`.
        task: gives the shape of the records and the number of outputs.
        kwargs: its hyper-parameters.
        stream: seeds the generator.
        name: of the function, for refusals.

    Raises:
        ScenarioError: the function returned something else than a model.
    """
    with random_layers(stream):
        model = build(task, **kwargs)
    if not isinstance(model, nn.Module):
        raise ScenarioError(f"model: {name} returned {_kind(model)}, not a torch.nn.Module")
    return model


def check_own_model(
    build: Build,
    task: Task,
    *,
    private: bool,
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    adaptation: Adaptation | None = None,
) -> None:
    """Builds a model twice, tries it on a few synthetic records, and refuses what cannot be right.

    Args:
        build: called as `build(task, **kwargs)`.
        task: gives the shape of the records and the number of outputs.
        private: training has noise: then no record may depend on others, and no buffer may change.
        name: of the model, for refusals.
        kwargs: its hyper-parameters.
        adaptation: what else the scenario changes in it.

    Raises:
        ScenarioError: one sentence that says what is wrong, and where in the author's file.
    """
    changes = replace(adaptation or Adaptation(), private=private)
    with _faults_of(name, "be built"):
        models = [_built(build, task, kwargs or {}, changes, name) for _ in range(2)]
    model, again = models
    _check_parameters(model, name)
    _check_repeatable(model, again, name)
    if private:
        check_norms(model, name)
    examples = synthetic(task, RECORDS, seed=0)
    _check_passes(model, task, examples, name)
    _check_buffers(again, task, examples, name, private=private)
    if private:
        # Opacus takes a second to import, which models without noise need not wait for.
        from securefl.learning.neighbours import check_neighbours

        with _faults_of(name, "be trained with noise"):
            check_neighbours(model, task, name)


def _built(
    build: Build, task: Task, kwargs: Mapping[str, Any], adaptation: Adaptation, name: str
) -> nn.Module:
    model = build_seeded(build, task, kwargs, seeded_keystream(0, "init"), name=name)
    _refuse_lazy(model, name)
    try:
        return adapted(model, adaptation)
    except ValueError as reason:
        raise ScenarioError(f"model: {reason}") from None


def _refuse_lazy(model: nn.Module, name: str) -> None:
    """Refuses parameters and buffers whose shape is not known yet."""
    for part, value in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(value, UninitializedParameter | UninitializedBuffer):
            raise ScenarioError(
                f"model: {name} has {part!r}, whose shape only a first batch decides; "
                "give its layer the number of inputs"
            )


def _check_parameters(model: nn.Module, name: str) -> None:
    """Checks that something trains, in float32, and that no parameter is in two places."""
    parameters = dict(model.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ScenarioError(f"model: {name} has no parameter that trains")
    for part, value in {**parameters, **vector.travelling_buffers(model)}.items():
        if value.dtype != torch.float32:
            raise ScenarioError(
                f"model: {name} has {part!r} as {value.dtype}, and updates are float32; "
                "call .float() on the model"
            )
    first = {id(parameter): part for part, parameter in parameters.items()}
    for part, parameter in model.named_parameters(remove_duplicate=False):
        if first[id(parameter)] != part:
            raise ScenarioError(
                f"model: {name} shares one parameter as {first[id(parameter)]!r} and {part!r}; "
                "give each module its own"
            )


def _check_repeatable(model: nn.Module, again: nn.Module, name: str) -> None:
    """Checks that two builds under one seed are the same model."""
    parts = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    twins = {**dict(again.named_parameters()), **dict(again.named_buffers())}
    if list(parts) != list(twins):
        raise ScenarioError(f"model: {name} has other parts when it is built again")
    for part, value in parts.items():
        if not _same(value, twins[part]):
            raise ScenarioError(
                f"model: {name} has another {part!r} when it is built again under the same seed; "
                "draw it from torch's generator only"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(
        torch.nan_to_num(one.detach()), torch.nan_to_num(other.detach())
    )


def _check_passes(model: nn.Module, task: Task, examples: Examples, name: str) -> None:
    """Checks a pass forward in both modes, and one back."""
    features, labels = examples
    shape = tuple(features.shape[1:])
    with _faults_of(name, f"take {len(examples)} records of shape {shape}"):
        model.eval()
        with torch.no_grad():
            _check_outputs(model(features), task, len(examples), name)
    with _faults_of(name, f"take one record of shape {shape}"), torch.no_grad():
        _check_outputs(model(features[:1]), task, 1, name)
    with _faults_of(name, f"be trained on {len(examples)} records of shape {shape}"):
        training_mode(model)
        outputs = model(features)
        _check_outputs(outputs, task, len(examples), name)
    with _faults_of(name, "pass gradients back"):
        task.loss(outputs, labels).backward()  # type: ignore[no-untyped-call]
    gradients = {part: value.grad for part, value in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    for part, gradient in gradients.items():
        if gradient is not None and not bool(gradient.isfinite().all()):
            raise ScenarioError(f"model: {name} has a gradient that is not finite, in {part!r}")


def _check_outputs(outputs: object, task: Task, records: int, name: str) -> None:
    if not isinstance(outputs, Tensor):
        raise ScenarioError(f"model: {name} returns {_kind(outputs)} for a batch, not a tensor")
    wanted = (records, task.outputs)
    if tuple(outputs.shape) != wanted:
        raise ScenarioError(
            f"model: {name} returns outputs of shape {tuple(outputs.shape)} for {records} records, "
            f"this task needs {wanted}; use task.outputs for the last layer"
        )
    if not bool(outputs.isfinite().all()):
        raise ScenarioError(f"model: {name} returns outputs that are not finite")


def _check_buffers(
    model: nn.Module, task: Task, examples: Examples, name: str, *, private: bool
) -> None:
    """Checks that training changes no buffer, except for those that travel."""
    training_mode(model)
    before = {part: buffer.clone() for part, buffer in model.named_buffers()}
    with _faults_of(name, "be run twice"):
        model(examples.features)
    travelling = vector.travelling_buffers(model)
    for part, buffer in model.named_buffers():
        if _same(buffer, before[part]) or part in travelling:
            continue
        if private:
            raise ScenarioError(
                f"model: {name} changes the buffer {part!r} in training, which no noise covers; "
                "take it out or freeze its module"
            )
        if not vector.is_counter(part):
            raise ScenarioError(
                f"model: {name} changes the buffer {part!r} in training, which no update carries; "
                "make it a persistent buffer of floating-point numbers"
            )


@contextmanager
def _faults_of(name: str, attempt: str) -> Iterator[None]:
    """Turns an error of the author's code into one sentence with its place."""
    try:
        yield
    except ScenarioError:
        raise
    except (Exception, SystemExit) as reason:  # a stranger's code may raise anything
        why = " ".join(str(reason).split()) or "no reason given"
        raise ScenarioError(
            f"model: {name} cannot {attempt}: {type(reason).__name__}: {why}{_place(reason)}"
        ) from None


def _place(reason: BaseException) -> str:
    """Returns where the author's code failed; "" where only libraries did."""
    frames = traceback.extract_tb(reason.__traceback__)
    own = [
        frame
        for frame in frames
        if not any(Path(frame.filename).is_relative_to(library) for library in _LIBRARIES)
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
