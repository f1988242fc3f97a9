"""Whether the keys of [training] have an effect together."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from securefl.errors import ScenarioError
from securefl.learning.head_sums import linear_head
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import Entry
from securefl.scenario.facts import Facts
from securefl.scenario.training_table import Training


def check_training(declared: Declaration, facts: Facts) -> None:
    """Checks that every key of [training] has an effect, and that none is missing.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    training = declared.training
    given = training.model_dump(exclude_none=True)
    optimizer = training.optimizer or catalog.DEFAULT_OPTIMIZER
    _check_keys("optimizer", optimizer, facts.optimizer, catalog.OPTIMIZERS, given)
    algorithm = training.algorithm or catalog.DEFAULT_ALGORITHM
    _check_keys("algorithm", algorithm, facts.algorithm, catalog.ALGORITHMS, given)
    schedule = training.schedule or catalog.DEFAULT_SCHEDULE
    _check_keys("schedule", schedule, facts.schedule, catalog.SCHEDULES, given)
    usual_lr = facts.optimizer.usual_lr
    if usual_lr is not None and "lr" not in training.model_fields_set:
        raise ScenarioError(
            f"training.optimizer = {optimizer!r} needs training.lr: the default {training.lr:g} is "
            f"for {catalog.DEFAULT_OPTIMIZER}; {usual_lr:g} is a usual choice"
        )
    _check_steps(training, schedule, facts)
    _check_class_weights(training, facts)
    _check_physical_batch(training, facts)
    _check_algorithm(declared, facts)


def _check_steps(training: Training, schedule: str, facts: Facts) -> None:
    """Checks that the learning rate makes its steps one way, and all of them in these rounds."""
    every, at = training.step_every, training.step_at
    trainings = facts.trainings
    takes_steps = "step_at" in facts.schedule.parameters
    if takes_steps and (every is None) == (at is None):
        raise ScenarioError(
            f"training.schedule = {schedule!r} needs either training.step_every or training.step_at"
        )
    if every is not None and every >= trainings:
        raise ScenarioError(
            f"training.step_every = {every} has no effect in {trainings} rounds; lower it"
        )
    if at is None:
        return
    if list(at) != sorted(set(at)):
        raise ScenarioError(f"training.step_at = {list(at)} must ascend; sort it")
    if at[-1] >= trainings:
        raise ScenarioError(
            f"training.step_at has {at[-1]}, which has no effect in {trainings} rounds; lower or "
            "remove it"
        )


def _check_keys(
    key: str, name: str, entry: Entry, entries: Mapping[str, Entry], given: Mapping[str, Any]
) -> None:
    """Checks the keys that some entries take: none too many for this one, and none missing."""
    for other in _keys_of(entries):
        if other in given and other not in entry.parameters:
            raise ScenarioError(
                f"training.{other} has no effect with training.{key} = {name!r}; remove it"
            )
    for needed, parameter in entry.parameters.items():
        if parameter.default is inspect.Parameter.empty and needed not in given:
            raise ScenarioError(f"training.{key} = {name!r} needs training.{needed}")


