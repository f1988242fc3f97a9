"""The models that sites end with, where these are not the global one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import FederatedData
from securefl.errors import ScenarioError
from securefl.federation.topologies.meeting import models_of
from securefl.federation.values import State
from securefl.learning.algorithms.protocol import OwnModel
from securefl.learning.evaluate import evaluate, measure, predict
from securefl.learning.protocol import Metrics, Trainer
from securefl.learning.regression import measure_targets
from securefl.scenario.assemble.parts import Parts
from securefl.scenario.assemble.trainers import fine_tuners

# a state -> weights (d,) of a site's own model
Own = Callable[[State], Tensor]


def own_models(parts: Parts, trainers: Mapping[int, Trainer]) -> dict[int, Own]:
    """Returns client -> how it gets its own model; empty where all have the global one.

    Args:
        parts: of the federation.
        trainers: client -> its trainer, with its half of the algorithm.

    Raises:
        ScenarioError: a site has no test records of its own to be judged on.
    """
    scenario = parts.scenario
    facts = scenario.facts
    own: dict[int, Own] = {
        client: partial(_of_global, trainer)
        for client, trainer in trainers.items()
        if isinstance(trainer, OwnModel)
    }
    for client, tuner in fine_tuners(scenario, parts.local).items():
        own[client] = partial(_tuned, tuner, facts.trainings, silent=scenario.claims_dp)
    if own:
        _check_tests(parts.data)
    return own


def _of_global(trainer: OwnModel, state: State) -> Tensor:
    """Returns the model (d,) that a site makes of the global one."""
    return trainer.own_model(state.weights)


def _tuned(tuner: Trainer, round: int, state: State, *, silent: bool) -> Tensor:
    """Returns the weights (d,) after some more training; the same ones where it fails silently.

    Args:
        tuner: trains.
        round: names the random streams.
        state: with the global model.
        silent: whether a failure must not show: under a claim it would tell about records.
    """
    weights = state.weights
    try:
        return weights + tuner.fit(weights, round=round).delta
    except Exception:
        if not silent:
            raise
        return weights


def _check_tests(data: FederatedData) -> None:
    for site in data.sites:
        if site.test is None:
            raise ScenarioError(
                f"each site is judged with its own model, and site {site.name!r} has no test "
                "records of its own: take data whose sites have some, such as 'heart' or your own"
            )


def of_node(node: int, n: int, state: State) -> Tensor:
    """Returns the model (d,) of one of n nodes."""
    return models_of(state, n)[node]


def judged_nodes(
    model: nn.Module, data: FederatedData, nodes: Sequence[int], state: State
) -> Metrics:
    """Returns the mean metrics of the nodes' models, each on all test records.

    Args:
        model: a workspace.
        data: the records.
        nodes: that are judged: those that no adversary owns.
        state: with the models of all nodes.
    """
    models = models_of(state, len(data.sites))[list(nodes)]
    each = []
    for weights in models:
        vector.load_vector(model, weights)
        each.append(asdict(evaluate(model, data.task, data.test)))
    first, n = each[0], len(each)
    # A node whose answers are not finite has no figures, and then neither have all together.
    means = {
        name: None if any(one[name] is None for one in each) else sum(one[name] for one in each) / n
        for name in first
    }
    figure, extreme = ("rmse", max) if data.task.regression else ("accuracy", min)
    counts = {name: first[name] for name in ("records", "coarse")}
    worst = None if means[figure] is None else extreme(one[figure] for one in each)
    apart = (models.double() - models.double().mean(dim=0)).square().sum(dim=1).mean().sqrt()
    return Metrics(**{**means, **counts, "worst": worst, "consensus": float(apart)})


def judged_apart(
    model: nn.Module, data: FederatedData, own: Mapping[int, Own], state: State
) -> Metrics:
    """Returns the metrics on the test records of all sites, each judged with its own model.

    Args:
        model: a workspace.
        data: the sites' records.
        own: client -> how it gets its own model.
        state: with the global model.
    """
    answers, labels = [], []
    for client, site in enumerate(data.sites):
        if site.test is None:
            continue
        vector.load_vector(model, own[client](state))
        answers.append(predict(model, data.task, site.test.features))
        labels.append(site.test.labels)
    if data.task.regression:
        return measure_targets(torch.cat(answers), data.task.values(torch.cat(labels)))
    return measure(torch.cat(answers), torch.cat(labels))
