"""What a model is, in words: its size, what DP-SGD needs for it, and whether it enlarges images."""

import math
from collections.abc import Iterator

from torch import nn

from securefl import vector
from securefl.data.task import Task
from securefl.learning.models.enlarging import factor_of
from securefl.learning.models.scattering.features import features_of
from securefl.scenario.automatic import leaves_something
from securefl.scenario.scenario import Scenario

BYTES_A_NUMBER = 4  # float32
WORTH_SAYING = 2**30  # bytes of gradients, from which a summary speaks of them


def model_words(scenario: Scenario) -> Iterator[str]:
    """Yields what a user should know of the model before it trains.

    Args:
        scenario: checked.
    """
    facts, training = scenario.facts, scenario.training
    name = facts.architecture.name
    yield from _rule_words(scenario)
    yield from enlarging_words(name, facts.model, facts.task)
    yield from _features_words(scenario)
    if not facts.trainer.private:
        return
    if facts.trainer.one_sum:
        return  # physical batches of a fixed size bound the memory
    at_once = training.physical_batch or training.batch
    needed = at_once * bytes_a_record(facts.model)
    if needed < WORTH_SAYING:
        return
    records = "one record" if at_once == 1 else f"{at_once} records at once"
    hint = "" if at_once == 1 else "; a smaller training.physical_batch needs less"
    yield (
        f"{name}: {size_words(facts.model)}, or {in_words(needed)} for {records} "
        f"where every one is written down{hint}"
    )


def _rule_words(scenario: Scenario) -> Iterator[str]:
    """Yields what `auto` chose, and by which numbers."""
    if not leaves_something(scenario.model):
        return
    chosen, evidence = scenario.facts.architecture, scenario.facts.evidence
    pooling = chosen.parameters.get("pooling")
    if pooling is None:
        yield f"model: auto chose {chosen.name}, since records are no images"
        return
    why = "without a bound on epsilon"
    if not math.isinf(evidence):
        why = f"for {evidence:,.0f} = training records of all clients x epsilon"
    yield f"model: auto chose {chosen.name} with pooling = {pooling}, {why}"


def _features_words(scenario: Scenario) -> Iterator[str]:
    """Yields the memory that fixed features of all training records take, where it is large."""
    facts = scenario.facts
    features = features_of(facts.model)
    if features is None:
        return
    public = facts.public_records
    records = facts.training_records if public is None else sum(public)
    needed = records * BYTES_A_NUMBER * features.recipe.width(facts.task.image[0])
    if needed >= WORTH_SAYING:
        yield (
            f"{facts.architecture.name}: the features of {records:,} training records take "
            f"{in_words(needed)}; a smaller model.pooling needs less"
        )


def size_words(model: nn.Module) -> str:
    """Returns the number of parameters, and the memory of one record's gradients."""
    gradients = in_words(bytes_a_record(model))
    return f"{trained(model):,} parameters, whose gradients take {gradients} a record"


def enlarging_words(name: str, model: nn.Module, task: Task) -> Iterator[str]:
    """Yields the enlarging of images, where the model does it."""
    factor = factor_of(model)
    if factor > 1:
        sides = task.image[1:]
        before, after = (" x ".join(str(times * side) for side in sides) for times in (1, factor))
        yield (
            f"{name}: images are enlarged {factor} times, from {before} to {after} pixels, since "
            "its first layers are too coarse for them"
        )


def trained(model: nn.Module) -> int:
    """Returns the number of parameters that train."""
    return vector.statistics(model).start


def bytes_a_record(model: nn.Module) -> int:
    """Returns the memory of one record's gradients, written down in float32."""
    return BYTES_A_NUMBER * trained(model)


def in_words(size: int) -> str:
    """Returns a number of bytes in MB or GB, of powers of ten."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
