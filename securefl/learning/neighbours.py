"""Whether DP-SGD bounds one record's influence on a model: no record may see its neighbours.

Opacus checks the types of layers. It accepts `x - x.mean(0)`, for one, under which clipping one
record's gradient bounds nothing. So the model is tried: a record's output and gradient must be the
same alone and in any batch.
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from securefl.data.task import Examples, Task, concatenate
from securefl.errors import ScenarioError
from securefl.learning.clipping.recorder import Recorder
from securefl.learning.dp_models import check_model
from securefl.learning.modes import training_mode
from securefl.learning.options import random_layers
from securefl.learning.synthetic import EXTREMES, synthetic
from securefl.rng import seeded_keystream

# Of the largest number. In float64, rounding is far below it, and so are the jumps that rounding
# causes where a rectifier is near its kink.
TOLERANCE = 1e-6
FLOAT32_TOLERANCE = 1e-3
# Of noise on the weights: a layer that starts at zero would hide everything before it.
SPREAD = 0.5
LOUD = 3.0  # scale of the neighbours in other batches
# What a model may raise that takes no such numbers.
_FAULTS = (
    *(ArithmeticError, AssertionError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)
# Records of a larger batch: a norm over parts of a batch mixes nothing in a small one.
CROWD = 64
CROWD_NUMBERS = 2**16  # in all of its records, so that a large model is tried in bounded time

_DROPOUTS = {
    *(functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d),
    *(functional.alpha_dropout, functional.feature_alpha_dropout),
}


class _Outcome(NamedTuple):
    """What became of one record in a batch: its output and its gradient, flat."""

    output: Tensor
    gradient: Tensor


class _NoDropout(TorchFunctionMode):
    """Passes everything through dropout, however a model calls it."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        return function(*args, **kwargs)


class _Unseen(Exception):
    """Raised when DP-SGD misses a part of the gradient of a parameter, which it names."""


class _Trial:
    """A model whose weights are random, on records of which one is looked at.

    Args:
        model: as DP-SGD takes it; it is changed.
        task: gives the loss.
        precision: of the weights and the records.
    """

    def __init__(self, model: nn.Module, task: Task, precision: torch.dtype) -> None:
        self._task = task
        self._precision = precision
        model = model.to(precision)
        _shake([p for p in model.parameters() if p.requires_grad])
        self._plain = copy.deepcopy(model)
        self._recorder = Recorder(model)
        training_mode(self._plain)
        training_mode(self._recorder)

    def outcome(self, examples: Examples, place: int, *, seed: int = 0) -> _Outcome:
        """Returns what became of the record at a place in the batch."""
        inputs, labels = self._cast(examples)
        with random_layers(seeded_keystream(seed, "dropout")):
            gradients = self._recorder.gradients(inputs, labels, self._task.loss)
        with torch.no_grad(), random_layers(seeded_keystream(seed, "dropout")):
            outputs = self._recorder(inputs)
        only = torch.zeros(len(labels))
        only[place] = 1.0
        sums = dict(gradients.sums(only))
        trained = [p for p in self._recorder.parameters() if p.requires_grad]
        return _Outcome(outputs[place], torch.cat([sums[p].flatten() for p in trained]))

    def check_alone(self, record: Examples, tolerance: float) -> None:
        """Raises _Unseen unless the gradient of one record alone is what autograd computes."""
        inputs, labels = self._cast(record)
        with random_layers(seeded_keystream(0, "dropout")):
            loss = self._task.loss(self._plain(inputs), labels)
        trained = {name: p for name, p in self._plain.named_parameters() if p.requires_grad}
        expected = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        gradient = self.outcome(record, 0).gradient
        parts = torch.split(gradient, [p.numel() for p in trained.values()])
        for name, part, right in zip(trained, parts, expected, strict=True):
            # A parameter that the output does not depend on is one that nobody meant to train.
            if right is None or _differ(part, right.flatten(), tolerance):
                raise _Unseen(name)

    def output(self, examples: Examples) -> Tensor:
        """Returns the output of the first record in the batch."""
        inputs, _ = self._cast(examples)
        with torch.no_grad(), random_layers(seeded_keystream(0, "dropout")):
            first: Tensor = self._recorder(inputs)[0]
        return first

    def _cast(self, examples: Examples) -> Examples:
        """Returns the model's inputs and the labels in the precision of the trial."""
        labels = examples.labels
        if labels.is_floating_point():
            labels = labels.to(self._precision)
        return Examples(self._task.inputs(examples.features).to(self._precision), labels)


