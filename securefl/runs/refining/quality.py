"""How good a model is on some records, over all sites and at each; and which answers are right."""

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, FederatedData
from securefl.errors import ScenarioError
from securefl.learning.evaluate import evaluate, predict
from securefl.learning.protocol import Metrics
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import Scenario

Figures = dict[str, Any]  # of `Metrics`, ready for JSON


class Judged(NamedTuple):
    """The figures of one model: on all records that judge, and site -> on those of the site."""

    overall: Figures
    sites: dict[str, Figures]


def judged(scenario: Scenario, weights: Tensor, data: FederatedData) -> Judged:
    """Returns the figures of weights (d,) on the records of `data` that judge."""
    model = _with(scenario, weights)
    sites = {
        site.name: _figures(evaluate(model, data.task, site.test))
        for site in data.sites
        if site.test is not None
    }
    return Judged(_figures(evaluate(model, data.task, data.test)), sites)


def check_countable(data: FederatedData) -> list[Examples]:
    """Returns each site's own records that judge, if answers to them are right or wrong.

    Raises:
        ScenarioError: a site has no such records of its own, or answers are neither.
    """
    tests = [site.test for site in data.sites if site.test is not None]
    if len(tests) != len(data.sites):
        raise ScenarioError(
            "--gate-noise counts right answers at each site, and these sites have no test records "
            "of their own; use natural sites, or --validation with public records"
        )
    if data.task.regression or data.task.multilabel:
        raise ScenarioError(
            "--gate-noise counts right answers, and these records have real targets or several "
            "labels; use --validation with public records"
        )
    return tests


def right_answers(scenario: Scenario, weights: Tensor, data: FederatedData) -> list[int]:
    """Returns how many of its own records that judge each site's model gets right.

    Raises:
        ScenarioError: see `check_countable`.
    """
    tests = check_countable(data)
    model = _with(scenario, weights)
    return [_right(model, data, test) for test in tests]


def _right(model: nn.Module, data: FederatedData, test: Examples) -> int:
    if not len(test):
        return 0
    answers = predict(model, data.task, test.features)
    # A model that is not finite is right nowhere.
    usable = torch.isfinite(answers).all(dim=1)
    return int(((answers.argmax(dim=1) == test.labels) & usable).sum())


def _with(scenario: Scenario, weights: Tensor) -> nn.Module:
    model = build_model(scenario, scenario.facts.task)
    vector.load_vector(model, weights)
    return model


def _figures(metrics: Metrics) -> Figures:
    return {name: value for name, value in asdict(metrics).items() if value is not None}