def _keys_of(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Yields every key that some entry takes."""
    for entry in entries.values():
        yield from entry.parameters


def _check_algorithm(declared: Declaration, facts: Facts) -> None:
    """Checks that the algorithm is defined for these steps, weights and server."""
    name, entry = declared.training.algorithm, facts.algorithm
    _check_own_models(declared, facts)
    if entry.personal is not None:
        tried("training", lambda: facts.personal_on(facts.model))
    if entry.stepwise:
        _check_stepwise(declared, facts, f"training.algorithm = {name!r}")
    if entry.equal and declared.weights != "equal":
        raise ScenarioError(
            f"training.algorithm = {name!r} averages models with equal weights: set "
            "weights = 'equal'"
        )
    if entry.steps is None:
        return
    step = facts.step
    is_defined = step.entry.function in entry.steps
    if not is_defined or (entry.adds_estimate and not step.entry.adds_estimate(step.parameters)):
        raise ScenarioError(
            f"training.algorithm = {name!r} is not defined with server.step = {step.name!r}"
            f"{' and its parameters' if is_defined else ''}: remove the table [server]"
        )


def _check_own_models(declared: Declaration, facts: Facts) -> None:
    """Checks what sites with models of their own need, and the keys that are for them."""
    training, entry = declared.training, facts.algorithm
    algorithm = f"training.algorithm = {training.algorithm!r}"
    if training.personal is not None and "head_epochs" not in entry.parameters:
        raise ScenarioError("training.personal has an effect with algorithm = 'fedrep' only")
    if training.head_epochs is not None and training.head_epochs >= training.epochs:
        raise ScenarioError(
            f"training.head_epochs = {training.head_epochs} leaves the body none of the "
            f"{training.epochs} epochs; raise training.epochs"
        )
    if training.fine_tune is not None and entry.has_own_models:
        raise ScenarioError(
            f"training.fine_tune has no effect with {algorithm}, whose sites have models of their "
            "own already; remove it"
        )
    if not entry.has_own_models and training.fine_tune is None:
        return
    key = algorithm if entry.has_own_models else "training.fine_tune"
    if facts.partition in catalog.DEALS or facts.partition == "pooled":
        raise ScenarioError(
            f"{key} judges each site with its own model, and with partition {facts.partition!r} "
            "no site has test records of its own; use 'natural' sites"
        )
    if entry.has_own_models and declared.keeps_best:
        raise ScenarioError(
            f"evaluate.keep = 'best' would end with an earlier global model and the sites' last "
            f"own parts, with {algorithm}; remove it"
        )
    if entry.personal is not None and facts.attack is not None and facts.attack.entry.goal:
        raise ScenarioError(
            f"attack.name = {facts.attack.name!r} succeeds on the global model, which is of no use "
            f"by itself with {algorithm}"
        )


def _check_stepwise(declared: Declaration, facts: Facts, algorithm: str) -> None:
    """Checks that local steps are those of SGD without momentum, of public or own number."""
    optimizer = declared.training.optimizer or catalog.DEFAULT_OPTIMIZER
    if optimizer != catalog.DEFAULT_OPTIMIZER:
        raise ScenarioError(
            f"{algorithm} counts steps of SGD, got training.optimizer = {optimizer!r}; set it to "
            f"{catalog.DEFAULT_OPTIMIZER!r}"
        )
    if declared.training.momentum:
        raise ScenarioError(
            f"{algorithm} is not defined with momentum at the clients: remove training.momentum"
        )
    if declared.weights == "reported":
        raise ScenarioError(
            f"{algorithm} needs public weights: set weights = 'equal' or 'declared'"
        )


def _check_class_weights(training: Training, facts: Facts) -> None:
    """Checks that there is a weight for every class."""
    weights, classes = training.class_weights, facts.task.classes
    if weights is None:
        return
    if facts.task.regression:
        raise ScenarioError(
            "training.class_weights has no effect on real targets, which have no classes; remove it"
        )
    if facts.task.groups:
        raise ScenarioError(
            "training.class_weights has one weight for each class, and a coarse label stands for"
            " several; remove it, or the hierarchy"
        )
    if len(weights) != classes:
        raise ScenarioError(
            f"training.class_weights has one entry a class: {classes} classes, "
            f"got {len(weights)} entries"
        )


def _check_physical_batch(training: Training, facts: Facts) -> None:
    """Checks that no whole batch fits into a physical one."""
    physical = training.physical_batch
    if physical is not None and facts.trainer.one_sum and linear_head(facts.model) is not None:
        raise ScenarioError(
            f"training.physical_batch = {physical} has no effect with "
            f"{facts.architecture.name}, whose clipped gradients are added up in closed form; "
            "remove it"
        )
    # Batches that are drawn by coins may be larger than the expected one, and need the bound.
    if physical is not None and physical >= training.batch and not facts.trainer.private:
        raise ScenarioError(
            f"training.physical_batch = {physical} has no effect with training.batch = "
            f"{training.batch}; lower or remove it"
        )