def check_neighbours(model: nn.Module, task: Task, name: str) -> None:
    """Checks that DP-SGD can bound the influence of every record.

    Args:
        model: with all changes that the scenario asks for; it is not changed.
        task: gives the shape of the records and the loss.
        name: of the model, for refusals.

    Raises:
        ScenarioError: Opacus does not support a layer, or a record's output or gradient depends on
            the records next to it or on earlier batches.
    """
    check_model(model)
    try:
        trial, tolerance = _trial(model, task)
        difference = _difference(trial, task, tolerance)
        if not difference:
            trial.check_alone(synthetic(task, 1, seed=1), tolerance)
            difference = _extreme_difference(trial, task, tolerance)
    except _Unseen as reason:
        raise ScenarioError(
            f"model: {name}: no gradient of single records reaches the parameter {str(reason)!r}; "
            "use it once a pass, in the forward of the module that holds it, or freeze it"
        ) from None
    if difference:
        raise ScenarioError(
            f"model: {name} gives a record another {difference}, so that no noise covers what one "
            "record changes; use layers that treat each record by itself"
        )


def _trial(model: nn.Module, task: Task) -> tuple[_Trial, float]:
    """Returns a trial in float64, and the tolerance; in float32 where the model takes no other."""
    record = synthetic(task, 1, seed=1)
    try:
        trial = _Trial(copy.deepcopy(model), task, torch.float64)
        trial.outcome(record, 0)
    except (RuntimeError, TypeError, ValueError):
        return _Trial(copy.deepcopy(model), task, torch.float32), FLOAT32_TOLERANCE
    return trial, TOLERANCE


def _difference(trial: _Trial, task: Task, tolerance: float) -> str:
    """Returns in which way neighbours change a record's outcome; "" where they do not."""
    record, some = synthetic(task, 1, seed=1), synthetic(task, 1, seed=2)
    others = synthetic(task, 1, seed=3, scale=LOUD)
    first, second = concatenate([record, some]), concatenate([record, others])
    # Of one shape, so that all random layers draw the same for the record.
    among_some = trial.outcome(first, 0)
    difference = _unlike(among_some, trial.outcome(second, 0), tolerance)
    if difference:
        return f"{difference} among other records"
    last = concatenate([others, some, record])
    if not _unlike(among_some, trial.outcome(first, 0, seed=1), tolerance):
        return _by_size(trial, task, among_some, record, last, tolerance)
    with _NoDropout():
        among_some = trial.outcome(first, 0)
        # A model that still draws is compared in batches of one shape only.
        if _unlike(among_some, trial.outcome(first, 0, seed=1), tolerance):
            return ""
        return _by_size(trial, task, among_some, record, last, tolerance)


def _extreme_difference(trial: _Trial, task: Task, tolerance: float) -> str:
    """Returns in which way a neighbour of extreme numbers changes a record's outcome, or ""."""
    record, some = synthetic(task, 1, seed=1), synthetic(task, 1, seed=2)
    among_some = trial.outcome(concatenate([record, some]), 0)
    for scale in EXTREMES:
        others = synthetic(task, 1, seed=3, scale=scale)
        try:
            among_others = trial.outcome(concatenate([record, others]), 0)
        except _FAULTS:  # as training would, at such a record
            return ""
        difference = _unlike(among_some, among_others, tolerance)
        if difference:
            return f"{difference} next to records that are huge or not finite"
    return ""


def _by_size(
    trial: _Trial,
    task: Task,
    among_some: _Outcome,
    record: Examples,
    last: Examples,
    tolerance: float,
) -> str:
    """Returns whether a record alone, or last in a larger batch, is treated in another way."""
    alone = trial.outcome(record, 0)
    difference = _unlike(alone, among_some, tolerance)
    difference = difference or _unlike(alone, trial.outcome(last, len(last) - 1), tolerance)
    if not difference and _differ(alone.output, trial.output(_crowd(record, task)), tolerance):
        difference = "output"
    return f"{difference} in a batch than alone" if difference else ""


def _crowd(record: Examples, task: Task) -> Examples:
    """Returns a large batch that the record begins."""
    others = min(CROWD, CROWD_NUMBERS // task.features) - 1
    return concatenate([record, synthetic(task, max(1, others), seed=4, scale=LOUD)])


def _unlike(one: _Outcome, other: _Outcome, tolerance: float) -> str:
    """Returns which part of two outcomes differs; "" where none does."""
    if _differ(one.output, other.output, tolerance):
        return "output"
    return "gradient" if _differ(one.gradient, other.gradient, tolerance) else ""


def _differ(one: Tensor, other: Tensor, tolerance: float) -> bool:
    largest = torch.maximum(one.abs().max(), other.abs().max())
    # Written so that NaN differs from everything.
    return not bool((one - other).abs().max() <= tolerance * largest)


def _shake(parameters: list[Any]) -> None:
    """Adds noise to the weights, small enough that no activation explodes."""
    generator = seeded_keystream(0, "shake").torch_generator()
    with torch.no_grad():
        for p in parameters:
            inputs = max(1, p[0].numel()) if p.dim() > 1 else 1
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.add_(noise * SPREAD / inputs**0.5)
