"""From a scenario's attack to an adversary: checked, made, and its clients' records poisoned."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from securefl.data.task import Examples, FederatedData, Site
from securefl.errors import ScenarioError
from securefl.federation.adversary import NOBODY, Adversary
from securefl.federation.values import Rule, Weigh
from securefl.learning.protocol import Bend
from securefl.scenario import catalog, channel, checks
from securefl.scenario.making.attack import make_attack, make_bend, make_goal, make_poison
from securefl.scenario.making.rule import make_weights
from securefl.scenario.sites import task_of

if TYPE_CHECKING:
    from securefl.scenario.scenario import Scenario


def check(scenario: "Scenario") -> None:
    """The corrupt clients exist, some client is honest, and the attack takes what it is given. Raises ScenarioError."""
    attack = scenario.attack
    if attack is None:
        return
    if len(set(attack.clients)) < len(attack.clients):
        raise ScenarioError(f"attack.clients: each client once, got {list(attack.clients)}")
    if max(attack.clients) >= scenario.clients:
        raise ScenarioError(f"attack.clients: there is no client {max(attack.clients)} among {scenario.clients}")
    declared = channel.options(scenario).get("corrupt", len(attack.clients))
    if len(attack.clients) > declared:
        raise ScenarioError(
            f"attack.clients: {len(attack.clients)} clients are corrupt, channel.corrupt declares {declared}; raise it"
        )
    if len(attack.clients) == scenario.clients:
        raise ScenarioError(f"attack.clients: all {scenario.clients} clients are corrupt, leave at least one honest")
    entry = catalog.ATTACKS[attack.name]
    checks.parameters("attack", attack.name, attack.parameters, *entry.functions)
    if entry.omniscient and attack.knows != "omniscient":
        raise ScenarioError(f'attack: {attack.name} needs what the others send: set attack.knows = "omniscient"')
    if entry.several and attack.knows == "own" and len(attack.clients) == 1:
        raise ScenarioError(
            f"attack: {attack.name} by one client that knows its own row only would send it as it is: set "
            'attack.knows = "omniscient", or name more clients'
        )
    for present in {1, min(len(attack.clients), scenario.cohort_size)}:
        rows, others = torch.zeros(present, 1), torch.zeros(scenario.cohort_size - present, 1)
        seen = others if attack.knows == "omniscient" and len(others) else rows
        checks.tried("attack", partial(_send, scenario, rows, seen))
    task, clients = task_of(scenario), tuple(attack.clients)
    label = torch.zeros(1, task.classes) if task.multilabel else torch.zeros(1).long()
    record = Examples(torch.zeros(1, *(task.image or (task.features,))), label)
    poison = make_poison(attack.name, attack.parameters, seed=scenario.seed, classes=task.classes, corrupt=clients)
    checks.tried("attack", lambda: poison(clients[0], *record))
    bends = bend(scenario, clients[0])
    if bends is not None and scenario.training.kind != "sgd":
        raise ScenarioError(f"attack: {attack.name} trains in its own way: use training.kind = 'sgd'")
    checks.tried("attack", lambda: bends and bends(torch.zeros(1), torch.zeros(1)))
    if bends is not None and float(bends(torch.zeros(1), torch.ones(1))) * scenario.training.lr >= 1:
        raise ScenarioError(
            f"attack: {attack.name} would overshoot the global model, to which it pulls back, at every step: lower "
            "training.lr or anchor until their product is below 1"
        )


def _send(scenario: "Scenario", rows: Tensor, seen: Tensor) -> None:
    """Let the attack have a round of these rows against a mean."""
    rule, before = scenario.defense.rule, scenario.defense.prefilters
    has = make_weights(rule.name, rule.parameters, [(one.name, one.parameters) for one in before])
    weigh = None if has is None else lambda rows: torch.ones(len(rows))
    make(scenario, lambda rows, weights: rows.mean(dim=0), weigh).attack(rows, seen, 0)


def make(scenario: "Scenario", rule: Rule, weigh: Weigh | None) -> Adversary:
    """The adversary of the scenario, who knows the rule and its weights; nobody without an attack."""
    if (attack := scenario.attack) is None:
        return NOBODY
    chosen = scenario.defense.rule
    rewrite = make_attack(
        attack.name,
        attack.parameters,
        seed=scenario.seed,
        clients=scenario.cohort_size,
        rule=rule,
        weigh=weigh,
        krum_f=chosen.parameters.get("f") if chosen.name == "krum" else None,
    )
    return Adversary(frozenset(attack.clients), rewrite, omniscient=attack.knows == "omniscient")


def poisoned(scenario: "Scenario", data: FederatedData) -> FederatedData:
    """The same data, with the training records of corrupt clients as their attack leaves them.

    Guarantees:
        - No record of an honest client changes, and those of a corrupt one follow from no honest record.
        - Nothing is promised for a corrupt client's own records, which it could send as they are.
    """
    if (attack := scenario.attack) is None:
        return data
    poison = make_poison(
        attack.name, attack.parameters, seed=scenario.seed, classes=data.task.classes, corrupt=attack.clients
    )
    sites = [
        Site(site.name, Examples(*poison(index, *site.train)), site.test) if index in attack.clients else site
        for index, site in enumerate(data.sites)
    ]
    return FederatedData(data.task, tuple(sites), data.test)


def bend(scenario: "Scenario", client: int) -> Bend | None:
    """What the attack does to a client's gradients; None for an honest one."""
    if (attack := scenario.attack) is None or client not in attack.clients:
        return None
    return make_bend(attack.name, attack.parameters)


def success(scenario: "Scenario", data: FederatedData, judge: Callable[[Tensor], Tensor]) -> float | None:
    """Of the test records that the attack is after, the share that the model takes for what it wants.

    The judge gives the model's probabilities (n, classes) for features.

    None without such records, and where the model answers what is not finite.
    """
    if (attack := scenario.attack) is None or (goal := make_goal(attack.name, attack.parameters)) is None:
        return None
    features, wanted = goal(*data.test)
    if not len(features):
        return None
    probabilities = judge(features)
    if not bool(probabilities.isfinite().all()):
        return None
    return float((probabilities.argmax(dim=1) == wanted).double().mean())
