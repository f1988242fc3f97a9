"""Judges a new version next to the released one, on the same records, and asks the gate.

Under a DP claim the answer of a gate is a release. It is free where the records are public. Where
they are the sites' own, the gate sees one noisy number:

    site      z_i = right answers of the new model, less those of the released one,
              + N(0, noise_multiplier^2)
    anybody   sum of z_i  >=  margin x declared number of records

One record changes z_i by 1 at most, with and without the difference, so that this costs one
Gaussian release of sensitivity 1. It is booked before training. An AUC has no such bound: one
record of a small class moves it by one over the number of that class, which no constant limits.

Where a noisy gate decides, no exact figure of those records is kept beside the noisy one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from securefl.data.task import FederatedData
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import seeded_keystream, system_keystream
from securefl.runs.refining.gate import Gate
from securefl.runs.refining.plan import Asked, validation_scenario
from securefl.runs.refining.quality import Judged, judged, right_answers
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import Scenario

_PURPOSE = "gate"


@dataclass(frozen=True)
class Judgement:
    """Whether a version may be released, and what that rests on.

    Attributes:
        passed: whether the gate lets it through.
        figures: of both versions on the records that judge, for people; ready for JSON. With a
            noisy gate only whose records they are.
        compared: what the gate compared, which is released with its answer.
    """

    passed: bool
    figures: Mapping[str, Any]
    compared: Mapping[str, Any]


def gate_cost(asked: Asked) -> PrivacyEvent | None:
    """Returns what a noisy gate costs each site; None without."""
    return None if asked.noise is None else SampledGaussian(1.0, asked.noise, 1)


def judge(
    scenario: Scenario, asked: Asked, weights: Tensor, previous: Tensor, *, version: int
) -> Judgement:
    """Returns the judgement on a new version.

    Args:
        scenario: of the new version.
        asked: the gate, and the records that judge.
        weights: (d,), of the new version.
        previous: (d,), of the version in force.
        version: the number of the new one.

    Raises:
        ScenarioError: the records do not allow a noisy gate.
    """
    judging = scenario
    if asked.validation is not None:
        judging = validation_scenario(scenario, asked.validation)
    data = load_data(judging)
    gate = asked.gate
    if gate is not None and asked.noise is not None and asked.records is not None:
        total = _noisy_total(scenario, gate, (weights, previous), data, asked.noise, version)
        return _noisy(gate, total, asked.records)
    new, old = judged(scenario, weights, data), judged(scenario, previous, data)
    figures = _figures(new, old, whose="validation" if judging is not scenario else "test")
    if gate is None:
        return Judgement(True, figures, {})
    value, before = new.overall.get(gate.metric), old.overall.get(gate.metric)
    compared = {"value": value, "previous": before}
    return Judgement(gate.passes(value, before), figures, compared)


def _noisy(gate: Gate, total: float, records: int) -> Judgement:
    """Returns the judgement of a noisy gate; everything in it follows from the noisy total."""
    share = total / records
    # The total is the difference already, where the gate asks for one.
    passed = gate.passes(share, 0.0)
    key = "noisy_difference" if gate.relative else "noisy_value"
    return Judgement(passed, {"records": "test"}, {key: share, "records": records})


def _noisy_total(
    scenario: Scenario,
    gate: Gate,
    models: tuple[Tensor, Tensor],
    data: FederatedData,
    noise: float,
    version: int,
) -> float:
    """Returns the sum over sites of right answers, each with noise of its own."""
    right = right_answers(scenario, models[0], data)
    if gate.relative:
        before = right_answers(scenario, models[1], data)
        right = [new - old for new, old in zip(right, before, strict=True)]
    is_seeded = scenario.privacy is not None and scenario.privacy.noise == "seeded"
    total = 0.0
    for client, count in enumerate(right):
        stream = system_keystream()
        if is_seeded:
            stream = seeded_keystream(scenario.seed, _PURPOSE, client, version)
        total += count + noise * float(hardened_normal(1, stream)[0])
    return total


def _figures(new: Judged, old: Judged, *, whose: str) -> dict[str, Any]:
    sites = {name: {"new": new.sites[name], "previous": old.sites[name]} for name in new.sites}
    return {"records": whose, "new": new.overall, "previous": old.overall, "sites": sites}
