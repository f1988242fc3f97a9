"""How training treats the records: stated, written into resolved.json, and never otherwise than the code does."""

from typing import TYPE_CHECKING, Any

import torch

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.sites import task_of

if TYPE_CHECKING:
    from securefl.scenario.scenario import Scenario

_KINDS: dict[str, dict[str, str]] = {
    "sgd": {"sampling": "shuffled", "normaliser": "batch", "batches": "all", "statistics": "public"},
    "dp_sgd": {"sampling": "poisson", "normaliser": "declared", "batches": "all", "statistics": "public"},
}
_MISTAKES = {
    "sampling": "shuffled-as-poisson",
    "normaliser": "private-normaliser",
    "batches": "batches-dropped",
    "statistics": "private-statistics",
    "layers": "batch-norm",
}


def practice_of(scenario: "Scenario") -> dict[str, Any]:
    """What holds for this scenario: sampling, normaliser, batches, statistics, and the layers that have weights."""
    return {**_KINDS[scenario.training.kind], "layers": _layers(scenario)}


def check_practice(scenario: "Scenario") -> None:
    """Refuse a practice that is not this toolkit's, by the name of its mistake. Raises ScenarioError."""
    if scenario.practice is None:
        return
    ours = practice_of(scenario)
    for key, value in scenario.practice.model_dump(mode="json", exclude_none=True).items():
        if value == ours[key]:
            continue
        if scenario.claims_dp:
            from securefl.privacy.lint.mistakes import MISTAKES

            name = _MISTAKES[key]
            raise ScenarioError(
                f"practice.{key}: {scenario.training.kind} has {ours[key]!r}, got {value!r}; "
                f"beside a DP claim that may be the mistake {name}: {MISTAKES[name].why}"
            )
        raise ScenarioError(f"practice.{key}: {scenario.training.kind} has {ours[key]!r}, got {value!r}")


def _layers(scenario: "Scenario") -> list[str]:
    """Kinds of the layers that have weights or keep statistics."""
    with torch.device("meta"):
        model = catalog.MODELS[scenario.model.name](task_of(scenario), generator=None, **scenario.model.parameters)
    holding = [layer for layer in model.modules() if [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]]
    return sorted({type(layer).__name__ for layer in holding})
